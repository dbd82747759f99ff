// Small tools for touching the page only where something changed.

export const byId = (id) => document.getElementById(id);

/** The content of a template, as a fresh fragment. */
export const stamp = (id) => byId(id).content.cloneNode(true);

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** An icon out of the symbols in index.html. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** An icon with a word: a state is never told by colour alone. */
export function badge(element, { state, symbol, text }) {
  if (element.dataset.state !== state) {
    element.dataset.state = state;
    element.replaceChildren(icon(symbol), document.createElement("span"));
  }
  setText(element.lastElementChild, text);
}

/** Redraw what is in `root`; the keyboard's focus stays: at the same control, else at the first one
 * that has the same `data-key`. */
export function keepFocus(root, redraw) {
  const focused = root.contains(document.activeElement) ? document.activeElement : null;
  const key = focused?.closest("[data-key]")?.dataset.key;
  const names = ["href", "aria-label"].map((name) => [name, focused?.getAttribute(name)]);
  redraw();
  if (key === undefined) return;
  const item = [...root.querySelectorAll("[data-key]")].find(({ dataset }) => dataset.key === key);
  const controls = [...(item?.querySelectorAll("a, button") ?? [])];
  const same = controls.find((one) => names.every(([name, value]) => one.getAttribute(name) === value));
  (same ?? controls[0] ?? root).focus();
}

/** Where `key` belongs in the sorted array `keys`. */
export function position(keys, key, compare) {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compare(keys[middle], key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Compares names as people sort them: m2 before m10. */
export const { compare: byName } = new Intl.Collator("en", { numeric: true });

/** Wraps `work` so that it runs at most once per animation frame. */
export function perFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}
