// Which view the address asks for: `#/`, `#/device/ID` or `#/series/DEVICE/METRIC?from&to|span`.

const link = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;

export const deviceLink = (device) => link("device", device);

export const seriesLink = (device, metric) => link("series", device, metric);

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // typed by hand
  }
}

/** `{view, device, metric, query}` of a location's hash. */
export function parse(hash) {
  const [path, text = ""] = hash.replace(/^#\/?/, "").split("?");
  const [view, device, metric] = path.split("/").map(decoded);
  const query = new URLSearchParams(text);
  if (view === "series" && device && metric) return { view, device, metric, query };
  if (view === "device" && device) return { view, device, metric: null, query };
  return { view: "overview", device: null, metric: null, query };
}
