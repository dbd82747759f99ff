// The stretch of time that a view's address asks for, and where one can go from there.

import { DAY, HOUR, MINUTE, pan, zoom } from "./span.js";

export const SPANS = {
  "5m": 5 * MINUTE, "1h": HOUR, "6h": 6 * HOUR, "1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY,
};

/** Where a button or a key leads from a stretch. */
export const MOVES = {
  nearer: (span) => zoom(span, 0.5),
  wider: (span) => zoom(span, 2),
  earlier: (span) => pan(span, -0.5),
  later: (span) => pan(span, 0.5),
};

export const KEYS = {
  "+": "nearer", "=": "nearer", "-": "wider", PageUp: "earlier", PageDown: "later", End: "live",
};

/** `{span, live}`: live means that the newer end is now and stays so. */
export function readSpan(query, now) {
  const from = Number(query.get("from"));
  const to = Number(query.get("to"));
  if (from > 0 && to > from) return { span: { from, to }, live: false };
  const length = SPANS[query.get("span")] ?? HOUR;
  return { span: { from: now - length, to: now }, live: true };
}

/** The query that leads back to the same stretch. */
export function writeSpan({ from, to }, live) {
  if (!live) return `?from=${Math.floor(from)}&to=${Math.ceil(to)}`;
  const name = Object.keys(SPANS).find((key) => Math.abs(SPANS[key] - (to - from)) < 1);
  return name ? `?span=${name}` : "";
}
