// The box for commands to a device, and what became of those that were sent from this page.

import { command, putCommand } from "./api.js";
import { words } from "./alerts.js";
import { badge, setText, stamp } from "./dom.js";

const ASK_EVERY = 1000; // ms
const AT_MOST_ONCE = 1; // flag
const OPEN = new Set(["queued", "sent", "handled"]);
const KEPT = 8;

const MARKS = { done: ["online", "well"], accepted: ["online", "well"] };
const BROKEN = ["lost", "lost"];
const WAITING = ["asleep", "wait"];

/** The order that the form holds. Throws an Error that says which field is wrong. */
function order(form) {
  const { op, args, ttl, once } = form.elements;
  const name = op.value.trim();
  const body = { op: /^\d+$/.test(name) ? Number(name) : name, flags: once.checked ? AT_MOST_ONCE : 0 };
  if (args.value.trim()) body.args = parsed(args.value);
  if (ttl.value) body.ttl_ms = Math.round(Number(ttl.value) * 1000);
  return body;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`The arguments are not JSON: ${error.message}`);
  }
}

export class CommandBox extends HTMLElement {
  #device;
  #sent = []; // newest first

  static of(device) {
    const box = document.createElement("command-box");
    box.#device = device;
    return box;
  }

  connectedCallback() {
    if (this.childElementCount > 0) return;
    this.append(stamp("command-template"));
    this.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send(event.target);
    });
  }

  async #send(form) {
    const problem = this.querySelector(".problem");
    setText(problem, "");
    try {
      const body = order(form);
      const { n } = await putCommand(this.#device, body);
      this.#follow({ n, op: body.op, state: "queued", result: null });
    } catch (error) {
      setText(problem, error.message);
    }
  }

  async #follow(sent) {
    this.#sent.unshift(sent);
    this.#sent.length = Math.min(this.#sent.length, KEPT);
    this.#draw();
    while (this.isConnected && OPEN.has(sent.state)) {
      await new Promise((done) => setTimeout(done, ASK_EVERY));
      Object.assign(sent, await command(sent.n).catch(() => null)); // no answer: asked again
      this.#draw();
    }
  }

  #draw() {
    const list = this.querySelector("ol");
    const items = this.#sent.map(({ n, op, state, result }) => {
      const item = document.createElement("li");
      const mark = document.createElement("span");
      mark.className = "presence";
      const [kind, symbol] = OPEN.has(state) ? WAITING : (MARKS[state] ?? BROKEN);
      badge(mark, { state: kind, symbol, text: state });
      const answer = words(result);
      item.append(`${n}: ${op} `, mark, answer ? ` ${answer}` : "");
      return item;
    });
    if (list.textContent !== items.map((item) => item.textContent).join("")) list.replaceChildren(...items);
  }
}

customElements.define("command-box", CommandBox);
