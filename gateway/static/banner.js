// What people must know about the connection. A live region, as the heading of what needs
// attention is: their texts change when the situation does, not every second.

import { icon, setText } from "./dom.js";
import { count, time } from "./format.js";

const GAPS = {
  too_old: "the page was away for longer than the gateway keeps events",
  bound: "there were too many events to send again",
  slow: "this page could not keep up",
  epoch: "the gateway's event log was replaced",
  future: "the gateway's event log is older than this page's",
  malformed: "the page's position was not understood",
};

const ENDS = {
  shutdown: "The gateway is stopping or restarting.",
  capacity: "The gateway serves as many pages as it may.",
  store: "The gateway cannot read its store.",
};

/** The text for a stream that is not live, or "" if nothing is to be said. */
function connectionText(stream, polling) {
  if (stream.phase === "signed-out") {
    return `You are signed out since ${time(stream.since)}; the values shown are the last ones known.`;
  }
  if (stream.phase === "crowded") {
    return "Other tabs of this page are live. Here values are asked for every 5 seconds until you click into the page.";
  }
  const since = `since ${time(stream.since)}`;
  if (polling) return `No live events ${since}. Values are asked for every 5 seconds instead.`;
  if (stream.phase === "lost") {
    const cause = ENDS[stream.reason] ?? "Connection lost.";
    return `${cause} No news ${since}; the values shown are the last ones known.`;
  }
  return stream.overdue ? `No answer from the gateway ${since}. Trying again.` : "";
}

export class Banner {
  #root;
  #connection = null;
  #gap = null;

  constructor(root) {
    this.#root = root;
  }

  /** Show or take away the notice about the connection. */
  update(stream, polling) {
    const text = connectionText(stream, polling);
    if (text) {
      this.#connection ??= this.#linked(this.#add("connection", "lost"));
      setText(this.#connection.querySelector("span"), text);
      this.#connection.querySelector("a").hidden = stream.phase !== "signed-out";
    } else {
      this.#connection?.remove();
      this.#connection = null;
    }
  }

  /** Tell that events were missed; stays until it is closed. */
  gap({ reason, missed }) {
    const amount = missed === null ? "Events were missed" : `${count(missed)} events were missed`;
    const cause = GAPS[reason] ?? reason;
    this.#gap ??= this.#closable(this.#add("gap", "wait"));
    const text = `${amount} before ${time(Date.now())}: ${cause}. The newest state is shown.`;
    setText(this.#gap.querySelector("span"), text);
  }

  #add(kind, symbol) {
    const notice = document.createElement("p");
    notice.className = "notice";
    notice.dataset.kind = kind;
    notice.append(icon(symbol), document.createElement("span"));
    this.#root.append(notice);
    return notice;
  }

  #linked(notice) {
    const link = document.createElement("a");
    link.href = "login";
    link.className = "button";
    link.textContent = "Sign in";
    link.hidden = true;
    notice.append(link);
    return notice;
  }

  #closable(notice) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "plain";
    button.setAttribute("aria-label", "Close this notice");
    button.append(icon("close"));
    button.addEventListener("click", () => {
      notice.remove();
      this.#gap = null;
    });
    notice.append(button);
    return notice;
  }
}
