import { InvalidArgumentError } from "commander";
import type { KernelVersion } from "../esp/offload/stack.js";

/** Reads "6.16". */
export function kernelVersion(value: string): KernelVersion {
  const [, major, minor] = /^(\d+)\.(\d+)$/.exec(value) ?? [];
  if (major === undefined || minor === undefined) throw new InvalidArgumentError("write it as 6.16");
  return [Number(major), Number(minor)];
}
