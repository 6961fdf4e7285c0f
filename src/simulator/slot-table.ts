/** A device's table of SAs or policies: the lowest free slot is taken, as the drivers do. */
export class SlotTable<T> {
  readonly size: number;
  readonly #base: number;
  readonly #slots: (T | undefined)[] = [];
  #used = 0;
  /** No slot below is free. */
  #lowest = 0;

  /** @param base handle of the first slot */
  constructor(size: number, base: number) {
    this.size = size;
    this.#base = base;
  }

  get used(): number {
    return this.#used;
  }

  get full(): boolean {
    return this.#used >= this.size;
  }

  /** @returns the handle. The table must not be full. */
  take(entry: T): number {
    while (this.#slots[this.#lowest] !== undefined) this.#lowest++;
    const index = this.#lowest;
    this.#slots[index] = entry;
    this.#used++;
    return index + this.#base;
  }

  get(handle: number): T | undefined {
    return this.#slots[handle - this.#base];
  }

  release(handle: number): void {
    const index = handle - this.#base;
    if (this.#slots[index] === undefined) return;
    this.#slots[index] = undefined;
    this.#used--;
    if (index < this.#lowest) this.#lowest = index;
  }

  /** Index and entry of each slot in use, in order. */
  *entries(): Generator<readonly [number, T]> {
    for (const [index, entry] of this.#slots.entries()) if (entry !== undefined) yield [index, entry];
  }
}
