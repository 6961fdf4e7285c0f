import koffi from "koffi";

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
 * @returns the address of a function
 * @throws Error naming what is missing
 */
export function functionAddress(library: string | null, name: string): number {
  const handle = Number(dlopen(library, RTLD_NOW));
  const address = handle === 0 ? 0 : Number(dlsym(handle, name));
  if (address === 0) throw new Error(`${library ?? "this Node"} has no function ${name}`);
  return address;
}
