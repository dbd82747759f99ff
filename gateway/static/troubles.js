// What is wrong, worst first: a pure function of all that the page knows.

import { isAcknowledged, words } from "./alerts.js";
import { count, duration } from "./format.js";

export const BAD = 2;
export const WARN = 1;

const RECENT = 24 * 3_600_000; // ms: a loss is news for a day
const CLOCK = 60_000; // ms
const LISTED = 3;

/** `{level, text}` for each thing that is wrong with a device. */
function ofPresence({ state, since, until }, now) {
  if (state === "lost") return [{ level: BAD, text: `lost for ${duration(now - since)}` }];
  if (state === "offline") return [{ level: WARN, text: `offline for ${duration(now - since)}` }];
  const late = state === "asleep" && until && now > until;
  return late ? [{ level: WARN, text: `late by ${duration(now - until)}` }] : [];
}

function ofRecords(device, now) {
  const found = [];
  const losses = (device.losses ?? []).filter(({ t }) => now - t < RECENT);
  const lost = losses.reduce((sum, { readings }) => sum + (readings ?? 0), 0);
  if (losses.length > 0) {
    const gaps = losses.length === 1 ? "1 gap" : `${losses.length} gaps`;
    const text = `${count(lost)} readings lost in ${gaps}, the newest ${duration(now - losses[0].t)} ago`;
    found.push({ level: WARN, text });
  }
  if (device.rejections > 0) {
    found.push({ level: WARN, text: `${count(device.rejections)} messages rejected just now` });
  }
  const error = device.clock_error_ms ?? 0;
  if (Math.abs(error) > CLOCK) {
    const side = error > 0 ? "ahead" : "behind";
    found.push({ level: WARN, text: `its clock is ${duration(Math.abs(error))} ${side}` });
  }
  return found;
}

function ofAlert(alert) {
  const about = [alert.text, words(alert.detail)].filter(Boolean).join("; ");
  const where = alert.m ? `${alert.m}: ` : "";
  const text = `${where}${alert.name}${about ? ` (${about})` : ""}`;
  return seen({ level: BAD, text, metric: alert.m, short: alert.text || String(alert.name), alert });
}

/** What somebody looks after already is a notice. */
function seen(cause) {
  if (!cause.alert || !isAcknowledged(cause.alert)) return cause;
  return { ...cause, level: WARN, text: `${cause.text}, acknowledged` };
}

function ofSilence(silent, now) {
  if (silent.length > LISTED) {
    const since = Math.max(...silent.map(({ t }) => t));
    return [{ level: BAD, text: `${silent.length} series silent for ${duration(now - since)}` }];
  }
  return silent.map(({ metric, t }) => {
    const short = `silent for ${duration(now - t)}`;
    return { level: BAD, text: `${metric} ${short}`, metric, short };
  });
}

function ofDevice(device, { silent, alerts, now }) {
  const awake = device.state === "online";
  const found = [
    ...ofPresence(device, now),
    ...alerts.of(device.id).map(ofAlert),
    ...(awake ? ofSilence(silent, now) : []),
    ...ofRecords(device, now),
  ];
  return found.sort((a, b) => b.level - a.level);
}

function ofStore(store, alert) {
  if (store?.state === "full") return [seen({ level: BAD, text: "the disk is full: devices wait", alert })];
  if (store?.state === "short") return [seen({ level: WARN, text: "the disk has little room left", alert })];
  return [];
}

function ofBroker(broker) {
  if (!broker) return [];
  const waiting = broker.waiting > 0 ? `: ${count(broker.waiting)} messages wait` : "";
  if (!broker.connected) return [{ level: WARN, text: `the MQTT broker is not connected${waiting}` }];
  return [];
}

/** What is wrong with the gateway itself. */
function ofGateway({ alerts, devices, store, broker }) {
  const own = [...alerts.open.values()].filter(({ dev }) => !devices.has(dev));
  const disk = own.find(({ name }) => name === "disk");
  const others = own.filter((alert) => alert !== disk);
  return [...ofStore(store, disk), ...ofBroker(broker), ...others.map(ofAlert)];
}

/** `[{device|null, level, causes: [{level, text, metric?, short?, alert?}]}]`, worst first; `short` is for
 * a place where the metric stands already, `alert` is the one that tells it. */
export function troubles(state) {
  const now = state.now();
  const silent = byDevice(state.silent());
  const found = [...state.devices.values()].map((device) => {
    const facts = { silent: silent.get(device.id) ?? [], alerts: state.alerts, now };
    return { device: device.id, causes: ofDevice(device, facts) };
  });
  found.push({ device: null, causes: ofGateway(state) });
  return found
    .filter(({ causes }) => causes.length > 0)
    .map((one) => ({ ...one, level: Math.max(...one.causes.map(({ level }) => level)) }))
    .sort((a, b) => b.level - a.level);
}

function byDevice(series) {
  const found = new Map();
  for (const one of series) found.set(one.dev, [...(found.get(one.dev) ?? []), one]);
  return found;
}
