// Numbers, units and times as people read them. Nothing here touches the page.

const UNITS = {
  Cel: "°C", "%RH": "% RH", "%EL": "% battery", "m/s": "m/s", "m/s2": "m/s²", m2: "m²", m3: "m³",
  "m3/s": "m³/s", "W/m2": "W/m²", "kg/m3": "kg/m³", "ug/m3": "µg/m³", Ohm: "Ω", deg: "°",
  "beat/min": "bpm", "1/min": "/min", "1/s": "/s", l: "L", "l/s": "L/s", By: "B", uS: "µS",
  "uS/cm": "µS/cm", count: "", "/": "", lat: "°", lon: "°", EL: "s",
};

const BYTES = [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"], [0, "B"]];

/** How to show values of `unit` around `value`: `{label, factor}`. */
export function scale(unit, value) {
  const size = Math.abs(value);
  if (unit === "Pa" && size >= 10_000) return { label: "hPa", factor: 0.01 };
  if (unit === "By") {
    const [step, label] = BYTES.find(([least]) => size >= least);
    return { label, factor: 1 / (step || 1) };
  }
  return { label: UNITS[unit] ?? unit ?? "", factor: 1 };
}

/** Decimals worth showing for a magnitude: about four significant digits. */
export function decimalsFor(size) {
  if (size >= 1000) return 0;
  if (size >= 100) return 1;
  if (size >= 1) return 2;
  return size >= 0.1 || size === 0 ? 3 : 4;
}

/** Decimals of the shortest text of `value`, such as 2 for 21.43. */
export function decimalsOf(value) {
  const [, fraction = ""] = String(value).split(".");
  return fraction.includes("e") ? 9 : fraction.length;
}

const formats = new Map();

function fixed(decimals) {
  if (!formats.has(decimals)) {
    const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
    formats.set(decimals, new Intl.NumberFormat("en", digits));
  }
  return formats.get(decimals);
}

/**
 * A number with at most `decimals` decimals, grouped by thousands; far ones with an exponent.
 * `fine` asks for more decimals than the magnitude would have, to tell near values apart.
 */
export function number(value, decimals, fine = 0) {
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e9 || size < 1e-4)) return value.toExponential(3);
  const shown = Math.min(decimals, Math.max(decimalsFor(size), fine));
  return fixed(shown).format(value).replaceAll(",", "\u202f");
}

/** Decimals at which values that spread over `range` differ visibly. */
export function decimalsWithin(range) {
  return range > 0 ? Math.min(6, Math.max(0, Math.ceil(-Math.log10(range)) + 1)) : 0;
}

export function count(value) {
  return fixed(0).format(value).replaceAll(",", "\u202f");
}

const WORDS = [
  [/door|window|gate|valve|lid|hatch|open/i, "open", "closed"],
  [/motion|presence|occup|pir/i, "motion", "clear"],
  [/leak|water|flood|wet/i, "wet", "dry"],
  [/alarm|smoke|fault|error/i, "alarm", "ok"],
  [/relay|switch|pump|fan|heat|light|lamp|led|power|motor|enabled?|charging/i, "on", "off"],
];

/** The word for a boolean, by what the metric is named after. */
export function word(metric, value) {
  const [, yes, no] = WORDS.find(([pattern]) => pattern.test(metric)) ?? [null, "true", "false"];
  return value ? yes : no;
}

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** A duration with one or two units: `8 s`, `3 min`, `2 h 5 min`, `4 d`. */
export function duration(ms) {
  if (ms < MINUTE) return `${Math.floor(ms / SECOND)} s`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} min`;
  if (ms >= 2 * DAY) return `${Math.floor(ms / DAY)} d`;
  const minutes = Math.floor((ms % HOUR) / MINUTE);
  return `${Math.floor(ms / HOUR)} h${minutes ? ` ${minutes} min` : ""}`;
}

/** Age of something that happened at `t`; a clock that runs ahead is called that. */
export function age(t, now) {
  const ms = now - t;
  if (ms < -1500) return `${duration(-ms)} ahead`;
  return ms < SECOND ? "now" : duration(ms);
}

/** The same as part of a sentence. */
export function ago(t, now) {
  const text = age(t, now);
  if (text === "now") return "just now";
  return text.endsWith("ahead") ? text : `${text} ago`;
}

const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const dayAndClock = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export function time(ms) {
  return clock.format(ms);
}

export function dateTime(ms) {
  return dayAndClock.format(ms);
}

const hourAndMinute = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const month = new Intl.DateTimeFormat("en-GB", { month: "short", year: "numeric" });

/** A tick on an axis of time whose ticks are `step` ms apart; the day where it changes. */
export function shortTime(ms, { step, before }) {
  if (step >= 28 * DAY) return month.format(ms);
  if (step >= DAY) return day.format(ms);
  const text = clockText(ms, step);
  const known = before !== null && day.format(before) === day.format(ms);
  return known ? text : `${text}\n${day.format(ms)}`;
}

function clockText(ms, step) {
  if (step >= MINUTE) return hourAndMinute.format(ms);
  if (step >= SECOND) return clock.format(ms);
  return `${clock.format(ms)}.${String(Math.floor(ms % SECOND)).padStart(3, "0")}`;
}

/** A moment with as much precision as `step` ms asks for; its day only if that is not today. */
export function moment(ms, step) {
  const text = clockText(ms, step === null ? 1 : Math.min(step, SECOND));
  const today = dayAndClock.format(ms).slice(0, -8) === dayAndClock.format(Date.now()).slice(0, -8);
  return today ? text : `${day.format(ms)} ${text}`;
}
