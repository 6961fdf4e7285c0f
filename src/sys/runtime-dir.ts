import { mkdirSync, rmdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

/**
 * Folder for what belongs to running interfaces of a network namespace, the calling thread's if none is named. Interface names are unique
 * only within a namespace, so its inode is part of the path. Readable by root alone.
 */
export function runtimeDir(netnsPath = "/proc/thread-self/ns/net"): string {
  const { ino } = statSync(netnsPath);
  return join("/run/xfrm-steer", `net-${ino}`);
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

/** Clears what services and kernel backends left of a network namespace that is about to be removed. */
export function clearRuntimeDir(netnsPath: string): void {
  rmSync(runtimeDir(netnsPath), { recursive: true, force: true });
}
