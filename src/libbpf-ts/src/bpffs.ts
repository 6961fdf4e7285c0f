import { existsSync, mkdirSync, statfsSync } from "node:fs";
import { failure } from "./fail.js";
import { lastErrno, mount } from "./libc.js";

/** BPF_FS_MAGIC of linux/magic.h. */
export const BPF_FS_MAGIC = 0xcafe4a11;

/** Where the BPF file system is mounted by custom. */
export const BPFFS = "/sys/fs/bpf";

/**
 * Makes sure that `path` is a folder on bpffs: mounts one there unless it already lies on one.
 * @returns true where a mount was made
 * @throws MissingRightsError without CAP_SYS_ADMIN
 */
export function ensureBpffs(path: string = BPFFS): boolean {
  if (!existsSync(path)) mkdirSync(path, { recursive: true, mode: 0o700 });
  if (statfsSync(path).type === BPF_FS_MAGIC) return false;
  if (mount("bpffs", path, "bpf", 0, "mode=0700") < 0) throw failure(`mount bpffs at ${path}`, lastErrno());
  return true;
}
