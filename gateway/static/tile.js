// One series: newest value, unit, age, range of the last window and a small chart.

import { badge, setAttribute, setText, stamp } from "./dom.js";
import {
  age, count, dateTime, decimalsOf, decimalsWithin, duration, number, scale, word,
} from "./format.js";
import { seriesLink } from "./route.js";
import { curve, strip } from "./sparkline.js";

const LONG = 7; // characters of a value that fit in large type

export class SeriesTile extends HTMLElement {
  visible = false;
  series = null;
  #decimals = 0;
  #fine = 0; // decimals that tell the values of the chart apart
  #drawn = -1; // version of the summaries in the chart

  /** Make the tile of a series: only its name, the rest comes when it is first drawn. */
  static of(series) {
    const tile = document.createElement("series-tile");
    tile.series = series;
    const name = document.createElement("h3");
    const link = document.createElement("a");
    link.textContent = series.metric;
    link.href = seriesLink(series.dev, series.metric);
    name.title = series.metric;
    name.append(link);
    tile.append(name);
    tile.dataset.device = series.dev;
    tile.dataset.metric = series.metric;
    return tile;
  }

  /** Bring everything up to date; `now` is the gateway's time. */
  render(now, floor) {
    if (this.childElementCount === 1) this.#complete();
    this.#chart();
    this.#value();
    this.tick(now, floor);
  }

  /** Bring the age up to date; `floor` is the least interval to expect, ms. */
  tick(now, floor) {
    const { t, clock } = this.series;
    const known = t !== null && clock !== "unknown";
    this.classList.toggle("stale", this.series.isStale(now, floor));
    setText(this.#part(".age"), known ? age(t, now) : "time unknown");
    if (known) setAttribute(this.#part(".age"), "title", dateTime(t));
  }

  /** Mark what is wrong with the series: `{level, text, short}`, or null. */
  mark(trouble) {
    setAttribute(this, "data-level", trouble ? String(trouble.level) : "0");
    if (this.childElementCount === 1) return; // drawn later, and marked then
    const shown = this.#part(".trouble");
    shown.hidden = !trouble;
    if (!trouble) return;
    const kind = trouble.level > 1 ? "lost" : "warn";
    badge(shown, { state: kind, symbol: kind, text: trouble.short });
    setAttribute(shown, "title", trouble.text);
  }

  #complete() {
    const name = this.#part("h3");
    this.append(stamp("tile-template"));
    this.#part("header").prepend(name);
  }

  #part(selector) {
    return this.querySelector(selector);
  }

  #value() {
    const { value, unit, metric } = this.series;
    this.dataset.kind = typeof value;
    const { label, factor } = typeof value === "number" ? scale(unit, value) : { label: "" };
    const text = this.#text(value, factor);
    setText(this.#part(".value"), text);
    this.classList.toggle("long", text.length > LONG);
    setText(this.#part(".unit"), label);
    const exact = typeof value === "number" ? `${metric} ${value} ${unit}` : metric;
    setAttribute(this.#part(".reading"), "title", exact);
  }

  #text(value, factor) {
    if (value === null) return "–";
    if (typeof value === "boolean") return word(this.series.metric, value);
    return typeof value === "number" ? this.#number(value, factor) : value;
  }

  /** Decimals only ever grow, so that the width of a value does not jump about. */
  #number(value, factor) {
    const needed = factor === 1 ? decimalsOf(value) : 9;
    this.#decimals = Math.max(this.#decimals, needed);
    return number(value * factor, this.#decimals, this.#fine);
  }

  #chart() {
    if (this.#drawn === this.series.version) return;
    this.#drawn = this.series.version;
    const points = this.series.history();
    const last = points.at(-1);
    if (!last) return;
    const span = duration(last.t1 - points[0].t0);
    if (typeof last.mean === "number") this.#curve(points, last, span);
    else this.#strip(points, last, span);
  }

  #curve(points, last, span) {
    this.#paths(curve(points));
    const low = Math.min(...points.map((point) => point.min));
    const high = Math.max(...points.map((point) => point.max));
    const { label, factor } = scale(this.series.unit, last.mean);
    this.#fine = decimalsWithin((high - low) * factor);
    const name = `last ${span}: ${this.#range(low, high)} ${label}`;
    setAttribute(this.#part(".spark"), "aria-label", name);
    setText(this.#part(".extent"), this.#range(last.min, last.max));
    setText(this.#part(".span"), last.w);
    setAttribute(this.#part(".range"), "title", `least to greatest of the last ${last.w}`);
  }

  #strip(points, last, span) {
    this.#paths(strip(points, last.t1 - last.t0));
    const changes = points.reduce((sum, point) => sum + point.changes, 0);
    const text = `${count(changes)} ${changes === 1 ? "change" : "changes"}`;
    setAttribute(this.#part(".spark"), "aria-label", `${text} in the last ${span}`);
    setText(this.#part(".extent"), text);
    setText(this.#part(".span"), span);
  }

  #range(low, high) {
    const { factor } = scale(this.series.unit, high);
    const texts = [this.#number(low, factor), this.#number(high, factor)];
    return texts[0] === texts[1] ? texts[0] : texts.join(" – ");
  }

  #paths(paths) {
    for (const [name, path] of Object.entries(paths)) {
      setAttribute(this.#part(`.${name}`), "d", path);
    }
  }
}

customElements.define("series-tile", SeriesTile);
