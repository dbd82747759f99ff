// An EventSource outside browsers: argv[2] is the URL, argv[3] JSON {headers, names}.
// Prints a line of JSON for each event, and for each time that the stream opens or fails.
import { EventSource } from "eventsource";

const { headers, names } = JSON.parse(process.argv[3]);
const source = new EventSource(process.argv[2], {
  fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...headers } }),
});
const print = (line) => console.log(JSON.stringify(line));
source.addEventListener("open", () => print(["open"]));
source.addEventListener("error", (error) => print(["error", error.code ?? null]));
for (const name of names) {
  source.addEventListener(name, (event) => print([name, event.data, event.lastEventId]));
}
