import koffi from "koffi";
import { nativePath } from "./paths.js";
import { Slab } from "./slab.js";

/** native/call_list.c: struct call {function, ten arguments, result}, of 8 bytes each. */
const WORD = 8;
const ARGUMENTS = 8;
const RESULT = 88;
const CALL_SIZE = 96;

const library = koffi.load(nativePath("call_list"));
const callAll: (calls: number, count: number) => void = library.func("call_all", "void", [
  "uintptr_t",
  "size_t",
]);
const callUntilError: (calls: number, count: number) => number = library.func("call_until_error", "size_t", [
  "uintptr_t",
  "size_t",
]);

const libc = koffi.load("libc.so.6");
const dlopen: (name: string | null, flags: number) => number = libc.func("dlopen", "uintptr_t", [
  "str",
  "int",
]);
const dlsym: (handle: number, name: string) => number = libc.func("dlsym", "uintptr_t", ["uintptr_t", "str"]);
/** bits/dlfcn.h */
const RTLD_NOW = 2;

/**
 * @param library as dlopen(3) takes it; null for the program's own
 * @returns the address of a function, for a CallList
 * @throws Error naming what is missing
 */
export function functionAddress(library: string | null, name: string): number {
  const handle = Number(dlopen(library, RTLD_NOW));
  const address = handle === 0 ? 0 : Number(dlsym(handle, name));
  if (address === 0) throw new Error(`${library ?? "this Node"} has no function ${name}`);
  return address;
}

/**
 * Calls of C functions that take up to ten integers and pointers each, written down in memory and made in one foreign
 * call. What they point at must stay until then.
 */
export class CallList {
  length = 0;
  readonly #slab: Slab;
  /** Who last used each place. */
  readonly #owners: (object | null)[];

  constructor(capacity: number) {
    this.#owners = Array.from({ length: capacity }, () => null);
    this.#slab = new Slab(capacity * CALL_SIZE);
  }

  /** Adds a call. @returns its index */
  add(address: number): number {
    const index = this.length++;
    this.#owners[index] = null;
    this.#slab.setPointer(index * CALL_SIZE, address);
    return index;
  }

  /**
   * Adds a call, the same that `owner` always makes, and arguments that are always the same.
   * @param set is called for the function's address and for those arguments, unless they are still there
   * @returns its index
   */
  claim<O extends object>(owner: O, set: (owner: O, calls: CallList) => void): number {
    const index = this.length;
    if (this.#owners[index] === owner) this.length++;
    else {
      set(owner, this);
      this.#owners[index] = owner;
    }
    return index;
  }

  /** Sets an argument to the address of a byte of a Slab. */
  setAddress(index: number, argument: number, slab: Slab, offset: number): void {
    this.#slab.setAddress(index * CALL_SIZE + ARGUMENTS + argument * WORD, slab, offset);
  }

  /** Sets an argument to a number of 0 and more that fits 32 bits. */
  setWord(index: number, argument: number, value: number): void {
    const at = index * CALL_SIZE + ARGUMENTS + argument * WORD;
    this.#slab.view.setUint32(at, value, true);
    this.#slab.view.setUint32(at + 4, 0, true);
  }

  /** @param value an address, or a C int */
  setArgument(index: number, argument: number, value: number): void {
    this.#slab.setPointer(index * CALL_SIZE + ARGUMENTS + argument * WORD, value);
  }

  /** Makes the calls in order. They stay in the list. */
  run(): void {
    if (this.length > 0) callAll(this.#slab.base, this.length);
  }

  /** Makes the calls in order until one returns a negative number, with errno set. @returns how many did not */
  runUntilError(): number {
    return callUntilError(this.#slab.base, this.length);
  }

  /** What a call returned, as a C int; undefined where it returns nothing. */
  result(index: number): number {
    return this.#slab.view.getInt32(index * CALL_SIZE + RESULT, true);
  }
}
