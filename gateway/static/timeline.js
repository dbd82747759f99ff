// The stored readings of one series over a stretch of time, kept up to date in place. No DOM.

import { history } from "./api.js";
import { isFew, splice, stepFor, total } from "./span.js";

const MARGIN = 1; // steps asked for again at the newer end: the last one was still filling

export class Timeline {
  points = []; // [t, value], or [t, min, mean, max, n] per step
  gaps = []; // declared losses: [from, to, reason]
  step = null; // ms; null: points are the readings themselves
  unit = "";
  loaded = null; // the stretch that `points` cover
  #series;
  #newest = 0; // number of the newest request

  /** `series`: {device, metric}. */
  constructor(series) {
    this.#series = series;
  }

  /** Load a stretch, for a chart `width` pixels wide; false if a later request overtook this one. */
  async load(span, { width, expected }) {
    const number = ++this.#newest;
    const step = stepFor(span, { width, expected });
    let answer = await history({ ...this.#series, ...span, step });
    const spare = answer.step !== null && isFew(total(answer.points), width);
    if (spare) answer = await history({ ...this.#series, ...span, step: null });
    if (number !== this.#newest) return false;
    Object.assign(this, { points: answer.points, gaps: answer.gaps, step: answer.step });
    this.unit = answer.u ?? "";
    this.loaded = span;
    return true;
  }

  /** Read a part again, because readings or a revision arrived there, and put it in place. */
  async refresh({ from, to }) {
    if (!this.loaded) return false;
    const number = this.#newest;
    const part = this.#aligned({ from, to });
    const answer = await history({ ...this.#series, ...part, step: this.step });
    if (number !== this.#newest || answer.step !== this.step) return false;
    this.unit = answer.u ?? this.unit; // the series may be younger than the chart
    splice(this.points, answer.points, part);
    this.#loss(answer.gaps);
    this.loaded.to = Math.max(this.loaded.to, part.to);
    return true;
  }

  /** Newer than the newest point by so much, a reading is news: where to begin reading again. */
  get tail() {
    const newest = this.points.at(-1)?.[0] ?? this.loaded?.from ?? 0;
    return newest - MARGIN * (this.step ?? 0);
  }

  /** Forget what lies before `from`: a chart that follows grows at one end only. */
  trim(from) {
    const first = this.points.findIndex(([t]) => t >= from);
    if (first > 1) this.points.splice(0, first - 1);
    this.gaps = this.gaps.filter(([, to]) => to >= from);
  }

  #aligned({ from, to }) {
    const { step } = this;
    if (step === null) return { from, to };
    return { from: Math.floor(from / step) * step, to: Math.ceil(to / step) * step };
  }

  #loss(gaps) {
    const known = new Set(this.gaps.map(([, to]) => to));
    this.gaps.push(...gaps.filter(([, to]) => !known.has(to)));
  }
}
