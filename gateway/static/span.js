// A stretch of time on a chart, and the points in it. Pure: no DOM, no clock.

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
const LEAST = 1000; // ms
const GREATEST = 5 * 366 * DAY;
const HOLE = 2.5; // a hole wider than so many usual steps is left open
const RAW = 2; // readings per pixel up to which each is drawn

const clamp = (ms) => Math.min(GREATEST, Math.max(LEAST, ms));

/** Nearer (`factor` < 1) or farther, while the moment `at` stays where it is. */
export function zoom({ from, to }, factor, at = (from + to) / 2) {
  const share = (at - from) / (to - from);
  const length = clamp((to - from) * factor);
  return { from: at - share * length, to: at + (1 - share) * length };
}

export function pan({ from, to }, share) {
  const by = (to - from) * share;
  return { from: from + by, to: to + by };
}

/** The least of 1, 2, 5 times a power of ten that is not below `ms`. */
export function niceStep(ms) {
  const power = 10 ** Math.floor(Math.log10(ms));
  return [1, 2, 5, 10].map((n) => n * power).find((step) => step >= ms * 0.999);
}

/**
 * Milliseconds per point for a chart of `width` pixels; null: the readings themselves. `expected`
 * is the time between readings, null if it is not known.
 */
export function stepFor({ from, to }, { width, expected }) {
  const readings = (to - from) / (expected ?? 0);
  if (isFew(readings, width)) return null;
  return Math.max(1, niceStep((to - from) / width));
}

/** Whether so many readings can each be drawn. */
export const isFew = (readings, width) => readings <= RAW * width;

/** How many readings points per step stand for. */
export const total = (points) => points.reduce((sum, [, , , , n]) => sum + n, 0);

/** Put `fresh` in the place of what `points` had from `from` up to `to`, in place. */
export function splice(points, fresh, { from, to }) {
  const begin = points.findIndex(([t]) => t >= from);
  const start = begin < 0 ? points.length : begin;
  let end = start;
  while (end < points.length && points[end][0] < to) end += 1;
  points.splice(start, end - start, ...fresh);
}

/** The usual time between points. */
export function usual(points, step) {
  if (step) return step;
  const steps = points.slice(1).map(([t], i) => t - points[i][0]).filter((ms) => ms > 0);
  return steps.sort((a, b) => a - b)[steps.length >> 1] ?? 0;
}

function isHole(before, after, { limit, gaps }) {
  if (limit > 0 && after - before > limit) return true;
  return gaps.some(([from, to]) => from < after && to > before);
}

/**
 * Columns `[t (s), value, min, max]` for the chart, with an empty row in every hole.
 * Raw points are `[t, value]`, others `[t, min, mean, max, n]`. `regular`: holes are judged by time.
 */
export function columns(points, { step, gaps, regular }) {
  const limit = regular ? HOLE * usual(points, step) : 0;
  const rows = [[], [], [], []];
  let before = null;
  for (const point of points) {
    const [t] = point;
    if (before !== null && isHole(before, t, { limit, gaps })) add(rows, (before + t) / 2, null, null, null);
    if (point.length === 2) add(rows, t, Number(point[1]), null, null);
    else add(rows, t + (step ?? 0) / 2, point[2], point[1], point[3]);
    before = t;
  }
  return rows;
}

function add(rows, t, ...values) {
  [t / 1000, ...values].forEach((value, i) => rows[i].push(value));
}

/** `{n, min, mean, max}` of the points of numbers within a stretch of time; null if there is none. */
export function figures(points, { from, to }) {
  let n = 0;
  let sum = 0;
  let min = Infinity;
  let max = -Infinity;
  for (const [t, ...rest] of points) {
    const [low, mean, high, many] = rest.length === 1 ? [rest[0], rest[0], rest[0], 1] : rest;
    if (t < from || t > to || low === null) continue;
    n += many;
    sum += Number(mean) * many;
    min = Math.min(min, low);
    max = Math.max(max, high);
  }
  return n > 0 ? { n, min, mean: sum / n, max } : null;
}

/**
 * The stretch at which the moments `held` (ms) lie under the fingers at `xs` (pixels) on a chart
 * of `width` pixels. One finger moves it, of `length` ms; two stretch it as well.
 */
export function under(held, xs, { width, length }) {
  const spread = xs.length > 1 ? Math.abs(xs[1] - xs[0]) : 0;
  const pinched = spread > 8 ? (Math.abs(held[1] - held[0]) / spread) * width : length;
  const from = held[0] - (xs[0] / width) * clamp(pinched);
  return { from, to: from + clamp(pinched) };
}
