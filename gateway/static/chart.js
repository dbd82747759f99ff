// The large chart: uPlot (vendor/) dressed for one series. What to draw is decided elsewhere.

import { shortTime } from "./format.js";
import { watchGestures } from "./gestures.js";

const HATCH = 8; // pixels between the lines over a declared loss
let loading = null;

/** uPlot, fetched when the first chart is drawn. */
function library() {
  loading ??= new Promise((done, failed) => {
    const style = document.createElement("link");
    Object.assign(style, { rel: "stylesheet", href: "vendor/uplot.css" });
    const script = document.createElement("script");
    script.src = "vendor/uplot.js";
    script.addEventListener("load", () => done(window.uPlot));
    script.addEventListener("error", () => {
      loading = null;
      failed(new Error("the chart could not be loaded"));
    });
    document.head.append(style, script);
  });
  return loading;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Chart {
  #root;
  #on;
  #plot = null;
  #shown = null; // {columns, span, gaps, stepped, format}
  #resized = new ResizeObserver(() => this.#fit());
  #themed = new MutationObserver(() => this.#rebuild());

  /** `on.span({from, to})` when another stretch is asked for, `on.cursor(index|null)` under the pointer. */
  constructor(root, on) {
    this.#root = root;
    this.#on = on;
    this.#resized.observe(root);
    this.#themed.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  get width() {
    return Math.max(200, this.#root.clientWidth - 60);
  }

  /** Draw `columns` over `span` (ms) with hatched `gaps`; `format(v)` is the text of a value. */
  async draw(shown) {
    const anew = this.#plot === null || shown.stepped !== this.#shown.stepped;
    this.#shown = shown;
    if (anew) return this.#rebuild();
    this.#plot.setData(shown.columns, false);
    this.look(shown.span);
  }

  /** Show another stretch of the same data. */
  look(span) {
    if (!this.#plot) return;
    this.#shown.span = span;
    this.#plot.setScale("x", { min: span.from / 1000, max: span.to / 1000 });
  }

  /** Put the cursor on the row `index`. */
  point(index) {
    const [x] = this.#shown.columns;
    const left = this.#plot.valToPos(x[index], "x");
    this.#plot.setCursor({ left, top: this.#plot.over.clientHeight / 2 });
  }

  close() {
    this.#resized.disconnect();
    this.#themed.disconnect();
    this.#plot?.destroy();
    this.#plot = null;
    this.#root = null;
  }

  async #rebuild() {
    if (!this.#shown) return;
    const Plot = await library();
    if (this.#root === null) return; // closed meanwhile
    this.#plot?.destroy();
    this.#plot = new Plot(this.#options(Plot), this.#shown.columns, this.#root);
    this.look(this.#shown.span);
    watchGestures(this.#plot.over, { span: () => this.#shown.span, change: (span) => this.#on.span(span) });
  }

  #fit() {
    this.#plot?.setSize(this.#size());
  }

  #size() {
    return { width: this.#root.clientWidth, height: this.#root.clientHeight };
  }

  #options(Plot) {
    const { stepped } = this.#shown;
    const paths = stepped ? Plot.paths.stepped({ align: 1 }) : Plot.paths.linear();
    const line = colour("--accent");
    const edge = { stroke: colour("--band-edge"), width: 1, points: { show: false } };
    return {
      ...this.#size(),
      legend: { show: false },
      cursor: { y: false, drag: { x: true, y: false, setScale: false }, bind: { dblclick: () => () => this.#widen() } },
      scales: { x: { time: true, auto: false }, y: { range: (_, low, high) => this.#heights(low, high) } },
      axes: this.#axes(),
      series: [{}, { stroke: line, width: 1.75, paths, points: { size: 5, fill: line } }, edge, edge],
      bands: [{ series: [3, 2], fill: colour("--band") }],
      hooks: {
        drawClear: [(plot) => this.#hatch(plot)],
        setSelect: [(plot) => this.#selected(plot)],
        setCursor: [(plot) => this.#on.cursor(plot.cursor.idx ?? null)],
      },
    };
  }

  #axes() {
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const common = {
      stroke: colour("--muted"), font, grid: { stroke: colour("--line"), width: 1 },
      ticks: { stroke: colour("--line"), width: 1, size: 5 },
    };
    const times = (_, splits, __, ___, step) =>
      splits.map((s, i) => shortTime(s * 1000, { step: step * 1000, before: i > 0 ? splits[i - 1] * 1000 : null }));
    const values = (_, splits) => splits.map((v) => this.#shown.axis(v, splits));
    const wide = (_, texts) => 18 + 7.2 * Math.max(0, ...(texts ?? []).map((text) => text.length));
    return [
      { ...common, values: times, space: 70, size: 44 },
      { ...common, values, size: wide, splits: this.#shown.stepped ? () => [0, 1] : undefined },
    ];
  }

  #heights(low, high) {
    if (this.#shown.stepped) return [-0.15, 1.15];
    if (low === null) return [0, 1];
    const room = (high - low) * 0.08 || Math.abs(high) * 0.02 || 1;
    return [low - room, high + room];
  }

  /** Declared losses: hatched, so that it is not told by colour alone. */
  #hatch(plot) {
    const { ctx, bbox } = plot;
    const scale = devicePixelRatio;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const [from, to] of this.#shown.gaps) {
      const left = plot.valToPos(from / 1000, "x", true);
      const width = Math.max(3 * scale, plot.valToPos(to / 1000, "x", true) - left);
      this.#stripe(ctx, { left, width, top: bbox.top, height: bbox.height, scale });
    }
    ctx.restore();
  }

  #stripe(ctx, { left, width, top, height, scale }) {
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, top, width, height);
    ctx.clip();
    ctx.strokeStyle = colour("--loss");
    ctx.lineWidth = 1.5 * scale;
    ctx.beginPath();
    for (let x = left - height; x < left + width; x += HATCH * scale) {
      ctx.moveTo(x, top + height);
      ctx.lineTo(x + height, top);
    }
    ctx.stroke();
    ctx.strokeRect(left, top - 2, width, height + 4);
    ctx.restore();
  }

  #selected(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    const moment = (x) => plot.posToVal(x, "x") * 1000;
    const span = { from: moment(left), to: moment(left + width) };
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.#on.span(span);
  }

  #widen() {
    const { from, to } = this.#shown.span;
    const length = to - from;
    this.#on.span({ from: from - length / 2, to: to + length / 2 });
    return null;
  }
}
