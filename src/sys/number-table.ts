/**
 * A map from 32-bit numbers other than 0, filled once: open addressing in one array of numbers. A lookup among thousands is a
 * cache miss or two; a Map, whose entries are chained, takes twice as many, and a call.
 */
export class NumberTable<V> {
  /** Pairs of a key and its value's place in #values; a key of 0 ends a search. */
  readonly #slots: Int32Array;
  readonly #values: readonly V[];
  readonly #shift: number;

  /** @throws RangeError for a key that is 0 or there twice */
  constructor(entries: Iterable<readonly [number, V]> = []) {
    const all = [...entries];
    const bits = Math.max(1, Math.ceil(Math.log2(2 * all.length + 1)));
    this.#slots = new Int32Array(2 * 2 ** bits);
    this.#values = all.map(([, value]) => value);
    this.#shift = 32 - bits;
    for (const [index, [key]] of all.entries()) {
      const at = this.#find(key);
      if (key === 0 || this.#slots[at] !== 0) throw new RangeError(`${key} is no key of its own`);
      this.#slots[at] = key;
      this.#slots[at + 1] = index;
    }
  }

  get size(): number {
    return this.#values.length;
  }

  values(): readonly V[] {
    return this.#values;
  }

  get(key: number): V | undefined {
    const at = this.#find(key);
    return this.#slots[at] === 0 ? undefined : this.#values[this.#slots[at + 1] as number];
  }

  /** @returns the place of the key in #slots, or of the free one where it would be */
  #find(key: number): number {
    const slots = this.#slots;
    const wanted = key | 0;
    const last = slots.length - 2;
    // Fibonacci hashing (Knuth, volume 3, section 6.4): numbers that follow one another do not meet.
    for (let at = 2 * (Math.imul(key, 0x9e3779b1) >>> this.#shift); ; at = (at + 2) & last) {
      const found = slots[at];
      if (found === wanted || found === 0) return at;
    }
  }
}
