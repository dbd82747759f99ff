// The alerts as a table: those that are open first, then the newest that were told.

import { acknowledgeButton } from "./acknowledge.js";
import { isAcknowledged, isOver, words } from "./alerts.js";
import { badge, keepFocus, setText } from "./dom.js";
import { moment } from "./format.js";
import { deviceLink, seriesLink } from "./route.js";

const LISTED = 30;
const SECOND = 1000; // ms

function standing(alert) {
  if (alert.state === undefined) return { state: "offline", symbol: "event", text: "told" };
  if (isOver(alert)) return { state: "online", symbol: "well", text: alert.state };
  if (isAcknowledged(alert)) return { state: "warn", symbol: "warn", text: "acknowledged" };
  return { state: "lost", symbol: "lost", text: alert.state };
}

function cell(name, content) {
  const element = document.createElement("td");
  element.setAttribute("role", "cell");
  element.dataset.label = name;
  element.append(content);
  return element;
}

function from({ dev, m, source }) {
  if (source === "gateway") return "gateway";
  const link = document.createElement("a");
  link.href = m ? seriesLink(dev, m) : deviceLink(dev);
  link.textContent = m ? `${dev} ${m}` : dev;
  return link;
}

function told({ text, detail, by, note }) {
  const who = by ? `seen by ${by}${note ? `: ${note}` : ""}` : "";
  return [text, words(detail), who].filter(Boolean).join("; ");
}

function row(alert, onacknowledge) {
  const element = document.createElement("tr");
  element.setAttribute("role", "row");
  element.dataset.key = JSON.stringify([alert.dev, alert.name, alert.m, alert.n]);
  const state = document.createElement("span");
  state.className = "presence";
  badge(state, standing(alert));
  const name = document.createElement("th");
  name.setAttribute("role", "rowheader");
  name.scope = "row";
  name.textContent = String(alert.name);
  element.append(
    name, cell("State", state), cell("From", from(alert)), cell("Detail", told(alert)),
    cell("Since", moment(alert.since ?? alert.t, SECOND)), cell("", acknowledgeButton(alert, onacknowledge)),
  );
  return element;
}

export class Log {
  #root;
  #drawn = -1;

  #acknowledge;

  /** `acknowledge(n)` acknowledges an alert; it rejects if that fails. */
  constructor(root, acknowledge) {
    this.#root = root;
    this.#acknowledge = acknowledge;
  }

  update(alerts) {
    if (alerts.version === this.#drawn) return;
    this.#drawn = alerts.version;
    const open = [...alerts.open.values()].sort((a, b) => b.t - a.t);
    const rest = alerts.recent.filter(isOver);
    const shown = [...open, ...rest].slice(0, Math.max(LISTED, open.length));
    this.#root.hidden = shown.length === 0;
    setText(this.#root.querySelector("h2 span"), open.length > 0 ? `${open.length} open` : "none open");
    const rows = shown.map((alert) => row(alert, this.#acknowledge));
    keepFocus(this.#root, () => this.#root.querySelector("tbody").replaceChildren(...rows));
  }
}
