import koffi from "koffi";
import { check } from "./libc.js";

const libc = koffi.load("libc.so.6");
const prctl: (option: number, a: number, b: number, c: number, d: number) => number = libc.func(
  "prctl",
  "int",
  ["int", ...Array<string>(4).fill("uintptr_t")],
);
const setrlimit: (resource: number, limit: Uint8Array) => number = libc.func("setrlimit", "int", [
  "int",
  "const void *",
]);
const getenv: (name: string) => bigint | null = libc.func("getenv", "void *", ["str"]);
const strlen: (text: bigint) => number = libc.func("strlen", "size_t", ["void *"]);

/** linux/prctl.h, asm-generic/resource.h */
const PR_GET_DUMPABLE = 3;
const PR_SET_DUMPABLE = 4;
const RLIMIT_CORE = 4;
/** sizeof(struct rlimit); zeros are a soft and a hard limit of nothing. */
const RLIMIT_SIZE = 16;

/**
 * Memory for a key. An ArrayBuffer's own: V8 keeps a typed array of up to 64 bytes that it makes by itself in its heap, where
 * collections move it, and a use of its `buffer` leaves what was there behind.
 */
export function secretBytes(size: number): Buffer<ArrayBuffer> {
  return Buffer.from(new ArrayBuffer(size));
}

/** A copy of a key, as secretBytes. */
export function copyOfSecret(key: Uint8Array): Buffer<ArrayBuffer> {
  const copy = secretBytes(key.length);
  copy.set(key);
  return copy;
}

let kept = false;

/**
 * Keeps this process's memory from core dumps, and from whoever has its user but not root's rights (ptrace(2),
 * /proc/PID/mem): for a process that is about to have keys. It lasts until the process ends; what it starts can be dumped
 * again (execve(2)), but leaves no core file. A core_pattern that is a pipe takes no heed of the limit, but of the flag.
 *
 * @throws SystemError
 */
export function keepMemoryPrivate(): void {
  if (kept) return;
  check(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "keeping this process's memory out of core dumps");
  check(setrlimit(RLIMIT_CORE, new Uint8Array(RLIMIT_SIZE)), "limiting core dumps");
  kept = true;
}

/** Whether this process may be dumped. */
export const isDumpable = (): boolean => prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) !== 0;

/** The memory of an environment variable's value itself; null where it is not set. It holds until the variable is changed. */
function environmentBytes(name: string): Uint8Array | null {
  const address = getenv(name);
  if (!address) return null;
  const length = Number(strlen(address));
  return length === 0 ? new Uint8Array(0) : new Uint8Array(koffi.view(address, length));
}

/**
 * An environment variable's value in a buffer of its own, without a string being made of it, which nobody could wipe.
 * A worker thread has variables of its own, which are strings.
 *
 * @returns null where it is not set
 */
export function readVariable(name: string): Buffer | null {
  const bytes = environmentBytes(name) ?? workersBytes(name);
  if (bytes === null) return null;
  return copyOfSecret(bytes);
}

function workersBytes(name: string): Uint8Array | null {
  const text = process.env[name];
  return text === undefined ? null : Buffer.from(text, "latin1");
}

/** Overwrites an environment variable's value where it stands, so that /proc/PID/environ has it no more, and unsets it. */
export function wipeVariable(name: string): void {
  environmentBytes(name)?.fill(0);
  delete process.env[name];
}
