// Fingers and wheels on a chart: one finger moves, two stretch, a pinch on a trackpad zooms.

import { pan, under, zoom } from "./span.js";

/** `span()` gives what is shown as `{from, to}` (ms); `change(span)` asks for another. */
export function watchGestures(area, { span, change }) {
  const fingers = new Map(); // pointer -> {x, held}

  const xOf = (event) => event.clientX - area.getBoundingClientRect().left;
  const momentAt = (x) => {
    const { from, to } = span();
    return from + (x / area.clientWidth) * (to - from);
  };
  const hold = () => {
    for (const finger of fingers.values()) finger.held = momentAt(finger.x);
  };
  const letGo = ({ pointerId }) => {
    if (fingers.delete(pointerId)) hold();
  };

  area.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse") return; // the chart's own business: it selects
    fingers.set(event.pointerId, { x: xOf(event), held: 0 });
    hold();
  });
  area.addEventListener("pointermove", (event) => {
    const finger = fingers.get(event.pointerId);
    if (!finger) return;
    finger.x = xOf(event);
    const all = [...fingers.values()].slice(0, 2);
    const { from, to } = span();
    const size = { width: area.clientWidth, length: to - from };
    change(under(all.map(({ held }) => held), all.map(({ x }) => x), size));
  });
  for (const end of ["pointerup", "pointercancel", "pointerleave"]) area.addEventListener(end, letGo);

  area.addEventListener("wheel", (event) => {
    const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (!event.ctrlKey && !sideways) return; // scrolls the page
    event.preventDefault();
    if (event.ctrlKey) change(zoom(span(), Math.exp(event.deltaY / 200), momentAt(xOf(event))));
    else change(pan(span(), event.deltaX / area.clientWidth));
  }, { passive: false });
}
