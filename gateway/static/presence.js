// How a device's presence is told: an icon and a word, and what else is known about a quiet one.

import { badge } from "./dom.js";
import { ago, time } from "./format.js";

const KNOWN = new Set(["online", "asleep", "offline", "lost"]);

export function showPresence(element, { state }) {
  badge(element, { state, symbol: KNOWN.has(state) ? state : "wait", text: state });
}

/** Until when a device sleeps, or when a silent one was last seen; "" for one that is online. */
export function absence({ state, until, last_seen: seen }, now) {
  if (state === "asleep" && until) return `until ${time(until)}`;
  return state !== "online" && seen ? `seen ${ago(seen, now)}` : "";
}
