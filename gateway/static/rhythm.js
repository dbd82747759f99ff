// How often a series speaks, learned from the times of its readings.

const REMEMBERED = 9;
const ENOUGH = 3;
const STALE_AFTER = 3;

export class Rhythm {
  #gaps = [];
  #last = null;
  #hint = null;

  /** Note a reading of time `t` (ms). */
  seen(t) {
    if (this.#last !== null && t > this.#last) {
      this.#gaps.push(t - this.#last);
      if (this.#gaps.length > REMEMBERED) this.#gaps.shift();
    }
    if (this.#last === null || t > this.#last) this.#last = t;
  }

  /** Note `n` readings within `ms`: used until enough readings were seen. */
  hint(ms, n) {
    if (n > 0) this.#hint = ms / n;
  }

  /** Expected interval in ms, or null while nothing is known. */
  get expected() {
    if (this.#gaps.length < ENOUGH) return this.#hint;
    const sorted = [...this.#gaps].sort((a, b) => a - b);
    return sorted[sorted.length >> 1];
  }

  /** Whether a value of this `age` (ms) is too old; `floor` is the least interval to expect. */
  isStale(age, floor) {
    return this.expected !== null && age > STALE_AFTER * Math.max(this.expected, floor);
  }
}
