import { type Dimension, type Region, regionBounds } from "./dimension.js";

/**
 * The children of a cut that a row falls into, as runs. One object serves millions of calls: prepare() names the cut,
 * of() fills `from` and `to` for a row and says how many runs there are.
 */
export class Spans {
  /** Inclusive bounds of each run. */
  readonly from: Int32Array;
  readonly to: Int32Array;
  readonly #dimensions: readonly Dimension[];
  readonly #region: Region;
  #isRange = false;
  #a: Uint32Array = new Uint32Array(0);
  #b: Uint32Array = this.#a;
  #shift = 0;
  #last = 0;
  /** What the region leaves of a range field. */
  #low = 0;
  #high = 0;

  constructor(dimensions: readonly Dimension[], region: Region, widest: number) {
    this.#dimensions = dimensions;
    this.#region = region;
    this.from = new Int32Array(2 ** widest);
    this.to = new Int32Array(2 ** widest);
  }

  prepare(field: number, shift: number, width: number): void {
    const dimension = this.#dimensions[field] as Dimension;
    this.#isRange = dimension.kind === "range";
    this.#a = dimension.a;
    this.#b = dimension.b;
    this.#shift = shift;
    this.#last = 2 ** width - 1;
    const { fixed, value } = this.#region;
    if (this.#isRange)
      [this.#low, this.#high] = regionBounds(dimension, fixed[field] as number, value[field] as number);
  }

  /** @returns the number of runs; 0 where nothing of the row is left in the region */
  of(row: number): number {
    return this.#isRange ? this.#ofRange(row) : this.#ofMask(row);
  }

  #ofRange(row: number): number {
    const a = Math.max(this.#a[row] as number, this.#low);
    const b = Math.min(this.#b[row] as number, this.#high);
    if (a > b) return 0;
    const last = this.#last;
    const first = a >>> this.#shift;
    const end = b >>> this.#shift;
    if (end - first >= last) {
      this.from[0] = 0;
      this.to[0] = last;
      return 1;
    }
    this.from[0] = first & last;
    this.to[0] = end & last;
    if ((first & last) <= (end & last)) return 1;
    // Bits above the window differ, so that the run wraps round.
    this.from[1] = 0;
    this.to[1] = end & last;
    this.to[0] = last;
    return 2;
  }

  #ofMask(row: number): number {
    const last = this.#last;
    const wild = ((this.#b[row] as number) >>> this.#shift) & last;
    const value = ((this.#a[row] as number) >>> this.#shift) & last & ~wild;
    // Wildcard bits at the low end (a prefix) make one run; others repeat it for each of their combinations.
    const tail = wild & (wild ^ (wild + 1));
    const others = wild & ~tail;
    let count = 0;
    let sub = 0;
    do {
      this.from[count] = value | sub;
      this.to[count] = value | sub | tail;
      count++;
      sub = (sub - others) & others;
    } while (sub !== 0);
    return count;
  }
}

/**
 * For each bit of a field, how many of rows[from, to), `step` apart, can have a 0 there and how many a 1. Counts 32 bits
 * at once: bit i of plane k is bit k of the count for position i (a carry-save adder for positional population counts).
 */
export class BitCounts {
  readonly zeros = new Int32Array(32);
  readonly ones = new Int32Array(32);
  /** Rows that were counted. */
  rows = 0;
  readonly #zeroPlanes = new Int32Array(PLANES);
  readonly #onePlanes = new Int32Array(PLANES);
  readonly #dimensions: readonly Dimension[];
  readonly #region: Region;

  constructor(dimensions: readonly Dimension[], region: Region) {
    this.#dimensions = dimensions;
    this.#region = region;
  }

  count(field: number, rows: Int32Array, from: number, to: number, step: number): void {
    const { a, b, kind, bits } = this.#dimensions[field] as Dimension;
    const isRange = kind === "range";
    const { fixed, value } = this.#region;
    const [low, high] = isRange
      ? regionBounds(this.#dimensions[field] as Dimension, fixed[field] as number, value[field] as number)
      : [0, 0];
    this.zeros.fill(0);
    this.ones.fill(0);
    this.rows = 0;
    let pending = 0;
    for (let i = from; i < to; i += step) {
      const row = rows[i] as number;
      let x = a[row] as number;
      let wild = b[row] as number;
      this.rows++;
      if (isRange) {
        const top = Math.min(wild, high);
        x = Math.max(x, low);
        if (x > top) continue;
        // At and below the highest bit in which the bounds differ, values have both 0 and 1.
        const differ = x ^ top;
        wild = differ === 0 ? 0 : -1 >>> Math.clz32(differ);
      }
      this.#add(this.#onePlanes, x | wild);
      this.#add(this.#zeroPlanes, ~x | wild);
      if (++pending === 2 ** PLANES - 1) {
        this.#flush(bits);
        pending = 0;
      }
    }
    this.#flush(bits);
  }

  #add(planes: Int32Array, bits: number): void {
    let carry = bits | 0;
    for (let k = 0; carry !== 0; k++) {
      const plane = planes[k] as number;
      planes[k] = plane ^ carry;
      carry &= plane;
    }
  }

  #flush(bits: number): void {
    for (let k = 0; k < PLANES; k++) {
      const one = this.#onePlanes[k] as number;
      const zero = this.#zeroPlanes[k] as number;
      if ((one | zero) === 0) continue;
      for (let s = 0; s < bits; s++) {
        this.ones[s] = (this.ones[s] as number) + (((one >>> s) & 1) << k);
        this.zeros[s] = (this.zeros[s] as number) + (((zero >>> s) & 1) << k);
      }
    }
    this.#onePlanes.fill(0);
    this.#zeroPlanes.fill(0);
  }
}

const PLANES = 8;
