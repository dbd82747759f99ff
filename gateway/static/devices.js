// The table of devices: one row each, keyed by the device's name.

import { byName, position, setText, stamp } from "./dom.js";
import { ago, count, dateTime, number } from "./format.js";
import { absence, showPresence } from "./presence.js";
import { deviceLink } from "./route.js";

// By the reason of a GAP; 0 was found by the gateway.
const LOSSES = {
  0: "not declared by the device",
  1: "its queue overflowed",
  2: "it restarted",
  3: "too big to send",
};
const LISTED = 20; // the API lists the newest so many

export const lossCause = (reason) => LOSSES[reason] ?? `reason ${reason}`;

function lossText({ from, to, reason, readings, t }) {
  const amount = readings === null ? "unknown number of readings" : `${count(readings)} readings`;
  return `${dateTime(t)}: ${amount}, messages ${from} to ${to}, ${lossCause(reason)}`;
}

function gapCount(listed) {
  if (listed === 1) return "1 gap";
  return listed < LISTED ? `${listed} gaps` : `${LISTED} gaps or more`;
}

/** Number of lost readings; the newest losses unfold below it. */
function showLosses(cell, { lost_readings: lost, losses }) {
  const known = `${lost} ${losses.map(({ t, from }) => `${t}/${from}`).join()}`;
  if (cell.dataset.known === known) return;
  cell.dataset.known = known;
  cell.classList.toggle("attention", losses.length > 0);
  if (losses.length === 0) return cell.replaceChildren(count(lost));
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  const list = document.createElement("ul");
  details.open = cell.querySelector("details")?.open ?? false;
  summary.textContent = `${count(lost)} in ${gapCount(losses.length)}`;
  for (const loss of losses) {
    const item = document.createElement("li");
    item.textContent = lossText(loss);
    list.append(item);
  }
  details.append(summary, list);
  cell.replaceChildren(details);
}

const signed = (ms) => `${ms > 0 ? "+" : ""}${number(ms, 1)} ms`;

export class Devices {
  #section;
  #body;
  #rows = new Map(); // id -> row element
  #order = [];

  constructor(section) {
    this.#section = section;
    this.#body = section.querySelector("tbody");
  }

  /** Show the devices as `state` knows them. */
  update(state) {
    this.#section.hidden = state.devices.size === 0;
    this.#drop(state.devices);
    for (const device of state.devices.values()) this.#fill(this.#row(device.id), device, state.now());
    this.tick(state);
  }

  /** Bring the ages up to date. */
  tick(state) {
    const now = state.now();
    for (const [id, row] of this.#rows) {
      const seen = state.devices.get(id)?.last_seen;
      setText(row.querySelector(".seen"), seen ? ago(seen, now) : "never");
    }
  }

  #drop(devices) {
    for (const [id, row] of this.#rows) {
      if (devices.has(id)) continue;
      row.remove();
      this.#rows.delete(id);
      this.#order.splice(this.#order.indexOf(id), 1);
    }
  }

  #row(id) {
    if (!this.#rows.has(id)) this.#rows.set(id, this.#insert(id));
    return this.#rows.get(id);
  }

  #insert(id) {
    const row = stamp("device-template").firstElementChild;
    const index = position(this.#order, id, byName);
    this.#order.splice(index, 0, id);
    this.#body.insertBefore(row, this.#body.children[index] ?? null);
    row.dataset.device = id;
    const link = document.createElement("a");
    link.href = deviceLink(id);
    link.textContent = id;
    row.querySelector("th").append(link);
    return row;
  }

  #fill(row, device, now) {
    const cell = (name) => row.querySelector(`.${name}`);
    showPresence(cell("presence"), device, now);
    setText(cell("until"), device.state === "asleep" ? absence(device, now) : "");
    if (device.committed === undefined) return; // known from a status event only, so far
    const error = device.clock_error_ms;
    setText(cell("committed"), device.committed === null ? "none" : count(device.committed));
    setText(cell("rejected"), count(device.rejected));
    cell("rejected").classList.toggle("attention", device.rejected > 0);
    setText(cell("clock"), error === null ? "unknown" : signed(error));
    showLosses(cell("lost"), device);
  }
}
