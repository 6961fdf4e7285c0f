import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmdirSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { foreignPart, TrustError } from "./trusted-path.js";

/**
 * Makes a folder that nobody else may enter (mode 0700), or takes the one that is there. One of ours that others could only
 * read becomes private.
 *
 * @throws TrustError where it, or a folder on its path, is another user's or may be written by others
 */
export function ensurePrivateFolder(path: string): void {
  demandOurs(existing(path));
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const fd = openFolder(path);
  try {
    const found = fstatSync(fd);
    if (found.uid !== process.geteuid?.())
      throw new TrustError(`${path} belongs to user ${found.uid}; remove it, and it is made anew`);
    if ((found.mode & 0o077) !== 0) fchmodSync(fd, 0o700);
  } finally {
    closeSync(fd);
  }
}

/** Whether ensurePrivateFolder would find, or could make, a private folder there: nothing is made yet. */
export function canBePrivate(path: string): boolean {
  try {
    return foreignPart(existing(path)) === null;
  } catch {
    return false;
  }
}

/** The deepest folder on a path that is there; the path itself where it is. */
function existing(path: string): string {
  for (let at = resolve(path); ; at = dirname(at))
    if (at === "/" || lstatSync(at, { throwIfNoEntry: false }) !== undefined) return at;
}

function demandOurs(path: string): void {
  const problem = foreignPart(path);
  if (problem !== null)
    throw new TrustError(`${problem}: nothing of ours is kept there; make it our own, or remove it`);
}

function openFolder(path: string): number {
  return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
}

/** Where temporary folders are made: $TMPDIR, where nobody else could exchange what is ours in it; else /tmp, for root else /run. */
function temporaryParent(): string {
  const found = [tmpdir(), "/tmp", "/run"].find(canBePrivate);
  if (found === undefined)
    throw new TrustError("neither /tmp nor $TMPDIR is a place for our files: chmod 1777 /tmp, owned by root");
  return found;
}

/** A folder of mode 0700 with a name that was not used before and is not used again. */
export class PrivateFolder {
  readonly path: string;
  /** Open for as long as it is needed: the number of its inode is not given to another folder meanwhile. */
  #fd: number | null;

  /**
   * @param name its first characters, as in mkdtemp(3)
   * @param parent a folder where nobody else could exchange it; a temporary one if left out
   * @throws TrustError
   */
  constructor(name: string, parent = temporaryParent()) {
    demandOurs(parent);
    this.path = mkdtempSync(join(parent, name));
    this.#fd = openFolder(this.path);
  }

  /** Removes it with all that is in it: the folder that was made, and none that now has its name. Idempotent. */
  remove(): void {
    const fd = this.#fd;
    this.#fd = null;
    if (fd === null) return;
    try {
      removeOpen(fd, this.path);
    } finally {
      closeSync(fd);
    }
  }

  [Symbol.dispose](): void {
    this.remove();
  }
}

/** Runs `work` in a temporary folder that is gone afterwards. */
export async function inPrivateFolder<T>(name: string, work: (path: string) => Promise<T> | T): Promise<T> {
  const folder = new PrivateFolder(name);
  try {
    return await work(folder.path);
  } finally {
    folder.remove();
  }
}

/** Removes a folder by its descriptor, so that no rename leads elsewhere; its name only while that is still its. */
function removeOpen(fd: number, path: string): void {
  const inside = `/proc/self/fd/${fd}`;
  for (const name of readdirSync(inside)) rmSync(join(inside, name), { recursive: true, force: true });
  const [own, named] = [
    fstatSync(fd, { bigint: true }),
    lstatSync(path, { bigint: true, throwIfNoEntry: false }),
  ];
  if (named?.ino === own.ino && named.dev === own.dev) rmdirSync(path); // an empty one, and no link
}

/** Removes a folder that an earlier process of ours left; one of another user's, or a link, stays. */
export function removeLeftover(path: string): void {
  let fd: number;
  try {
    fd = openFolder(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ELOOP" || code === "ENOTDIR") return;
    throw error;
  }
  try {
    if (fstatSync(fd).uid === process.geteuid?.()) removeOpen(fd, path);
  } finally {
    closeSync(fd);
  }
}
