// The fallback while no stream gets through: asks for the newest values every few seconds.

import { latest } from "./api.js";

export const EVERY = 5000; // ms

export class Poll {
  /** Whether the last request was answered. */
  answered = false;
  #on;
  #timer = null;

  /** `on.latest(answer)` for each answer, `on.change()` when `answered` changes. */
  constructor(on) {
    this.#on = on;
  }

  start() {
    if (this.#timer !== null) return;
    this.#timer = setInterval(() => this.#ask(), EVERY);
    this.#ask();
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = null;
    this.#set(false);
  }

  async #ask() {
    const timer = this.#timer;
    const answer = await latest().catch(() => null); // no answer: `answered` says so
    if (timer !== this.#timer) return;
    if (answer) this.#on.latest(answer);
    this.#set(answer !== null);
  }

  #set(answered) {
    if (answered === this.answered) return;
    this.answered = answered;
    this.#on.change();
  }
}
