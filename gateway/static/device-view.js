// One device: presence, facts, tiles, commands, declared losses and rejected messages.

import { losses, rejected } from "./api.js";
import { CommandBox } from "./command.js";
import { lossCause } from "./devices.js";
import { byName, setText, stamp } from "./dom.js";
import { ago, count, dateTime, number } from "./format.js";
import { absence, showPresence } from "./presence.js";
import { SeriesTile } from "./tile.js";

const LISTED = 50;

/** Pairs of what is known about a device. */
function facts(device, now) {
  const error = device.clock_error_ms;
  return {
    "last seen": device.last_seen ? ago(device.last_seen, now) : "never",
    "committed message": device.committed === null ? "none" : count(device.committed ?? 0),
    "readings lost": count(device.lost_readings ?? 0),
    "messages rejected": count(device.rejected ?? 0),
    "clock error": error === null || error === undefined ? "unknown" : `${error > 0 ? "+" : ""}${number(error, 1)} ms`,
    "configuration": device.config_version ? `version ${device.config_version}` : "none",
  };
}

function rowOf(texts) {
  const row = document.createElement("tr");
  row.append(...texts.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
  return row;
}

export class DeviceView extends HTMLElement {
  #state;
  #id;
  #tiles = new Map(); // series -> tile
  #records = ""; // what the tables of losses and rejections were read for

  static of({ device }, state) {
    const view = document.createElement("device-view");
    view.#state = state;
    view.#id = device;
    return view;
  }

  #part(name) {
    return this.querySelector(`[data-part="${name}"]`);
  }

  connectedCallback() {
    if (this.childElementCount > 0) return;
    this.append(stamp("device-view-template"));
    setText(this.#part("name"), this.#id);
    this.#part("command").append(CommandBox.of(this.#id));
  }

  /** Once per frame with changes, and once a second. */
  update(changed) {
    const now = this.#state.now();
    for (const series of this.#state.series.values()) {
      if (series.dev !== this.#id) continue;
      if (!this.#tiles.has(series)) this.#add(series);
      if (changed.size > 0 && !changed.has(series)) continue;
      this.#tiles.get(series).render(now, 1000);
      this.#state.want(series);
    }
    if (changed.size === 0) this.#about(now);
  }

  #add(series) {
    const tile = SeriesTile.of(series);
    tile.visible = true;
    this.#tiles.set(series, tile);
    const sorted = [...this.#tiles.values()].sort((a, b) => byName(a.series.metric, b.series.metric));
    this.#part("tiles").insertBefore(tile, sorted[sorted.indexOf(tile) + 1] ?? null);
  }

  #about(now) {
    const device = this.#state.devices.get(this.#id);
    this.#part("unknown").hidden = device !== undefined || this.#state.devices.size === 0;
    if (!device) return;
    showPresence(this.#part("presence"), device, now);
    setText(this.#part("absence"), absence(device, now));
    this.#list(facts(device, now));
    this.#mark();
    this.#read(device);
  }

  #list(known) {
    const list = this.#part("facts");
    for (const [name, value] of Object.entries(known)) {
      let pair = list.querySelector(`[data-fact="${name}"]`);
      if (!pair) {
        pair = document.createElement("div");
        pair.dataset.fact = name;
        pair.append(document.createElement("dt"), document.createElement("dd"));
        pair.firstElementChild.textContent = name;
        list.append(pair);
      }
      setText(pair.lastElementChild, String(value));
    }
  }

  #mark() {
    const found = this.#state.troubles.find(({ device }) => device === this.#id);
    for (const [series, tile] of this.#tiles) tile.mark(this.#state.cause(series));
    const causes = (found?.causes ?? []).map(({ text, level }) =>
      Object.assign(document.createElement("li"), { textContent: text, className: level > 1 ? "bad" : "warn" }));
    const list = this.#part("causes");
    if (list.textContent !== causes.map((item) => item.textContent).join("")) list.replaceChildren(...causes);
  }

  /** Losses and rejections, read again when there are more. */
  async #read({ lost_readings: lost, rejected: refused, losses: newest }) {
    const known = `${lost} ${refused} ${newest?.[0]?.t}`;
    if (known === this.#records || lost === undefined) return;
    this.#records = known;
    const [gaps, bad] = await Promise.all([losses(this.#id), rejected(this.#id)]).catch(() => [null, null]);
    if (gaps === null) return void (this.#records = ""); // asked again in a second
    this.#fill("losses", gaps.losses.map(({ t, from, to, readings, reason }) => [
      dateTime(t), readings === null ? "unknown" : count(readings), `${from} to ${to}`, lossCause(reason),
    ]));
    this.#fill("rejected", bad.rejected.map(({ t, seq, reason, code }) => [dateTime(t), count(seq), reason, String(code)]));
  }

  #fill(name, rows) {
    const section = this.#part(name);
    section.hidden = rows.length === 0;
    section.querySelector("tbody").replaceChildren(...rows.slice(0, LISTED).map(rowOf));
    setText(section.querySelector("h3 span"), rows.length > LISTED ? `the newest ${LISTED}` : String(rows.length));
  }
}

customElements.define("device-view", DeviceView);
