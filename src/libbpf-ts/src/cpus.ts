import { check } from "./fail.js";
import { withLibbpfLog } from "./libbpf-log.js";
import { native } from "./native.js";

let possible: number | undefined;

/** Number of possible CPUs: the number of slices in a per-CPU value, which may exceed the CPUs online. */
export function possibleCpus(): number {
  possible ??= check(withLibbpfLog(() => native().possibleCpus()).result, "count the possible CPUs");
  return possible;
}
