// Reads an event stream from standard input with eventsource-parser, in pieces of argv[2] bytes.
// Prints {"events": [[name, data, id], …], "errors": […], "retries": […]}.
import { createParser } from "eventsource-parser";

const size = Number(process.argv[2] || 65536);
const pieces = [];
for await (const piece of process.stdin) pieces.push(piece);
const whole = Buffer.concat(pieces);

const found = { events: [], errors: [], retries: [] };
const parser = createParser({
  onEvent: (event) => found.events.push([event.event ?? "message", event.data, event.id ?? null]),
  onRetry: (retry) => found.retries.push(retry),
  onError: (error) => found.errors.push(`${error.type}: ${error.message}`),
});
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
for (let at = 0; at < whole.length; at += size) {
  parser.feed(decoder.decode(whole.subarray(at, at + size), { stream: true }));
}
console.log(JSON.stringify(found));
