// The line at the bottom: what the store holds and how long its disk lasts.

import { badge, byId, setText } from "./dom.js";
import { count, duration, number, scale } from "./format.js";

const STATES = {
  short: { state: "short", symbol: "wait", text: "little room left" },
  full: { state: "full", symbol: "lost", text: "disk full: devices wait" },
};

function bytes(value) {
  const { label, factor } = scale("By", value);
  return `${number(value * factor, 1)} ${label}`;
}

function showBroker(broker) {
  const shown = byId("broker");
  shown.hidden = broker === null;
  if (broker === null) return;
  if (broker.connected) badge(byId("broker-state"), { state: "online", symbol: "online", text: "connected" });
  else badge(byId("broker-state"), { state: "short", symbol: "offline", text: "not connected" });
  setText(byId("broker-waiting"), `${count(broker.waiting)} (${bytes(broker.bytes)})`);
  setText(byId("broker-dropped"), broker.dropped > 0 ? `${count(broker.dropped)} given up` : "");
}

const filling = (left) => (left === null ? "does not grow" : `full in ${duration(left * 1000)}`);

/** Show `store` and `broker` of /api/devices. */
export function showStore({ store, broker }) {
  showBroker(broker ?? null);
  const footer = byId("store");
  footer.hidden = store === undefined;
  if (footer.hidden) return;
  const { time_to_full_s: left, written_per_day: written } = store;
  setText(byId("store-bytes"), bytes(store.bytes));
  setText(byId("store-free"), bytes(store.free));
  // Both are not measured yet in the gateway's first minute.
  setText(byId("store-written"), written > 0 ? bytes(written) : "not known yet");
  setText(byId("store-left"), written > 0 ? filling(left) : "");
  const shown = byId("store-state");
  shown.hidden = !(store.state in STATES);
  if (!shown.hidden) badge(shown, STATES[store.state]);
}
