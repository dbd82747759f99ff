// Requests to the gateway's JSON API. Paths are relative: the page may live below a prefix.
// The window hears of a 401 by the event "signedout".

const PATIENCE = 4000; // ms

async function get(path) {
  const response = await fetch(path, {
    headers: { Accept: "application/json" },
    signal: AbortSignal.timeout(PATIENCE),
  });
  if (response.status === 401) dispatchEvent(new Event("signedout"));
  if (!response.ok) throw new Error(`${path} answered ${response.status}`);
  return response.json();
}

export const latest = () => get("api/latest");

/** Who is signed in: `user` is null where everybody may look. */
export const session = () => get("api/session");

export const devices = () => get("api/devices");

/** Stored summaries of one series, by t0; times in ms. */
export function summaries({ device, metric, window, from, to }) {
  const query = new URLSearchParams({
    device, metric, window, from: Math.floor(from), to: Math.ceil(to),
  });
  return get(`api/summaries?${query}`);
}
