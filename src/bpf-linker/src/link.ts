import { randomUUID } from "node:crypto";
import { renameSync, rmSync } from "node:fs";
import { linkObjects } from "libbpf-ts";

/**
 * Links BPF objects into one by libbpf's static linker. Functions called across objects stay functions of their
 * own, verified one by one; `_license` may stand in each, if it is the same.
 * @returns the output's path
 * @throws LinkError with the object at fault; the output is left as it was
 */
export function link(objects: readonly string[], output: string): string {
  const temporary = `${output}.${randomUUID()}`;
  try {
    linkObjects(objects, temporary);
    renameSync(temporary, output);
  } finally {
    rmSync(temporary, { force: true });
  }
  return output;
}
