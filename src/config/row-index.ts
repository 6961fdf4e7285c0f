/** Columns that together make up a row's key, each with its words (or bytes) a row. */
export type KeyColumns = readonly { readonly values: Uint8Array | Uint32Array; readonly size: number }[];

/** Rows by key, for finding equal ones: an open-addressed table of row numbers, 8 to 16 bytes a row. */
export class RowIndex {
  readonly #columns: KeyColumns;
  /** Row + 1, or 0. */
  readonly #slots: Int32Array;
  readonly #mask: number;

  constructor(columns: KeyColumns, rows: number) {
    this.#columns = columns;
    const size = 2 ** Math.ceil(Math.log2(2 * rows + 2));
    this.#slots = new Int32Array(size);
    this.#mask = size - 1;
  }

  /** Adds a row unless an equal one is there. @returns the row that is there, or -1 */
  add(row: number): number {
    let at = this.#hash(row) & this.#mask;
    for (;;) {
      const other = (this.#slots[at] as number) - 1;
      if (other < 0) break;
      if (this.#equal(row, other)) return other;
      at = (at + 1) & this.#mask;
    }
    this.#slots[at] = row + 1;
    return -1;
  }

  /** The row with this key, one list of words for each column; -1 without any. */
  find(key: readonly ArrayLike<number>[]): number {
    let hash = 0;
    for (const values of key) for (let i = 0; i < values.length; i++) hash = mix(hash, values[i] as number);
    let at = finish(hash) & this.#mask;
    for (;;) {
      const row = (this.#slots[at] as number) - 1;
      if (row < 0) return -1;
      if (this.#has(row, key)) return row;
      at = (at + 1) & this.#mask;
    }
  }

  #has(row: number, key: readonly ArrayLike<number>[]): boolean {
    return this.#columns.every(({ values, size }, c) => {
      for (let i = 0; i < size; i++) if (values[row * size + i] !== key[c]?.[i]) return false;
      return true;
    });
  }

  #hash(row: number): number {
    let hash = 0;
    for (const { values, size } of this.#columns)
      for (let i = row * size; i < (row + 1) * size; i++) hash = mix(hash, values[i] as number);
    return finish(hash);
  }

  #equal(a: number, b: number): boolean {
    for (const { values, size } of this.#columns)
      for (let i = 0; i < size; i++) if (values[a * size + i] !== values[b * size + i]) return false;
    return true;
  }
}

function mix(hash: number, value: number): number {
  const product = Math.imul(hash ^ value, 0x9e3779b1);
  return product ^ (product >>> 15);
}

function finish(hash: number): number {
  const product = Math.imul(hash, 0x85ebca6b);
  return product ^ (product >>> 13);
}
