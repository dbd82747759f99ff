// The points of a chart as a table, newest first.

import { setText } from "./dom.js";
import { count, moment } from "./format.js";

const LISTED = 60;

function cells(texts, role) {
  return texts.map((text, i) => {
    const cell = document.createElement(i === 0 || role ? "th" : "td");
    if (role) cell.scope = "col";
    else if (i === 0) cell.scope = "row";
    cell.textContent = text;
    if (i > 0) cell.className = "number";
    return cell;
  });
}

function row(point, { step, text }) {
  const element = document.createElement("tr");
  const [t, ...rest] = point;
  const values = rest.length === 1 ? [text(rest[0])] : [...[rest[1], rest[0], rest[2]].map(text), count(rest[3])];
  element.append(...cells([moment(t, step), ...values]));
  return element;
}

/** `step`: ms per point, or null; `text(v)` is the text of a value. */
export function fillTable(root, points, { step, text }) {
  const head = document.createElement("tr");
  head.append(...cells(step === null ? ["Time", "Value"] : ["From", "Mean", "Least", "Greatest", "Readings"], "head"));
  root.querySelector("thead").replaceChildren(head);
  const shown = points.slice(-LISTED).reverse();
  root.querySelector("tbody").replaceChildren(...shown.map((point) => row(point, { step, text })));
  const more = points.length > LISTED ? `the newest ${LISTED} of ${count(points.length)}` : `${count(points.length)}`;
  setText(root.querySelector("caption span"), more);
}
