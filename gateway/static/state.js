// Everything the page knows: series and devices, upserted by key. No DOM here.

import { Alerts } from "./alerts.js";
import { Rhythm } from "./rhythm.js";

export const POINTS = 60;

class Series {
  constructor({ dev, m, u }) {
    this.dev = dev;
    this.metric = m;
    this.unit = u ?? "";
    this.value = null; // number, boolean or text
    this.t = null; // ms, time of `value`
    this.clock = "device";
    this.window = null; // name of the smallest window seen
    this.length = Infinity; // ms, its length
    this.points = new Map(); // t0 -> summary of the smallest window
    this.filled = false; // history was asked for
    this.version = 0; // rises whenever `points` changes
    this.rhythm = new Rhythm();
  }

  /** Take a reading if it is the newest. */
  read(t, value, clock) {
    if (this.t !== null && t < this.t && clock === this.clock) return;
    if (typeof value !== typeof this.value) this.points.clear();
    this.value = value;
    this.t = t;
    this.clock = clock;
    this.rhythm.steady = typeof value === "number";
    this.rhythm.seen(t);
  }

  /** Whether the newest value is old enough to grey; `floor` is the least interval, ms. */
  isStale(now, floor) {
    return this.#dated && this.rhythm.isStale(now - this.t, floor);
  }

  /** `since`: when its device came online, which is when it begins to be waited for. */
  isSilent(now, since) {
    return this.#dated && this.rhythm.isSilent(now - Math.max(this.t, since));
  }

  get #dated() {
    return this.t !== null && this.clock !== "unknown";
  }

  /** Upsert a summary by t0; an older revision never replaces a newer one. */
  summarise(summary) {
    const length = summary.t1 - summary.t0;
    if (typeof summary.mean === "number") this.rhythm.hint(length, summary.n);
    if (length > this.length) return;
    if (length < this.length) this.#begin(summary.w, length);
    const known = this.points.get(summary.t0);
    if (known && (known.rev ?? 1) > (summary.rev ?? 1)) return;
    this.points.set(summary.t0, summary);
    this.version += 1;
    if (this.points.size > 2 * POINTS) this.#trim();
    if (this.t === null || this.t < summary.t0) this.#adopt(summary);
  }

  /** The newest summaries, oldest first; what lies so far back that it would be alone is left out. */
  history() {
    const points = [...this.points.values()].sort((a, b) => a.t0 - b.t0).slice(-POINTS);
    const begin = points.at(-1)?.t0 - POINTS * Math.max(this.length, this.rhythm.expected ?? 0);
    return this.rhythm.steady ? points.filter(({ t0 }) => t0 >= begin) : points;
  }

  #begin(window, length) {
    this.window = window;
    this.length = length;
    this.points.clear();
    this.filled = false;
  }

  #trim() {
    const kept = this.history();
    this.points = new Map(kept.map((summary) => [summary.t0, summary]));
  }

  #adopt(summary) {
    this.value = summary.last;
    this.t = summary.t1;
  }
}

/** Upserts what the gateway tells and remembers what changed since the last `take()`. */
export class State {
  series = new Map();
  devices = new Map(); // id -> row of /api/devices, at least {id, state}
  alerts = new Alerts();
  store = null; // of /api/devices
  want = () => {}; // asks for a series' summaries, once
  troubles = []; // what is wrong with it all, worst first
  broker = null; // the same; null: there is none
  offset = 0; // ms to add to this computer's clock to get the gateway's
  #changed = new Set();
  #presence = false;
  #onchange;

  constructor(onchange) {
    this.#onchange = onchange;
  }

  /** The gateway's time, ms. */
  now() {
    return Date.now() + this.offset;
  }

  setNow(now) {
    if (typeof now === "number") this.offset = now - Date.now();
  }

  reading(row) {
    const series = this.#find(row);
    series.read(row.t, row.value, row.clock ?? "device");
    this.#mark(series);
  }

  summary(row) {
    const series = this.#find(row);
    series.summarise(row);
    this.#mark(series);
  }

  status({ dev, state, t, until }) {
    this.#device({ id: dev, state, since: t, until: until ?? null });
  }

  snapshot({ summaries, status, alerts }) {
    summaries.forEach((row) => this.summary(row));
    status.forEach((row) => this.status(row));
    this.alerts.restore(alerts ?? []);
  }

  alert(row) {
    this.alerts.take(row);
    this.#onchange();
  }

  /** Answer of /api/latest. */
  latest({ now, series }) {
    this.setNow(now);
    for (const row of series) {
      if (row.summary) this.summary(row.summary);
      if (row.value !== null && row.t !== null) this.reading(row);
    }
  }

  /** Answer of /api/devices: the registry as it is, so that removed devices go too. */
  registry({ devices, store, broker }) {
    this.devices = new Map(devices.map((row) => [row.id, this.#counted(row)]));
    this.store = store ?? null;
    this.broker = broker ?? null;
    this.#presence = true;
    this.#onchange();
  }

  /** Series of which a value is overdue so long that something must be wrong. */
  silent() {
    const now = this.now();
    const since = ({ dev }) => this.devices.get(dev)?.since ?? 0;
    return [...this.series.values()].filter((series) => series.isSilent(now, since(series)));
  }

  /** What is wrong with a series first of all: one of the causes of `troubles`, or null. */
  cause({ dev, metric }) {
    const found = this.troubles.find(({ device }) => device === dev);
    return found?.causes.find((cause) => cause.metric === metric) ?? null;
  }

  /** Events were missed: history has to be asked for again. Amid a stream no snapshot follows. */
  missed({ reason }) {
    for (const series of this.series.values()) series.filled = false;
    if (reason !== "slow") this.alerts.forget();
  }

  /** A device's row with `rejections`: messages rejected since the page was opened. */
  #counted(row) {
    const known = this.devices.get(row.id);
    const before = known?.rejected === undefined ? row.rejected : known.rejected;
    return { ...row, rejections: (known?.rejections ?? 0) + Math.max(0, row.rejected - before) };
  }

  /** The series that changed since the last call. */
  take() {
    const changed = this.#changed;
    this.#changed = new Set();
    return changed;
  }

  /** Whether a device changed since the last call. */
  takePresence() {
    const changed = this.#presence;
    this.#presence = false;
    return changed;
  }

  #find(row) {
    const key = `${row.dev}\n${row.m}`;
    if (!this.series.has(key)) this.series.set(key, new Series(row));
    const series = this.series.get(key);
    if (row.u !== undefined) series.unit = row.u;
    return series;
  }

  #device(row) {
    this.devices.set(row.id, { ...this.devices.get(row.id), ...row });
    this.#presence = true;
    this.#onchange();
  }

  #mark(series) {
    this.#changed.add(series);
    this.#onchange();
  }
}
