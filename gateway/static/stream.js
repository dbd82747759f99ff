// The life of the one EventSource: opening, watching, re-creating with the cursor, resting.
//
// The browser reconnects by itself after a network error, but gives up after any other failure,
// never notices a half-open connection, and forgets its cursor when a new one is created.

import { Tabs } from "./tabs.js";

const KINDS = ["summary", "status", "alert", "reading"];
const EVENTS = ["hello", "snapshot", ...KINDS, "gap", "heartbeat", "bye"];
const CHECK = 1000; // ms, how often the watchdog looks
const HELLO_WITHIN = 10_000; // ms
const HEARTBEATS_MISSED = 3;
const HIDDEN_FOR = 5000; // ms
const PROBE = 3000; // ms
const FIRST_DELAY = 1000; // ms
const GREATEST_DELAY = 30_000; // ms
const JITTER = 0.25;

export class Stream {
  /** "connecting", "live", "lost", "resting" (the page is hidden), "signed-out", or "crowded":
   * other tabs of the browser take the few connections that it opens to one host. */
  phase = "connecting";
  /** Unix ms since when the phase lasts; for "lost" the time of the last event. */
  since = Date.now();
  /** Why the gateway ended the stream, if it said so. */
  reason = null;
  #on;
  #source = null;
  #cursor = "";
  #heartbeat = 15_000;
  #heard = 0; // performance.now() of the last event
  #heardAt = Date.now(); // the same as Unix ms
  #tried = 0; // performance.now() of the last attempt
  #dark = performance.now(); // since when there has been no hello
  #failures = 0;
  #retryAt = Infinity;
  #hiding;
  #tabs = new Tabs({ yield: () => this.#yield(), room: () => this.phase === "crowded" && this.#wake() });

  /**
   * `on.event(name, payload)` for each event, `on.phase()` whenever the phase changes, `on.closed()`
   * when the browser gave up: it does not say why, another request may.
   */
  constructor(on) {
    this.#on = on;
  }

  start() {
    this.#open();
    setInterval(() => this.#check(), CHECK);
    document.addEventListener("visibilitychange", () => this.#visibility());
    addEventListener("online", () => this.phase === "lost" && this.#open());
    addEventListener("offline", () => this.#probe());
    addEventListener("focus", () => this.phase === "crowded" && this.#wake());
    addEventListener("pagehide", () => this.#rest());
    addEventListener("pageshow", (event) => event.persisted && this.phase === "resting" && this.#wake());
  }

  /** Whether no hello came in time, so that polling has to help out. */
  get overdue() {
    if (this.phase === "crowded") return true;
    const waiting = this.phase === "connecting" || this.phase === "lost";
    return waiting && performance.now() - this.#dark > HELLO_WITHIN;
  }

  /** Nobody may look any more: wait until `signedIn` is called. */
  signedOut() {
    this.#close();
    this.#tabs.leave();
    if (this.phase !== "signed-out") this.#enter("signed-out", Date.now());
  }

  signedIn() {
    if (this.phase === "signed-out") this.#wake();
  }

  #url() {
    const query = new URLSearchParams(KINDS.map((kind) => ["kind", kind]));
    if (this.#cursor) query.set("last_event_id", this.#cursor);
    return `events?${query}`;
  }

  #open() {
    this.#close();
    this.#tabs.take();
    this.#tried = performance.now();
    this.#source = new EventSource(this.#url());
    this.#source.addEventListener("error", () => this.#failed());
    for (const name of EVENTS) {
      this.#source.addEventListener(name, (event) => this.#receive(name, event));
    }
  }

  #close() {
    this.#source?.close();
    this.#source = null;
    this.#retryAt = Infinity;
  }

  #receive(name, event) {
    this.#heard = performance.now();
    this.#heardAt = Date.now();
    this.#cursor = event.lastEventId || this.#cursor;
    const payload = JSON.parse(event.data);
    if (name === "hello") this.#greeted(payload);
    if (name === "bye") this.reason = payload.reason;
    if (name === "bye" && payload.reason === "auth") this.signedOut();
    this.#on.event(name, payload);
  }

  #greeted({ heartbeat_s }) {
    if (heartbeat_s > 0) this.#heartbeat = heartbeat_s * 1000;
    this.#failures = 0;
    this.reason = null;
    this.#enter("live", Date.now());
  }

  #failed() {
    this.#tried = performance.now();
    this.#lose();
    if (this.#source.readyState !== EventSource.CLOSED) return;
    this.#retryLater();
    this.#on.closed();
  }

  #lose() {
    if (this.phase !== "live") return;
    this.#dark = performance.now();
    this.#enter("lost", this.#heardAt);
  }

  #retryLater() {
    this.#close();
    const delay = Math.min(GREATEST_DELAY, FIRST_DELAY * 2 ** this.#failures++);
    this.#retryAt = performance.now() + delay * (1 + JITTER * (2 * Math.random() - 1));
  }

  #check() {
    const now = performance.now();
    const patience = HEARTBEATS_MISSED * this.#heartbeat;
    if (now >= this.#retryAt) this.#open();
    else if (this.#source && now - Math.max(this.#heard, this.#tried) > patience) {
      this.#lose();
      this.#open();
    }
  }

  #visibility() {
    clearTimeout(this.#hiding);
    if (document.hidden) this.#hiding = setTimeout(() => this.#rest(), HIDDEN_FOR);
    else if (this.phase === "resting") this.#wake();
  }

  #rest() {
    if (this.phase === "signed-out") return;
    this.#close();
    this.#tabs.leave();
    this.#enter("resting", Date.now());
  }

  #yield() {
    this.#close();
    this.#enter("crowded", Date.now());
  }

  /** This computer has lost its network; a gateway on it, or on the cable that is left, may answer. */
  async #probe() {
    const answer = await fetch("healthz", { signal: AbortSignal.timeout(PROBE) }).catch(() => null);
    if (answer || this.phase !== "live") return;
    this.#lose();
    this.#retryLater();
  }

  #wake() {
    this.#dark = performance.now();
    this.#enter("connecting", Date.now());
    this.#open();
  }

  #enter(phase, since) {
    this.phase = phase;
    this.since = since;
    this.#on.phase();
  }
}
