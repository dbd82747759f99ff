// Geometry of the small charts: arrays of summaries in, SVG path texts out.

export const WIDTH = 120;
export const HEIGHT = 32;
const PAD = 3;
const TALL = 20;
const LOW = 3;
const BREAK = 2.5; // a hole wider than this many usual steps is left open

const at = (x, y) => `${x.toFixed(1)} ${y.toFixed(1)}`;

function usualStep(points) {
  const steps = points.slice(1).map((point, i) => point.t0 - points[i].t0);
  return steps.sort((a, b) => a - b)[steps.length >> 1] ?? 1;
}

/** Split where summaries are missing, so that a hole is not drawn over. */
function runs(points) {
  const limit = BREAK * usualStep(points);
  const found = [];
  points.forEach((point, i) => {
    if (i === 0 || point.t0 - points[i - 1].t0 > limit) found.push([]);
    found.at(-1).push(point);
  });
  return found;
}

function axes(points) {
  const from = points[0].t0;
  const width = points.at(-1).t0 - from || 1;
  const low = Math.min(...points.map((point) => point.min));
  const high = Math.max(...points.map((point) => point.max));
  const height = high - low || 1;
  const flat = high === low;
  return {
    x: (t0) => PAD + ((t0 - from) / width) * (WIDTH - 2 * PAD),
    y: (v) => (flat ? HEIGHT / 2 : HEIGHT - PAD - ((v - low) / height) * (HEIGHT - 2 * PAD)),
  };
}

/** Paths of a number's history: mean as a line, min to max as a band, the newest mean as a dot. */
export function curve(points) {
  if (points.length < 2) return { line: "", band: "", dot: "" };
  const { x, y } = axes(points);
  const line = [];
  const band = [];
  for (const run of runs(points)) {
    const mean = run.map((point) => at(x(point.t0), y(point.mean)));
    line.push(`M${mean.join("L")}${run.length === 1 ? "h.1" : ""}`);
    const top = run.map((point) => at(x(point.t0), y(point.max)));
    const bottom = run.map((point) => at(x(point.t0), y(point.min))).reverse();
    band.push(`M${top.join("L")}L${bottom.join("L")}Z`);
  }
  const last = points.at(-1);
  return { line: line.join(""), band: band.join(""), dot: `M${at(x(last.t0), y(last.mean))}h.01` };
}

const bar = (x, width, height) =>
  `M${at(x, HEIGHT - PAD)}v${-height.toFixed(1)}h${width.toFixed(1)}v${height.toFixed(1)}Z`;

/** Paths of a boolean's or text's history: tall where true or where it changed, else low. */
export function strip(points, length) {
  const parts = { on: [], mixed: [], off: [] };
  if (points.length === 0) return { on: "", mixed: "", off: "" };
  const from = points[0].t0;
  const width = points.at(-1).t0 + length - from;
  for (const { t0, last, changes } of points) {
    const x = PAD + ((t0 - from) / width) * (WIDTH - 2 * PAD);
    const w = Math.max(0.6, (length / width) * (WIDTH - 2 * PAD) + 0.05);
    if (changes > 0) parts.mixed.push(bar(x, w, TALL));
    else if (last === true) parts.on.push(bar(x, w, TALL));
    else parts.off.push(bar(x, w, LOW));
  }
  return { on: parts.on.join(""), mixed: parts.mixed.join(""), off: parts.off.join("") };
}
