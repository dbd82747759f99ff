// The button that tells others that somebody looks after an alert.

import { isAcknowledged, isOver } from "./alerts.js";
import { setText } from "./dom.js";

/** The button; nothing for an alert that needs none. `onacknowledge(n)` rejects if it fails. */
export function acknowledgeButton(alert, onacknowledge) {
  if (isOver(alert) || isAcknowledged(alert) || alert.n === undefined) return "";
  const element = document.createElement("button");
  let busy = false; // not `disabled`: that would lose the keyboard's focus
  element.type = "button";
  element.className = "button small";
  element.textContent = "Acknowledge";
  element.setAttribute("aria-label", `Acknowledge ${alert.name} of ${alert.dev}`);
  element.addEventListener("click", async () => {
    if (busy) return;
    busy = true;
    await onacknowledge(alert.n).catch((error) => {
      busy = false;
      element.title = error.message;
      setText(element, "Failed: try again");
    });
  });
  return element;
}
