import { closeSync, constants, fstatSync, openSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import koffi from "koffi";
import { errno, SystemError } from "./libc.js";
import { ensurePrivateFolder } from "./private-folder.js";

const flock = koffi.load("libc.so.6").func("flock", "int", ["int", "int"]) as (
  fd: number,
  operation: number,
) => number;

/** sys/file.h and asm-generic/errno-base.h */
const LOCK_EX_NB = 2 | 4;
const EAGAIN = 11;
const POLL_MS = 20;

/** Somebody else held the lock for too long. */
export class LockError extends Error {
  override readonly name = "LockError";
}

/**
 * Runs `work` while no other process that asks for the same folder's lock runs its own. The lock (flock(2)) ends with
 * this process, however it ends, and leaves no file behind. The folder is made where it is not there, mode 0700.
 *
 * @throws LockError after `limitMs`; TrustError where the folder is another user's
 */
export async function withLock<T>(folder: string, work: () => T | Promise<T>, limitMs = 30_000): Promise<T> {
  const fd = await lock(folder, Date.now() + limitMs);
  try {
    return await work();
  } finally {
    closeSync(fd);
  }
}

/** @returns null where it was removed in between, by a process that had the lock */
function openFolder(folder: string): number | null {
  try {
    ensurePrivateFolder(folder);
    return openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

async function lock(folder: string, end: number): Promise<number> {
  for (;;) {
    const fd = openFolder(folder);
    if (fd === null) continue;
    if (flock(fd, LOCK_EX_NB) === 0) {
      // Who had it before may have removed the folder: then another process locks the one that took its place.
      if (statSync(folder, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino) return fd;
      closeSync(fd);
      continue;
    }
    const code = errno();
    closeSync(fd);
    if (code !== EAGAIN) throw new SystemError(`lock ${folder}`, code);
    if (Date.now() > end)
      throw new LockError(
        `another xfrm-steer has been changing this interface for long; \`fuser ${folder}\` finds it`,
      );
    await delay(POLL_MS);
  }
}

/**
 * Takes the lock (flock(2)) of a file, made where it is not there, mode 0600. It ends with the descriptor, and so with this
 * process, however that ends. Whoever holds it may remove the file.
 *
 * @returns the file's descriptor; null where another process has the lock
 */
export function tryLockFile(path: string): number | null {
  ensurePrivateFolder(dirname(path));
  for (;;) {
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
    if (flock(fd, LOCK_EX_NB) !== 0) {
      const code = errno();
      closeSync(fd);
      if (code === EAGAIN) return null;
      throw new SystemError(`lock ${path}`, code);
    }
    if (statSync(path, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino) return fd;
    closeSync(fd); // its holder removed it in between
  }
}
