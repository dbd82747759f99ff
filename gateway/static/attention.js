// What needs attention, above everything else: one card per device, the worst first.

import { acknowledgeButton } from "./acknowledge.js";
import { badge, keepFocus, setText } from "./dom.js";
import { deviceLink, seriesLink } from "./route.js";
import { BAD } from "./troubles.js";

const SHOWN = 6;

const LEVELS = {
  2: { state: "lost", symbol: "lost", text: "fault" },
  1: { state: "warn", symbol: "warn", text: "notice" },
};

function cause({ text, metric, level, alert }, { device, onacknowledge }) {
  const item = document.createElement("li");
  item.dataset.level = String(level);
  const told = document.createElement(metric && device !== null ? "a" : "span");
  if (told.localName === "a") told.href = seriesLink(device, metric);
  told.textContent = text;
  item.append(told, alert ? acknowledgeButton(alert, onacknowledge) : "");
  return item;
}

function card({ device, level, causes }, onacknowledge) {
  const element = document.createElement("li");
  element.className = "trouble-card";
  element.dataset.level = String(level);
  element.dataset.key = device ?? "";
  const head = document.createElement("p");
  const name = document.createElement(device === null ? "b" : "a");
  name.textContent = device ?? "gateway";
  if (device !== null) name.href = deviceLink(device);
  const mark = document.createElement("span");
  mark.className = "presence";
  badge(mark, LEVELS[level]);
  head.append(mark, name);
  const list = document.createElement("ul");
  list.append(...causes.map((one) => cause(one, { device, onacknowledge })));
  element.append(head, list);
  return element;
}

function heading(found, devices) {
  const faults = found.filter(({ level }) => level === BAD).length;
  const notices = found.length - faults;
  if (found.length === 0) return devices === 1 ? "The device is well" : `All ${devices} devices are well`;
  const parts = [];
  if (faults > 0) parts.push(faults === 1 ? "1 fault" : `${faults} faults`);
  if (notices > 0) parts.push(notices === 1 ? "1 notice" : `${notices} notices`);
  return `Needs attention: ${parts.join(", ")}`;
}

export class Attention {
  #root;
  #title;
  #list;
  #more;
  #known = "";
  #all = false;
  #acknowledge;

  /** `acknowledge(n)` acknowledges an alert; it rejects if that fails. */
  constructor(root, acknowledge) {
    this.#root = root;
    this.#acknowledge = acknowledge;
    this.#title = root.querySelector("h2 span");
    this.#list = root.querySelector("ul");
    this.#more = root.querySelector("button");
    this.#more.addEventListener("click", () => {
      this.#all = !this.#all;
      this.#known = "";
      this.update(this.found, this.devices);
    });
  }

  /** Show what `troubles()` found; `devices` is how many there are. */
  update(found, devices) {
    this.found = found;
    this.devices = devices;
    this.#root.hidden = devices === 0 && found.length === 0;
    this.#root.dataset.level = String(found[0]?.level ?? 0);
    setText(this.#title, heading(found, devices));
    this.#root.querySelector("h2 use").setAttribute("href", `#icon-${["well", "warn", "lost"][found[0]?.level ?? 0]}`);
    const known = JSON.stringify(found, (key, value) => (key === "text" || key === "short" ? undefined : value));
    if (known !== this.#known) this.#draw();
    else this.#retell();
    this.#known = known;
  }

  get #shown() {
    return this.#all ? this.found : this.found.slice(0, SHOWN);
  }

  /** The same causes as before, in other words: times went on. */
  #retell() {
    const texts = this.#shown.flatMap(({ causes }) => causes.map(({ text }) => text));
    const items = this.#list.querySelectorAll(".trouble-card li");
    items.forEach((item, i) => setText(item.firstElementChild, texts[i]));
  }

  #draw() {
    keepFocus(this.#root, () => {
      this.#list.replaceChildren(...this.#shown.map((one) => card(one, this.#acknowledge)));
    });
    this.#more.hidden = this.found.length <= SHOWN;
    setText(this.#more, this.#all ? "Show fewer" : `Show all ${this.found.length}`);
  }
}
