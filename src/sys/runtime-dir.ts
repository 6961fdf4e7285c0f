import { rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { inNetns, netnsCookie } from "./netns.js";
import { ensurePrivateFolder } from "./private-folder.js";

/** Root's alone, mode 0700: sockets, state, pins and temporary folders of all network namespaces. */
export const RUNTIME_ROOT = "/run/xfrm-steer";

/**
 * Folder for what belongs to running interfaces of the calling thread's network namespace. Interface names are unique only
 * within a namespace, so its cookie is part of the path. Readable by root alone.
 */
export function runtimeDir(): string {
  return join(RUNTIME_ROOT, namespaceFolder());
}

/** Name of a folder for the calling thread's network namespace alone. */
export function namespaceFolder(): string {
  return `net-${netnsCookie()}`;
}

/** Makes the folder where it is not there yet. @throws TrustError where it, or one above it, is another user's */
export function makeRuntimeDir(): void {
  makeRuntimeRoot();
  ensurePrivateFolder(runtimeDir());
}

/** As makeRuntimeDir, the folder above those of the namespaces. */
export function makeRuntimeRoot(): void {
  ensurePrivateFolder(RUNTIME_ROOT);
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
