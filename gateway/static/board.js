// The tiles, grouped by device. Only tiles in or near the view are touched.
//
// If there are many, that is. Whole groups are watched then, and laid out or skipped: each thing that
// is watched costs the browser something in each frame. Only in a large group each tile is watched.

import { byName, position, setText, stamp } from "./dom.js";
import { absence, showPresence } from "./presence.js";
import { deviceLink } from "./route.js";
import { SeriesTile } from "./tile.js";

const MARGIN = "300px";
const MANY = 150; // tiles; fewer are all drawn at once
const LARGE = 60; // tiles of a group

/** A device's heading and its tiles in the order of their names. */
class Group {
  names = [];

  rank = 0; // level of its worst trouble
  near = false; // in or near the view

  constructor(device) {
    this.device = device;
    this.element = stamp("group-template").firstElementChild;
    this.grid = this.element.querySelector(".grid");
    this.presence = this.element.querySelector(".presence");
    this.seen = this.element.querySelector(".seen");
    const link = this.element.querySelector("h2 a");
    link.textContent = device;
    link.title = device;
    link.href = deviceLink(device);
    this.element.setAttribute("aria-label", device);
  }

  add(tile) {
    const { metric } = tile.series;
    const index = position(this.names, metric, byName);
    this.names.splice(index, 0, metric);
    this.grid.insertBefore(tile, this.grid.children[index] ?? null);
    tile.visible = this.near;
  }

  get tiles() {
    return [...this.grid.children];
  }

  get large() {
    return this.names.length > LARGE;
  }

  /** Be as wide as the tiles need, so that small groups share a line of the board. */
  fit(columns) {
    const shown = this.tiles.filter((tile) => !tile.hidden).length;
    const span = Math.min(shown, columns);
    this.element.hidden = shown === 0;
    this.element.classList.toggle("narrow", shown === 1);
    this.element.style.setProperty("--span", String(span));
    this.element.style.setProperty("--rows", String(Math.ceil(shown / Math.max(1, span))));
  }

  tick(device, now) {
    if (!device) return;
    showPresence(this.presence, device, now);
    setText(this.seen, absence(device, now));
  }
}

const worstFirst = (a, b) => b.rank - a.rank || byName(a.device, b.device);

export class Board {
  #root;
  #state;
  #tiles = new Map(); // series -> tile
  #groups = new Map(); // device -> Group
  #order = []; // groups as they stand: the worst first, then by name
  #words = [];
  #floor = 1000;
  #columns = 1;
  #observer = new IntersectionObserver((entries) => this.#seen(entries), { rootMargin: MARGIN });

  constructor(root, state) {
    this.#root = root;
    this.#state = state;
    new ResizeObserver(() => this.#measure()).observe(root);
  }

  get size() {
    return this.#tiles.size;
  }

  /** Least interval to expect between two values, ms: longer while polling. */
  set floor(ms) {
    this.#floor = ms;
  }

  /** Draw the series that changed. */
  update(changed) {
    const grown = new Set();
    for (const series of changed) {
      if (!this.#tiles.has(series)) grown.add(this.#add(series));
      this.#draw(this.#tiles.get(series));
    }
    for (const group of grown) group.fit(this.#columns);
  }

  /** Bring ages and presence up to date. */
  tick() {
    const now = this.#state.now();
    for (const tile of this.#tiles.values()) if (tile.visible) tile.tick(now, this.#floor);
    for (const [device, group] of this.#groups) group.tick(this.#state.devices.get(device), now);
  }

  /** Mark what `troubles()` found, and bring the devices that it is about to the front. */
  mark(found) {
    const levels = new Map(found.map(({ device, level }) => [device, level]));
    for (const [series, tile] of this.#tiles) {
      tile.mark(levels.has(series.dev) ? this.#state.cause(series) : null);
    }
    for (const [device, group] of this.#groups) this.#rank(group, levels.get(device) ?? 0);
  }

  /** A group in which somebody is at work stays where it is. */
  #rank(group, rank) {
    if (group.rank === rank || group.element.matches(":focus-within")) return;
    this.#order.splice(this.#order.indexOf(group), 1);
    group.rank = rank;
    group.element.dataset.level = String(rank);
    this.#place(group);
  }

  /** Show only series in which each word occurs; returns how many those are. */
  filter(text) {
    this.#words = text.toLowerCase().split(/\s+/).filter(Boolean);
    for (const tile of this.#tiles.values()) tile.hidden = !this.#matches(tile.series);
    this.#fit();
    return [...this.#tiles.values()].filter((tile) => !tile.hidden).length;
  }

  #matches({ dev, metric, unit }) {
    const text = `${dev} ${metric} ${unit}`.toLowerCase();
    return this.#words.every((part) => text.includes(part));
  }

  #add(series) {
    const tile = SeriesTile.of(series);
    tile.hidden = !this.#matches(series);
    this.#tiles.set(series, tile);
    if (this.#tiles.size === MANY) this.#watchAll();
    const group = this.#group(series.dev);
    group.add(tile);
    if (group.large && this.#many) this.#watch(group, tile);
    return group;
  }

  get #many() {
    return this.#tiles.size >= MANY;
  }

  /** From now on only what is in or near the view is drawn. */
  #watchAll() {
    this.#root.classList.add("many");
    for (const group of this.#groups.values()) {
      this.#observer.observe(group.element);
      if (group.large) this.#watch(group);
    }
  }

  /** A group that has become large is skipped no more; each of its tiles is. */
  #watch(group, added) {
    const first = group.grid.classList.contains("large") ? [added] : group.tiles;
    group.grid.classList.add("large");
    for (const tile of first) {
      tile.visible = false; // until the browser says otherwise
      this.#observer.observe(tile);
    }
  }

  /** Count the columns that fit: a tile is at least `--tile` wide (rem, from the style sheet). */
  #measure() {
    const style = getComputedStyle(this.#root);
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const gap = parseFloat(style.columnGap);
    const least = parseFloat(style.getPropertyValue("--tile")) * rem;
    const fitting = Math.floor((this.#root.clientWidth + gap) / (least + gap));
    this.#columns = Math.max(1, fitting);
    this.#root.style.setProperty("--columns", String(this.#columns));
    this.#fit();
  }

  #fit() {
    for (const group of this.#groups.values()) group.fit(this.#columns);
  }

  #group(device) {
    if (!this.#groups.has(device)) {
      const group = this.#place(new Group(device));
      this.#groups.set(device, group);
      group.near = !this.#many;
      if (this.#many) this.#observer.observe(group.element);
    }
    return this.#groups.get(device);
  }

  #place(group) {
    const index = position(this.#order, group, worstFirst);
    this.#root.insertBefore(group.element, this.#order[index]?.element ?? null);
    this.#order.splice(index, 0, group);
    group.tick(this.#state.devices.get(group.device), this.#state.now());
    return group;
  }

  #seen(entries) {
    for (const { target, isIntersecting } of entries) {
      if (target instanceof SeriesTile) this.#show(target, isIntersecting);
      else this.#near(this.#groups.get(target.getAttribute("aria-label")), isIntersecting);
    }
  }

  #near(group, isNear) {
    group.near = isNear;
    if (!group.large) for (const tile of group.tiles) this.#show(tile, isNear);
  }

  #show(tile, isVisible) {
    tile.visible = isVisible;
    this.#draw(tile);
  }

  #draw(tile) {
    if (!tile.visible) return;
    tile.render(this.#state.now(), this.#floor);
    this.#state.want(tile.series);
  }
}
