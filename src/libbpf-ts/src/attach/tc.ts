import { existsSync } from "node:fs";
import { MissingFeatureError } from "../errors.js";
import { attachClsact, type ClsactPlace, findClsact } from "./clsact.js";
import type { TcLink } from "./tc-link.js";
import { attachTcx, TcxLink, type TcxOptions } from "./tcx.js";

export interface AttachTcOptions extends TcxOptions, ClsactPlace {
  /** "auto" takes tcx and falls back to clsact where the kernel lacks it (before 6.6). */
  mode?: "auto" | "tcx" | "clsact";
}

/**
 * Attaches a tc program to a device of the calling thread's network namespace. `order` counts with tcx,
 * `priority` and `handle` with clsact.
 * @throws MissingFeatureError where the kernel has neither
 */
export function attachTc(options: AttachTcOptions): TcLink {
  const { mode = "auto" } = options;
  if (mode === "clsact") return attachClsact(options);
  try {
    return attachTcx(options);
  } catch (error) {
    if (mode === "auto" && error instanceof MissingFeatureError) return attachClsact(options);
    throw error;
  }
}

/** Finds what an earlier attachTc() persisted: the tcx link pinned at `pin`, else the clsact filter at its place. */
export function findTc(options: ClsactPlace & { pin: string }): TcLink | undefined {
  return existsSync(options.pin) ? TcxLink.openPinned(options.pin) : findClsact(options);
}
