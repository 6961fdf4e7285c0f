import { randomFillSync } from "node:crypto";

/** Random bytes from a store that is filled a page at a time: a call for each packet would cost more than its cipher. */
export class RandomBytes {
  readonly #store = new Uint8Array(4096);
  #next = this.#store.length;

  write(bytes: Uint8Array, at: number, size: number): void {
    if (this.#next + size > this.#store.length) {
      randomFillSync(this.#store);
      this.#next = 0;
    }
    bytes.set(this.#store.subarray(this.#next, this.#next + size), at);
    this.#next += size;
  }
}
