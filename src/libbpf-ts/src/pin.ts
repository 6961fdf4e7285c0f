import { rmSync, statfsSync } from "node:fs";
import { dirname } from "node:path";
import { BPF_FS_MAGIC } from "./bpffs.js";
import { EEXIST, ENOENT } from "./errno.js";
import { ArgumentError } from "./errors.js";
import { failure } from "./fail.js";
import { native } from "./native.js";

function onBpffs(path: string): boolean {
  try {
    return statfsSync(dirname(path)).type === BPF_FS_MAGIC;
  } catch {
    return false;
  }
}

/** Pins a descriptor at a path of bpffs, where it outlives the process. */
export function pinFd(fd: number, path: string, what: string): void {
  const code = native().objectPin(fd, path);
  if (code >= 0) return;
  const op = `pin ${what} at ${path}`;
  if (-code === EEXIST) throw failure(op, -code, { hint: "unpin what is there first" });
  // The kernel answers EPERM to a path on another file system (kernel/bpf/inode.c, bpf_obj_do_pin).
  if (!onBpffs(path)) {
    throw new ArgumentError(op, "the folder is not on bpffs", "ensureBpffs() mounts one");
  }
  throw failure(op, -code);
}

/** Removes a pin. No error where there is none. */
export function unpin(path: string): void {
  rmSync(path, { force: true });
}

/** Descriptor of what is pinned at a path, whatever its kind. */
export function getPinned(path: string, what: string): number {
  const fd = native().objectGet(path);
  if (fd >= 0) return fd;
  throw failure(
    `open pinned ${what} ${path}`,
    -fd,
    -fd === ENOENT ? { hint: "nothing is pinned there" } : {},
  );
}
