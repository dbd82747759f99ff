// How a device's presence is told: an icon and a word, and what else is known about a quiet one.

import { badge } from "./dom.js";
import { ago, time } from "./format.js";

const KNOWN = new Set(["online", "asleep", "late", "offline", "lost"]);

/** Presence as it is by `now`: a device that should have woken up is late. */
function presence({ state, until }, now) {
  return state === "asleep" && until && now > until ? "late" : state;
}

export function showPresence(element, device, now) {
  const state = presence(device, now);
  badge(element, { state, symbol: KNOWN.has(state) ? state : "wait", text: state });
}

/** Until when a device sleeps, or when a silent one was last seen; "" for one that is online. */
export function absence({ state, until, last_seen: seen }, now) {
  if (state === "asleep" && until > now) return `until ${time(until)}`;
  return state !== "online" && seen ? `seen ${ago(seen, now)}` : "";
}
