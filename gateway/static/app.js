// Puts the parts together: events go into the state, the state is drawn once per frame.

import * as api from "./api.js";
import { Attention } from "./attention.js";
import { Banner } from "./banner.js";
import { Board } from "./board.js";
import { Devices } from "./devices.js";
import { byId, perFrame, setText } from "./dom.js";
import { count, time } from "./format.js";
import { showConnection, showName, showTotals, showUser } from "./header.js";
import { History } from "./history.js";
import { Log } from "./log.js";
import { EVERY, Poll } from "./poll.js";
import { State } from "./state.js";
import { showStore } from "./store.js";
import { Stream } from "./stream.js";
import { troubles } from "./troubles.js";
import { Views } from "./views.js";

const TICK = 1000; // ms
const REGISTRY_EVERY = 15_000; // ms
const REGISTRY_SOON = 300; // ms after a status event
const FILTER_FROM = 13; // series

let paused = null; // what the header says while drawing is paused
let lastEvent = null; // Unix ms by this computer's clock
let soon = null;

const draw = perFrame(() => {
  if (paused) return;
  const changed = state.take();
  board.update(changed);
  if (state.takePresence()) {
    devices.update(state);
    assess();
  }
  if (changed.size > 0) views.update(changed);
  showTotals(state, lastEvent);
  byId("bar").hidden = board.size < FILTER_FROM && !byId("filter").value;
});

const state = new State(draw);
const history = new History(state);
const board = new Board(byId("board"), state);
state.want = (series) => history.want(series);
const devices = new Devices(byId("devices"));
const attention = new Attention(byId("attention"), acknowledge);
const log = new Log(byId("alerts"), acknowledge);
const views = new Views(state);
const banner = new Banner(byId("banner"));
const stream = new Stream({ event: receive, phase: connectionChanged, closed: readSession });
const poll = new Poll({ latest: (answer) => state.latest(answer), change: connectionChanged });

const REACTIONS = {
  hello: greeted,
  snapshot: (payload) => state.snapshot(payload),
  summary: (payload) => state.summary(payload),
  reading: (payload) => state.reading(payload),
  status(payload) {
    state.status(payload);
    soon ??= setTimeout(readRegistry, REGISTRY_SOON);
  },
  alert(payload) {
    state.alert(payload);
    assess();
  },
  gap(payload) {
    state.missed(payload);
    banner.gap(payload);
  },
  heartbeat: ({ now }) => state.setNow(now),
};

function receive(name, payload) {
  lastEvent = Date.now();
  REACTIONS[name]?.(payload);
  views.receive(name, payload);
}

function greeted({ now, gateway }) {
  state.setNow(now);
  showName(gateway);
  history.retry();
  readSession();
  readRegistry();
  readLatest();
}

function connectionChanged() {
  if (["live", "resting", "signed-out"].includes(stream.phase)) poll.stop();
  board.floor = poll.answered ? EVERY : TICK;
  document.body.classList.toggle("cut-off", ["lost", "signed-out"].includes(stream.phase) && !poll.answered);
  banner.update(stream, poll.answered);
  if (stream.phase === "signed-out") showUser(null);
  showConnection(stream.phase, { polling: poll.answered, paused });
}

/** Who is signed in. If nobody is any more, the window hears of it. */
async function readSession() {
  const answer = await api.session().catch(() => null); // no answer: the stream says so
  if (!answer) return;
  showUser(answer.user);
  stream.signedIn();
}

async function readRegistry() {
  clearTimeout(soon);
  soon = null;
  const answer = await api.devices().catch(() => null); // asked again in 15 s
  if (answer) {
    state.registry(answer);
    showStore(answer);
  }
  showEmpty(answer);
}

/** Tell what is wrong, and bring all that tells the time up to date. */
function assess() {
  if (paused || document.hidden) return;
  state.troubles = troubles(state);
  attention.update(state.troubles, state.devices.size);
  board.mark(state.troubles);
  log.update(state.alerts);
  board.tick();
  devices.tick(state);
  views.update(new Set());
}

async function acknowledge(n) {
  state.alert(await api.acknowledge(n));
  assess();
}

/** Newest readings of series that speak too seldom to wait for. */
async function readLatest() {
  const answer = await api.latest().catch(() => null); // events bring the rest
  if (answer) state.latest(answer);
}

function showEmpty(answer) {
  const empty = answer !== null && answer.devices.length === 0 && state.series.size === 0;
  byId("empty").hidden = !empty;
  byId("devices").hidden ||= empty;
}

function tick() {
  if (stream.overdue) {
    poll.start();
    banner.update(stream, poll.answered);
  }
  assess();
  if (!paused && !document.hidden) showTotals(state, lastEvent);
}

function togglePause() {
  paused = paused ? null : { state: "paused", text: `paused at ${time(state.now())}` };
  const button = byId("pause");
  button.setAttribute("aria-pressed", String(paused !== null));
  button.querySelector("use").setAttribute("href", paused ? "#icon-play" : "#icon-pause");
  setText(button.querySelector("span"), paused ? "Resume" : "Pause");
  connectionChanged();
  assess();
  draw();
}

function filter() {
  const { value } = byId("filter");
  const shown = board.filter(value);
  setText(byId("matches"), value ? `${count(shown)} of ${count(board.size)} series` : "");
}

function linkAddress() {
  const url = new URL("link", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

byId("start-command").textContent = `simulate host --url ${linkAddress()}`;
byId("pause").addEventListener("click", togglePause);
byId("filter").addEventListener("input", filter);
setInterval(tick, TICK);
addEventListener("signedout", () => stream.signedOut());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && stream.phase === "signed-out") readSession(); // perhaps in another tab
});
setInterval(() => {
  const idle = document.hidden || stream.phase === "resting" || stream.phase === "signed-out";
  if (!idle) readRegistry();
}, REGISTRY_EVERY);
views.start();
stream.start();
