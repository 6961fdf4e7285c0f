import { mkdirSync, rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { inNetns, netnsCookie } from "./netns.js";

const ROOT = "/run/xfrm-steer";

/**
 * Folder for what belongs to running interfaces of the calling thread's network namespace. Interface names are unique only
 * within a namespace, so its cookie is part of the path. Readable by root alone.
 */
export function runtimeDir(): string {
  return join(ROOT, namespaceFolder());
}

/** Name of a folder for the calling thread's network namespace alone. */
export function namespaceFolder(): string {
  return `net-${netnsCookie()}`;
}

/** Makes the folder where it is not there yet. */
export function makeRuntimeDir(): void {
  mkdirSync(runtimeDir(), { recursive: true, mode: 0o700 });
}

/** Removes the folder when nothing is left in it. */
export function tidyRuntimeDir(): void {
  try {
    rmdirSync(runtimeDir());
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOTEMPTY" && code !== "ENOENT") throw error;
  }
}

/** Clears what services and kernel backends left of a network namespace that is about to be removed, by its name. */
export function clearRuntimeDir(netns: string): void {
  rmSync(inNetns(netns, runtimeDir), { recursive: true, force: true });
}
