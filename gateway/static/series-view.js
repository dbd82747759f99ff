// One series: its newest value, its readings on a chart and in a table, and how to move about.

import { KEYS, MOVES, readSpan, SPANS, writeSpan } from "./address.js";
import { historyPath } from "./api.js";
import { Chart } from "./chart.js";
import { setAttribute, setText, stamp } from "./dom.js";
import { moment, word } from "./format.js";
import { deviceLink } from "./route.js";
import { columns } from "./span.js";
import { fillTable } from "./table.js";
import { SeriesTile } from "./tile.js";
import { Timeline } from "./timeline.js";
import { Wording } from "./wording.js";

const SETTLE = 150; // ms without a further movement, before readings are asked for
const LEAST_WAIT = 1000; // ms between two requests for what is new

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
  #wording;
  #rows = [[], [], [], []];

  static of({ device, metric, query }, state) {
    const view = document.createElement("series-view");
    view.#state = state;
    view.#name = { device, metric };
    view.#timeline = new Timeline(view.#name);
    view.#wording = new Wording(metric);
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
    const { span, live } = readSpan(query, this.#state.now());
    this.#span = span;
    this.#live = live;
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
    window.history.replaceState(null, "", location.hash.split("?")[0] + writeSpan(this.#span, this.#live));
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
    else if (act === "wider" && this.#live) this.#goLive(length * 2);
    else this.#move(MOVES[act](this.#span));
  }

  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key in KEYS) this.#act(KEYS[event.key]);
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
    fillTable(this.#part("table"), points, { step, text: (v) => this.#wording.value(v) });
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
      return this.#wording.tick(value, splits[1] - splits[0]);
    };
    const { gaps } = this.#timeline;
    this.#chart.draw({ columns: this.#rows, span: this.#span, gaps, stepped, axis })
      .catch((error) => setText(this.#part("problem"), error.message));
  }

  /** Tell in words what the chart shows: under it, and as its name. */
  #tell(known) {
    const { told, how, lost } = this.#wording.chart(this.#timeline, { span: this.#span, known });
    setText(this.#part("range"), told);
    setText(this.#part("how"), how);
    setAttribute(this.#part("chart"), "aria-label", `Chart of ${this.#name.metric}, ${told}, ${how}`);
    this.#part("losses").hidden = lost === "";
    setText(this.#part("lost"), lost);
  }

  /** Tell the value under the cursor. */
  #point(index) {
    this.#cursor = index;
    const [x, mean, low, high] = this.#rows.map((row) => (index === null ? null : row[index]));
    if (mean === null || mean === undefined) return setText(this.#part("readout"), "");
    const stepped = typeof this.#series?.value === "boolean" && low === null;
    const value = stepped ? word(this.#name.metric, mean > 0.5) : this.#wording.withUnit(mean);
    const band = low === null ? "" : ` (${this.#wording.value(low)} to ${this.#wording.value(high)})`;
    setText(this.#part("readout"), `${moment(x * 1000, this.#timeline.step)}: ${value}${band}`);
  }
}

customElements.define("series-view", SeriesView);
