// The line on top: name, connection, totals, the gateway's time.

import { badge, byId, setText } from "./dom.js";
import { age, count, time } from "./format.js";

const PHASES = {
  live: { state: "live", symbol: "online", text: "live" },
  connecting: { state: "connecting", symbol: "wait", text: "connecting" },
  lost: { state: "lost", symbol: "lost", text: "connection lost" },
  "signed-out": { state: "lost", symbol: "leave", text: "signed out" },
  crowded: { state: "polling", symbol: "wait", text: "polling" },
  resting: { state: "resting", symbol: "asleep", text: "resting" },
};
const POLLING = { state: "polling", symbol: "wait", text: "polling" };

export function showName(name) {
  setText(byId("name"), name);
  document.title = name;
}

export function showConnection(phase, { polling, paused }) {
  const shown = polling ? POLLING : PHASES[phase];
  if (paused && phase === "live") badge(byId("connection"), { ...paused, symbol: "pause" });
  else badge(byId("connection"), shown);
}

/** Who is signed in, and the way out; nothing of it where everybody may look. */
export function showUser(user) {
  byId("leave").hidden = user === null;
  if (user === null) return;
  const button = byId("leave").querySelector("button");
  button.title = `Signed in as ${user}`;
  button.setAttribute("aria-label", `Sign out ${user}`);
}

export function showTotals(state, lastEvent) {
  const devices = [...state.devices.values()];
  const online = devices.filter((device) => device.state === "online").length;
  setText(byId("total-devices"), `${count(online)} of ${count(devices.length)}`);
  setText(byId("total-series"), count(state.series.size));
  setText(byId("total-event"), lastEvent === null ? "none" : age(lastEvent, Date.now()));
  setText(byId("clock"), time(state.now()));
}
