import koffi from "koffi";

const nameToIndex = koffi.load("libc.so.6").func("if_nametoindex", "unsigned int", ["str"]) as (
  name: string,
) => number;

/** Number of a network device in the calling thread's namespace; null where there is none of that name. */
export function findIfindex(name: string): number | null {
  return nameToIndex(name) || null;
}
