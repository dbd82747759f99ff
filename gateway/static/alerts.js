// The alerts that are open, and the newest ones of any kind. No DOM here.
//
// A device's own EVENT has no state: it is told once. All others are open until a state ends them.

import { time } from "./format.js";

const ENDED = new Set(["closed", "ok", "plenty"]);
const KEPT = 100;
const DIGITS = 6; // enough for people
const MOMENTS = 1e12; // ms: so great a number of milliseconds is a moment, not a duration

const keyOf = ({ dev, name, m }) => JSON.stringify([dev, name, m ?? null]);

/** Of an alert from its opening to its closing; a device's EVENT and a gateway's state stand alone. */
const identity = (alert) => `${keyOf(alert)} ${alert.n ?? `${alert.t} ${alert.state}`}`;

/** What an alert is about, in words: `{temp: 41, limit: 40}` is "temp 41, limit 40". */
export function words(detail) {
  if (detail === null || detail === undefined) return "";
  if (Array.isArray(detail)) return detail.map(words).join(", ");
  if (typeof detail === "number") return String(Number.isInteger(detail) ? detail : +detail.toPrecision(DIGITS));
  if (typeof detail !== "object") return String(detail);
  return Object.entries(detail).map(pair).join(", ");
}

function pair([key, value]) {
  const isMoment = key.endsWith("_ms") && value > MOMENTS;
  if (isMoment) return `${key.slice(0, -3)} ${time(value)}`;
  return `${key.replaceAll("_", " ")} ${words(value)}`;
}

export class Alerts {
  open = new Map(); // key -> alert
  recent = []; // newest first
  version = 0;

  /** Take in an alert. */
  take(alert) {
    const key = keyOf(alert);
    if (alert.state === undefined || ENDED.has(alert.state)) this.open.delete(key);
    else this.open.set(key, alert);
    this.#remember(alert);
    this.version += 1;
  }

  /** Those of a snapshot are open; what else was open stays, until `forget`. */
  restore(alerts) {
    alerts.forEach((alert) => this.take(alert));
  }

  /** What is open may be over: a snapshot follows. */
  forget() {
    this.open.clear();
    this.version += 1;
  }

  /** Open alerts of a device, or of one of its metrics, those that nobody acknowledged first. */
  of(device, metric) {
    const found = [...this.open.values()].filter(
      (alert) => alert.dev === device && (metric === undefined || alert.m === metric),
    );
    return found.sort((a, b) => isAcknowledged(a) - isAcknowledged(b) || b.t - a.t);
  }

  /** One entry per alert, as it stands now: what it was before is over. */
  #remember(alert) {
    this.recent = this.recent.filter((known) => identity(known) !== identity(alert));
    const index = this.recent.findIndex((known) => known.t <= alert.t);
    this.recent.splice(index < 0 ? this.recent.length : index, 0, alert);
    this.recent.length = Math.min(this.recent.length, KEPT);
  }
}

export const isAcknowledged = (alert) => alert.state === "acknowledged";

export const isOver = (alert) => alert.state === undefined || ENDED.has(alert.state);
