// The line at the bottom: what the store holds and how long its disk lasts.

import { badge, byId, setText } from "./dom.js";
import { duration, number, scale } from "./format.js";

const STATES = {
  short: { state: "short", symbol: "wait", text: "little room left" },
  full: { state: "full", symbol: "lost", text: "disk full: devices wait" },
};

function bytes(value) {
  const { label, factor } = scale("By", value);
  return `${number(value * factor, 1)} ${label}`;
}

/** Show the `store` of /api/devices. */
export function showStore(store) {
  const footer = byId("store");
  footer.hidden = store === undefined;
  if (footer.hidden) return;
  const left = store.time_to_full_s;
  setText(byId("store-bytes"), bytes(store.bytes));
  setText(byId("store-free"), bytes(store.free));
  setText(byId("store-written"), bytes(store.written_per_day));
  setText(byId("store-left"), left === null ? "does not grow" : `full in ${duration(left * 1000)}`);
  const shown = byId("store-state");
  shown.hidden = !(store.state in STATES);
  if (!shown.hidden) badge(shown, STATES[store.state]);
}
