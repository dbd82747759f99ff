// How a device's presence is told: an icon, a word and, if asleep, until when.

import { badge } from "./dom.js";
import { time } from "./format.js";

const KNOWN = new Set(["online", "asleep", "offline", "lost"]);

export function showPresence(element, { state, until }) {
  const text = state === "asleep" && until ? `asleep until ${time(until)}` : state;
  badge(element, { state, symbol: KNOWN.has(state) ? state : "wait", text });
}
