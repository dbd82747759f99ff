// How often a series speaks, learned from the times of its readings.

const REMEMBERED = 9;
const ENOUGH = 3;
const STALE_AFTER = 3; // expected intervals
const SILENT_AFTER = 6; // expected intervals
const SILENT_LEAST = 15_000; // ms
const REGULAR = 2; // the longest interval of a regular series, in usual ones

export class Rhythm {
  /** Whether an interval is expected even though the known ones differ: not of what tells changes. */
  steady = true;
  #gaps = [];
  #last = null;
  #hint = { expected: null, length: Infinity, n: 0 };

  /** Note a reading of time `t` (ms). */
  seen(t) {
    if (this.#last !== null && t > this.#last) {
      this.#gaps.push(t - this.#last);
      if (this.#gaps.length > REMEMBERED) this.#gaps.shift();
    }
    if (this.#last === null || t > this.#last) this.#last = t;
  }

  /**
   * Note `n` readings within a window of `length` ms: used until enough readings were seen. The
   * shortest window that holds two tells best; a single reading tells little.
   */
  hint(length, n) {
    const known = this.#hint;
    const better = n > 1 ? known.n < 2 || length <= known.length : known.n < 2;
    if (n > 0 && better) this.#hint = { expected: length / n, length, n };
  }

  get #sure() {
    return this.#gaps.length >= ENOUGH || this.#hint.n > 1;
  }

  /** Expected interval in ms, or null while nothing is known. */
  get expected() {
    if (this.#gaps.length < ENOUGH) return this.#hint.expected;
    const sorted = [...this.#gaps].sort((a, b) => a - b);
    const usual = sorted[sorted.length >> 1];
    return this.steady || sorted.at(-1) <= REGULAR * usual ? usual : null;
  }

  /** Whether nothing came for so long, `age` (ms), that a fault is likely. */
  isSilent(age) {
    const known = this.#sure && this.expected !== null;
    return known && age > Math.max(SILENT_AFTER * this.expected, SILENT_LEAST);
  }

  /** Whether a value of this `age` (ms) is too old; `floor` is the least interval to expect. */
  isStale(age, floor) {
    return this.expected !== null && age > STALE_AFTER * Math.max(this.expected, floor);
  }
}
