import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";

/**
 * Folder for what belongs to running interfaces of the calling thread's network namespace. Interface names are unique
 * only within a namespace, so its inode is part of the path. Readable by root alone.
 */
export function runtimeDir(): string {
  const { ino } = statSync("/proc/thread-self/ns/net");
  const path = join("/run/xfrm-steer", `net-${ino}`);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  return path;
}
