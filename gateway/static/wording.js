// What a chart shows, in words, and its values as texts. No DOM.

import { lossCause } from "./devices.js";
import { count, decimalsWithin, duration, moment, number, scale, word } from "./format.js";
import { figures } from "./span.js";

const LOSSES = 5;

const stepText = (ms) => (ms < 1000 ? `${ms} ms` : duration(ms));

export class Wording {
  #metric;
  #scale = { label: "", factor: 1 };
  #fine = 0; // decimals that tell the values of the chart apart

  constructor(metric) {
    this.#metric = metric;
  }

  value(value) {
    if (value === null || value === undefined) return "–";
    if (typeof value === "boolean") return word(this.#metric, value);
    if (typeof value === "string") return value;
    return number(value * this.#scale.factor, 6, this.#fine);
  }

  withUnit(value) {
    return `${this.value(value)} ${this.#scale.label}`;
  }

  /** A value beside the axis, whose ticks are `step` apart. */
  tick(value, step) {
    const { factor } = this.#scale;
    return number(value * factor, decimalsWithin(step * factor || 1), 6);
  }

  /** `{told, how, lost}` of a timeline over `span`; `known`: a value of the series. */
  chart(timeline, { span, known }) {
    const { points, step, gaps, unit } = timeline;
    this.#fit(points, { span, unit: typeof known === "number" ? unit : null });
    const length = duration(span.to - span.from);
    const lost = gaps.slice(-LOSSES).map((gap) => this.#gap(gap)).join("; ");
    if (points.length === 0) return { told: `no readings within ${length}`, how: "", lost };
    const how = step === null ? "every reading" : `least, mean and greatest per ${stepText(step)}`;
    return { told: `${length}: ${this.#range(points, span)}`, how, lost };
  }

  /** Choose unit and decimals for the points; `unit` is null unless they are numbers. */
  #fit(points, { span, unit }) {
    if (unit === null) return;
    const found = figures(points, span);
    const size = found ? Math.max(Math.abs(found.min), Math.abs(found.max)) : 0;
    this.#scale = scale(unit, size);
    this.#fine = found ? decimalsWithin((found.max - found.min) * this.#scale.factor) : 0;
  }

  #range(points, span) {
    const found = typeof points[0].at(1) === "number" ? figures(points, span) : null;
    if (!found) return `${count(points.length)} points`;
    const { min, mean, max, n } = found;
    return `${this.value(min)} to ${this.withUnit(max)}, mean ${this.value(mean)}, ${count(n)} readings`;
  }

  #gap([from, to, reason]) {
    return `${moment(from, 1000)} to ${moment(to, 1000)}: ${lossCause(reason)}`;
  }
}
