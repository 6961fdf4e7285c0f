import koffi from "koffi";
import { nativePath } from "./paths.js";
import { Slab } from "./slab.js";

/** native/call_list.c: struct call {function, ten arguments, result}, of 8 bytes each; here in words of 4 bytes. */
const CALL_WORDS = 24;
const ARGUMENTS = 2;
/** Where an argument before the first would be. */
const FUNCTION = -1;
const RESULT = 22;

const library = koffi.load(nativePath("call_list"));
const callUntilError: (calls: number, count: number) => number = library.func("call_until_error", "size_t", [
  "uintptr_t",
  "size_t",
]);

/**
 * Calls of C functions that take up to ten integers and pointers each, written down in memory and made in one foreign
 * call. What they point at must stay until then.
 */
export class CallList {
  length = 0;
  readonly #slab: Slab;
  readonly #words: Uint32Array;

  constructor(capacity: number) {
    this.#slab = new Slab(capacity * CALL_WORDS * 4);
    this.#words = new Uint32Array(this.#slab.bytes.buffer);
  }

  /** Adds a call. @returns its index */
  add(address: number): number {
    const index = this.length++;
    this.setArgument(index, FUNCTION, address);
    return index;
  }

  /** @param value an address, or a C int */
  setArgument(index: number, argument: number, value: number): void {
    const at = index * CALL_WORDS + ARGUMENTS + argument * 2;
    this.#words[at] = value;
    this.#words[at + 1] = Math.floor(value / 2 ** 32);
  }

  /** Makes the calls in order until one returns a negative number, with errno set. They stay in the list. @returns how many did not */
  runUntilError(): number {
    return callUntilError(this.#slab.base, this.length);
  }

  /** What a call returned, as a C int. */
  result(index: number): number {
    return (this.#words[index * CALL_WORDS + RESULT] ?? 0) | 0;
  }
}
