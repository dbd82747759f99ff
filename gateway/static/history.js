// Fills sparklines from the stored summaries, a few series at a time, each one once.

import { summaries } from "./api.js";
import { POINTS } from "./state.js";

const AT_ONCE = 4;

export class History {
  #state;
  #wanted = [];
  #running = 0;
  #failed = new Set();

  constructor(state) {
    this.#state = state;
  }

  /** Ask for a series' history, unless that was done. */
  want(series) {
    if (series.filled || series.window === null) return;
    series.filled = true;
    this.#wanted.push(series);
    this.#next();
  }

  /** Allow another attempt for the series whose request failed. */
  retry() {
    for (const series of this.#failed) series.filled = false;
    this.#failed.clear();
  }

  #next() {
    while (this.#running < AT_ONCE && this.#wanted.length > 0) {
      this.#running += 1;
      this.#fill(this.#wanted.pop()); // what came into view last is looked at now
    }
  }

  async #fill(series) {
    const to = Math.max(...[...series.points.values()].map((point) => point.t1));
    const span = POINTS * Math.max(series.length, series.rhythm.expected ?? 0);
    const { dev: device, metric, window } = series;
    try {
      const answer = await summaries({ device, metric, window, from: to - span, to });
      answer.summaries.forEach((row) => this.#state.summary(row));
    } catch {
      this.#failed.add(series); // the sparkline grows from live events until the next hello
    } finally {
      this.#running -= 1;
      this.#next();
    }
  }
}
