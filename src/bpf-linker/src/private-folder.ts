import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
} from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";

/** More symbolic links than this on one path are a loop (MAXSYMLINKS, linux/namei.h). */
const MAX_LINKS = 40;
const STICKY = 0o1000;

/** Whether others may write; a group that is the user's own alone (as user-private groups are, by their number) is none. */
function othersWrite({ mode, gid }: { readonly mode: number; readonly gid: number }): boolean {
  const ownGroup = gid === process.getegid?.() && gid === process.geteuid?.();
  return (mode & (ownGroup ? 0o002 : 0o022)) !== 0;
}

/**
 * Whether nobody but root and this user can change what a path leads to: each folder and symbolic link on it belongs to
 * one of the two, and no other may write there (in a sticky folder, such as /tmp, others cannot touch what is ours). Checked
 * from the root on, so that a part once seen to be good cannot be exchanged afterwards. False too where it is not there.
 */
export function isOurs(path: string): boolean {
  let steps = resolve(path).split("/").filter(Boolean);
  let links = 0;
  try {
    for (let at = "/"; steps.length > 0; ) {
      const [name = "", ...rest] = steps;
      steps = rest;
      const next = name === ".." ? dirname(at) : join(at, name);
      const found = lstatSync(next);
      if (found.uid !== 0 && found.uid !== process.geteuid?.()) return false;
      if (found.isSymbolicLink()) {
        if (++links > MAX_LINKS) return false;
        const target = readlinkSync(next);
        steps = [...target.split("/").filter(Boolean), ...rest];
        if (target.startsWith("/")) at = "/";
        continue;
      }
      if (othersWrite(found) && !(found.isDirectory() && (found.mode & STICKY) !== 0)) return false;
      at = next;
    }
    return true;
  } catch {
    return false;
  }
}

/** Whether `ensurePrivate` would find, or could make, a private folder there: nothing is made yet. */
export function canBePrivate(path: string): boolean {
  for (let at = resolve(path); ; at = dirname(at)) {
    if (lstatSync(at, { throwIfNoEntry: false }) !== undefined) return isOurs(at);
    if (at === "/") return false;
  }
}

/**
 * Makes a folder that nobody else may enter (mode 0700), or takes the one that is there, if it is ours and nobody else could
 * ever write to it.
 * @returns whether it may be used
 */
export function ensurePrivate(path: string): boolean {
  try {
    if (!canBePrivate(path)) return false;
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    try {
      const found = fstatSync(fd);
      if (found.uid !== process.geteuid?.() || othersWrite(found)) return false;
      if ((found.mode & 0o077) !== 0) fchmodSync(fd, 0o700);
      return true;
    } finally {
      closeSync(fd);
    }
  } catch {
    return false; // such as a home that is read-only: as good as one that is another's
  }
}

/** Runs `work` in a new folder of mode 0700 that is gone afterwards; not below a $TMPDIR where another could exchange it. */
export async function inTemporaryFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const parent = isOurs(tmpdir()) ? tmpdir() : "/tmp";
  const folder = await mkdtemp(join(parent, "bpf-linker-"));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
