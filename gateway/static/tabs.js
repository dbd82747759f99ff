// Which tabs of this browser may hold a stream open. Over HTTP/1.1 a browser opens six connections
// to a host; if streams took them all, a further tab would not even load. So at most four tabs are
// live, those in which somebody was last; the others ask from time to time.

const MOST = 4;

const isMultiplexed = () =>
  ["h2", "h3"].includes(performance.getEntriesByType("navigation")[0]?.nextHopProtocol);

export class Tabs {
  #on;
  #id = `${Date.now()}-${Math.random()}`;
  #since = 0; // Unix ms when this tab took its stream; 0: it has none
  #others = new Map(); // id -> since
  #channel = null;

  /** `on.yield()`: give the stream up; `on.room()`: another tab is gone, a stream may be opened. */
  constructor(on) {
    this.#on = on;
    if (!("BroadcastChannel" in globalThis) || isMultiplexed()) return;
    this.#channel = new BroadcastChannel("gateway-streams");
    this.#channel.addEventListener("message", ({ data }) => this.#hear(data));
  }

  /** This tab opens a stream. */
  take() {
    if (this.#since > 0) return;
    this.#since = Date.now();
    this.#others.clear();
    this.#tell("take");
  }

  /** This tab has closed its stream: another one may have it. */
  leave() {
    if (this.#since === 0) return;
    this.#since = 0;
    this.#tell("leave");
  }

  #tell(what) {
    this.#channel?.postMessage({ what, id: this.#id, since: this.#since });
  }

  #hear({ what, id, since }) {
    if (what === "leave" || what === "yield") this.#others.delete(id);
    else this.#others.set(id, since);
    if (what === "leave") this.#on.room();
    if (this.#since === 0) return;
    if (what === "take") this.#tell("here");
    if (this.#others.size >= MOST && this.#isOldest()) this.#yield();
  }

  #isOldest() {
    const key = (at, id) => `${String(at).padStart(15, "0")} ${id}`;
    const own = key(this.#since, this.#id);
    return [...this.#others].every(([id, at]) => own < key(at, id));
  }

  #yield() {
    this.#since = 0;
    this.#tell("yield");
    this.#on.yield();
  }
}
