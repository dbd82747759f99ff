// One series: its newest value, its readings on a chart and in a table, and how to move about.

import { historyPath } from "./api.js";
import { Chart } from "./chart.js";
import { setAttribute, setText, stamp } from "./dom.js";
import { count, decimalsWithin, duration, moment, number, scale, word } from "./format.js";
import { deviceLink } from "./route.js";
import { columns, DAY, figures, HOUR, MINUTE, pan, zoom } from "./span.js";
import { fillTable } from "./table.js";
import { SeriesTile } from "./tile.js";
import { Timeline } from "./timeline.js";

const SPANS = { "5m": 5 * MINUTE, "1h": HOUR, "6h": 6 * HOUR, "1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY };
const SETTLE = 150; // ms without a further movement, before readings are asked for
const LEAST_WAIT = 1000; // ms between two requests for what is new
const REASONS = { 0: "found by the gateway", 1: "its queue overflowed", 2: "it restarted", 3: "too big to send" };

export class SeriesView extends HTMLElement {
  #state;
  #name; // {device, metric}
  #timeline;
  #chart;
  #tile = null;
  #live = true; // whether the newer end is now
  #span;
  #settling;
  #dirty = null; // the stretch that was told to have changed
  #asked = 0; // performance.now() of the last request for what is new
  #busy = false;
  #cursor = null;
  #fine = 0; // decimals that tell the values of the chart apart
  #rows = [[], [], [], []];

  static of({ device, metric, query }, state) {
    const view = document.createElement("series-view");
    view.#state = state;
    view.#name = { device, metric };
    view.#timeline = new Timeline(view.#name);
    view.#begin(query);
    return view;
  }

  get #series() {
    return this.#state.series.get(`${this.#name.device}\n${this.#name.metric}`) ?? null;
  }

  #part(name) {
    return this.querySelector(`[data-part="${name}"]`);
  }

  #begin(query) {
    const from = Number(query.get("from"));
    const to = Number(query.get("to"));
    this.#live = !(from > 0 && to > from);
    const length = SPANS[query.get("span")] ?? HOUR;
    this.#span = this.#live ? { from: this.#state.now() - length, to: this.#state.now() } : { from, to };
  }

  connectedCallback() {
    const { device, metric } = this.#name;
    this.append(stamp("series-template"));
    setText(this.#part("metric"), metric);
    setText(this.#part("device"), device);
    this.#part("device").href = deviceLink(device);
    this.#chart = new Chart(this.#part("chart"), {
      span: (span) => this.#move(span),
      cursor: (index) => this.#point(index),
    });
    this.addEventListener("click", (event) => this.#press(event));
    this.#part("chart").addEventListener("keydown", (event) => this.#key(event));
    this.#load();
  }

  disconnectedCallback() {
    clearTimeout(this.#settling);
    this.#chart.close();
  }

  /** An event of the stream: note what it changes on the chart. */
  receive(name, payload) {
    if (name === "gap") return this.#load();
    const { dev, m } = payload;
    if (dev !== this.#name.device || m !== this.#name.metric) return;
    if (name === "reading") this.#touch(this.#timeline.tail, payload.t ?? this.#state.now());
    if (name === "summary" && (payload.rev ?? 1) > 1) this.#touch(payload.t0, payload.t1);
  }

  #touch(from, to) {
    const known = this.#dirty;
    this.#dirty = known
      ? { from: Math.min(from, known.from), to: Math.max(to, known.to) }
      : { from, to };
  }

  /** Once per frame with changes, and once a second. */
  update(changed) {
    const series = this.#series;
    if (series && !this.#tile) this.#welcome(series);
    if (series && (changed.has(series) || changed.size === 0)) this.#render(series);
    if (this.#live && changed.size === 0) this.#follow();
    this.#refresh();
  }

  #render(series) {
    this.#tile.render(this.#state.now(), LEAST_WAIT);
    this.#tile.mark(this.#state.cause(series));
    this.#state.want(series);
  }

  #welcome(series) {
    this.#tile = SeriesTile.of(series);
    this.#tile.visible = true;
    this.#part("now").replaceChildren(this.#tile);
  }

  #follow() {
    const length = this.#span.to - this.#span.from;
    const now = this.#state.now();
    this.#span = { from: now - length, to: now };
    this.#timeline.trim(this.#span.from);
    this.#chart.look(this.#span);
  }

  /** Read again what changed: not oftener than the chart could show. */
  async #refresh() {
    const dirty = this.#dirty;
    const wait = Math.max(LEAST_WAIT, this.#timeline.step ?? 0, (this.#span.to - this.#span.from) / 2000);
    if (!dirty || this.#busy || performance.now() - this.#asked < wait) return;
    const part = { from: Math.max(dirty.from, this.#span.from), to: Math.min(dirty.to + 1, this.#span.to + 1000) };
    this.#dirty = null;
    if (part.from >= part.to) return;
    this.#asked = performance.now();
    this.#busy = true;
    const fresh = await this.#timeline.refresh(part).catch(() => this.#touch(dirty.from, dirty.to));
    this.#busy = false;
    if (fresh && this.isConnected) this.#draw();
  }

  async #load() {
    clearTimeout(this.#settling);
    this.#asked = performance.now();
    this.setAttribute("aria-busy", "true");
    const rhythm = this.#series?.rhythm;
    const asked = { width: this.#chart.width, expected: rhythm?.steady ? rhythm.expected : null };
    try {
      if (await this.#timeline.load({ ...this.#span }, asked)) this.#draw();
      setText(this.#part("problem"), "");
    } catch (error) {
      setText(this.#part("problem"), `The readings could not be read: ${error.message}.`);
    }
    this.removeAttribute("aria-busy");
  }

  // -- moving about

  #move(span, { live = false } = {}) {
    const now = this.#state.now();
    this.#live = live;
    this.#span = span.to > now && !live ? { from: now - (span.to - span.from), to: now } : span;
    this.#chart.look(this.#span);
    this.#remember();
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => this.#load(), SETTLE);
  }

  #goLive(length) {
    const now = this.#state.now();
    this.#move({ from: now - length, to: now }, { live: true });
  }

  /** Keep the stretch in the address, so that a link shows the same. */
  #remember() {
    const { from, to } = this.#span;
    const name = Object.entries(SPANS).find(([, ms]) => Math.abs(ms - (to - from)) < 1)?.[0];
    const query = this.#live ? (name ? `?span=${name}` : "") : `?from=${Math.floor(from)}&to=${Math.ceil(to)}`;
    window.history.replaceState(null, "", location.hash.split("?")[0] + query);
  }

  #press(event) {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.span) this.#goLive(SPANS[button.dataset.span]);
    else this.#act(button.dataset.act);
  }

  #act(act) {
    const length = this.#span.to - this.#span.from;
    if (act === "live") this.#goLive(length);
    else if (act === "nearer") this.#move(zoom(this.#span, 0.5), { live: false });
    else if (act === "wider") this.#live ? this.#goLive(length * 2) : this.#move(zoom(this.#span, 2));
    else if (act === "earlier") this.#move(pan(this.#span, -0.5));
    else if (act === "later") this.#move(pan(this.#span, 0.5));
  }

  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const acts = { "+": "nearer", "=": "nearer", "-": "wider", End: "live", PageUp: "earlier", PageDown: "later" };
    if (event.key in acts) this.#act(acts[event.key]);
    else if (event.key === "ArrowLeft") this.#walk(-1);
    else if (event.key === "ArrowRight") this.#walk(1);
    else return;
    event.preventDefault();
  }

  /** Move the cursor to the next point that has a value. */
  #walk(by) {
    const values = this.#rows[1];
    let at = this.#cursor ?? values.length;
    do at += by; while (values[at] === null);
    if (values[at] === undefined) return;
    this.#chart.point(at);
  }

  // -- drawing

  #draw() {
    const { points, step, gaps } = this.#timeline;
    const sample = points.find(([, value]) => value !== null)?.[1];
    const known = this.#series?.value ?? sample;
    const text = typeof known === "string";
    const stepped = typeof known === "boolean";
    this.#rows = columns(points, { step, gaps, regular: typeof known !== "boolean" });
    this.#part("figure").hidden = text;
    if (!text) this.#plot(stepped);
    this.#tell(known);
    fillTable(this.#part("table"), points, { step, text: (v) => this.#text(v) });
    this.#part("csv").href = historyPath({ ...this.#name, ...this.#span, step, format: "csv" });
    setAttribute(this.#part("live"), "aria-pressed", String(this.#live));
    for (const button of this.querySelectorAll("[data-span]")) {
      const on = this.#live && Math.abs(SPANS[button.dataset.span] - (this.#span.to - this.#span.from)) < 1;
      setAttribute(button, "aria-pressed", String(on));
    }
  }

  #plot(stepped) {
    const axis = (value, splits) => {
      if (stepped) return word(this.#name.metric, value > 0.5);
      const { factor } = this.#scale;
      return number(value * factor, decimalsWithin((splits[1] - splits[0]) * factor || 1), 6);
    };
    const { gaps } = this.#timeline;
    this.#chart.draw({ columns: this.#rows, span: this.#span, gaps, stepped, axis })
      .catch((error) => setText(this.#part("problem"), error.message));
  }

  get #scale() {
    const size = Math.max(0, ...this.#timeline.points.map(([, value]) => Math.abs(value ?? 0)));
    return scale(this.#timeline.unit, size);
  }

  #text(value) {
    if (value === null || value === undefined) return "–";
    if (typeof value === "boolean") return word(this.#name.metric, value);
    if (typeof value === "string") return value;
    const { factor } = this.#scale;
    return number(value * factor, 6, this.#fine);
  }

  /** What the chart shows, in words: under it, and as its name. */
  #tell(known) {
    const { points, step, gaps } = this.#timeline;
    const found = typeof known === "number" ? figures(points, this.#span) : null;
    const { label, factor } = typeof known === "number" ? this.#scale : { label: "", factor: 1 };
    if (found) this.#fine = decimalsWithin((found.max - found.min) * factor);
    const length = duration(this.#span.to - this.#span.from);
    const how = step === null ? "every reading" : `least, mean and greatest per ${stepText(step)}`;
    const range = found
      ? `${this.#text(found.min)} to ${this.#text(found.max)} ${label}, mean ${this.#text(found.mean)}, ${count(found.n)} readings`
      : `${count(points.length)} points`;
    const told = points.length === 0 ? `no readings within ${length}` : `${length}: ${range}`;
    setText(this.#part("range"), told);
    setText(this.#part("how"), points.length === 0 ? "" : how);
    setAttribute(this.#part("chart"), "aria-label", `Chart of ${this.#name.metric}, ${told}, ${how}`);
    const lost = gaps.map(([from, to, reason]) => `${moment(from, 1000)} to ${moment(to, 1000)}: ${REASONS[reason] ?? reason}`);
    this.#part("losses").hidden = lost.length === 0;
    setText(this.#part("lost"), lost.length === 0 ? "" : lost.slice(-5).join("; "));
  }

  /** Tell the value under the cursor. */
  #point(index) {
    this.#cursor = index;
    const [x, mean, low, high] = this.#rows.map((row) => (index === null ? null : row[index]));
    if (mean === null || mean === undefined) return setText(this.#part("readout"), "");
    const { label } = this.#scale;
    const stepped = typeof this.#series?.value === "boolean" && low === null;
    const value = stepped ? word(this.#name.metric, mean > 0.5) : `${this.#text(mean)} ${label}`;
    const band = low === null ? "" : ` (${this.#text(low)} to ${this.#text(high)})`;
    setText(this.#part("readout"), `${moment(x * 1000, this.#timeline.step)}: ${value}${band}`);
  }
}

const stepText = (ms) => (ms < 1000 ? `${ms} ms` : duration(ms));

customElements.define("series-view", SeriesView);
