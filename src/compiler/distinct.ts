import type { Table } from "./table.js";

/** Entries of a table of which none is there twice. */
export class Distinct {
  readonly #table: Table;
  readonly #numbers = new Map<string, number>();

  constructor(table: Table) {
    this.#table = table;
  }

  /** The number of the entry with these 32-bit words. */
  numberOf(words: Uint32Array): number {
    const key = words.join(" ");
    let number = this.#numbers.get(key);
    if (number === undefined) {
      number = this.#table.reserve(1);
      this.#table.set(number, ...words);
      this.#numbers.set(key, number);
    }
    return number;
  }
}
