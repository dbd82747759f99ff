// Shows the view that the address asks for; the overview is the page itself, others come and go.

import { byId } from "./dom.js";
import { parse } from "./route.js";

const LOADERS = {
  device: async (...parts) => (await import("./device-view.js")).DeviceView.of(...parts),
  series: async (...parts) => (await import("./series-view.js")).SeriesView.of(...parts),
};

export class Views {
  #state;
  #current = null; // the view's element
  #turn = 0;
  #scrolled = 0;

  constructor(state) {
    this.#state = state;
    addEventListener("hashchange", () => this.#go(true));
  }

  start() {
    this.#go(false);
  }

  get overview() {
    return byId("overview").hidden === false;
  }

  /** Hand an event of the stream to the view. */
  receive(name, payload) {
    this.#current?.receive?.(name, payload);
  }

  /** Bring the view up to date: once per frame with changes, and once a second. */
  update(changed) {
    this.#current?.update(changed);
  }

  async #go(moved) {
    const turn = ++this.#turn;
    const route = parse(location.hash);
    const view = route.view === "overview" ? null : await LOADERS[route.view](route, this.#state);
    if (turn !== this.#turn) return;
    if (this.overview) this.#scrolled = scrollY;
    byId("overview").hidden = view !== null;
    byId("view").replaceChildren(...(view ? [view] : []));
    this.#current = view;
    view?.update(new Set());
    scrollTo(0, view ? 0 : this.#scrolled);
    if (moved) (view ?? byId("overview")).querySelector("[tabindex='-1']")?.focus({ preventScroll: true });
  }
}
