// Requests to the gateway's JSON API. Paths are relative: the page may live below a prefix.
// The window hears of a 401 by the event "signedout".

const PATIENCE = 4000; // ms
const LONG_PATIENCE = 20_000; // ms, for what is read from the disk

async function ask(path, { patience = PATIENCE, ...more } = {}) {
  const response = await fetch(path, {
    headers: { Accept: "application/json" },
    signal: AbortSignal.timeout(patience),
    ...more,
  });
  if (response.status === 401) dispatchEvent(new Event("signedout"));
  if (!response.ok) throw new Error(await complaint(response, path));
  return response.json();
}

/** The gateway's own words about what is wrong, if it has any. */
async function complaint(response, path) {
  const answer = await response.json().catch(() => null); // a proxy's page
  if (!answer?.error) return `${path} answered ${response.status}`;
  const { message, parameter } = answer.error;
  return parameter ? `${parameter} ${message}` : message;
}

const named = (device) => `api/devices/${encodeURIComponent(device)}`;

export const latest = () => ask("api/latest");

/** Who is signed in: `user` is null where everybody may look. */
export const session = () => ask("api/session");

export const devices = () => ask("api/devices");

export const losses = (device) => ask(`${named(device)}/losses`);

export const rejected = (device) => ask(`${named(device)}/rejected`);

export const command = (n) => ask(`api/commands/${n}`);

const post = (path, body) => ask(path, { method: "POST", body: JSON.stringify(body) });

export const putCommand = (device, order) => post(`${named(device)}/commands`, order);

/** Tell others that somebody looks after the alert `n`. */
export const acknowledge = (n) => post(`api/alerts/${n}/ack`, {});

/** Stored summaries of one series, by t0; times in ms. */
export function summaries({ device, metric, window, from, to }) {
  const query = new URLSearchParams({
    device, metric, window, from: Math.floor(from), to: Math.ceil(to),
  });
  return ask(`api/summaries?${query}`);
}

/** Where the readings of a series are; `step` (ms) null: as they are. */
export function historyPath({ device, metric, from, to, step, ...more }) {
  const query = new URLSearchParams({
    device, metric, from: Math.max(0, Math.floor(from)), to: Math.ceil(to), ...more,
  });
  if (step) query.set("step", String(step));
  return `api/history?${query}`;
}

export const history = (asked) => ask(historyPath(asked), { patience: LONG_PATIENCE });
