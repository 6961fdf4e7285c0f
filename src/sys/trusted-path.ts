import { lstatSync, readlinkSync, type Stats, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { packageRoot } from "./paths.js";

/** A file of another user's that root would run, or a path that another could lead elsewhere. */
export class TrustError extends Error {
  override readonly name = "TrustError";
}

/** More symbolic links than this on one path are a loop (MAXSYMLINKS, linux/namei.h). */
const MAX_LINKS = 40;
const STICKY = 0o1000;

/** Users whose files this process may run, with those users' own groups. */
interface Trusted {
  readonly uids: ReadonlySet<number>;
  readonly gids: ReadonlySet<number>;
}

/** Root and this user. */
function ourselves(): Trusted {
  const uid = process.geteuid?.() ?? 0;
  // Groups are a user's own where they have its number, as Debian makes them.
  return { uids: new Set([0, uid]), gids: new Set([0, uid]) };
}

/**
 * Users who can have this process run what they like without this file: root, this user, who owns xfrm-steer's own code,
 * and who called sudo. The last is so that a clone in a user's own home works with `sudo`; SUDO_UID is set by sudo alone, and
 * who may set root's environment needs no file.
 */
function codeOwners(): Trusted {
  const { uids, gids } = ourselves();
  const { uid, gid } = statSync(packageRoot);
  const sudo = /^\d+$/.test(process.env.SUDO_UID ?? "") ? [Number(process.env.SUDO_UID)] : [];
  return {
    uids: new Set([...uids, uid, ...sudo]),
    gids: new Set([...gids, ...sudo, ...(uid === gid ? [gid] : [])]),
  };
}

/**
 * Finds who else could change what a path leads to: the owner of a folder, file or symbolic link on it, or whoever may write
 * there. In a sticky folder such as /tmp others may make files, but not touch ours. Looks from the root on, so that a part
 * once seen to be good cannot be exchanged afterwards.
 *
 * @returns what is wrong, naming the part; null where nothing is
 * @throws what lstat(2) says, where a part is not there
 */
export function foreignPart(path: string, trusted: Trusted = ourselves()): string | null {
  return walk(path, (part, found) => problemOf(part, found, trusted));
}

/**
 * Finds a symbolic link on a path that another user made, or could have exchanged. Folders of others that are entered
 * otherwise do not matter to who looks at the file itself.
 *
 * @throws what lstat(2) says, where a part is not there
 */
export function foreignLink(path: string): string | null {
  const trusted = ourselves();
  return walk(path, (part, found) => {
    if (!found.isSymbolicLink()) return null;
    return problemOf(part, found, trusted) ?? problemOf(dirname(part), lstatSync(dirname(part)), trusted);
  });
}

/** Looks at each folder and link that a path leads through, and at where it ends. @returns the first problem */
function walk(path: string, look: (part: string, found: Stats) => string | null): string | null {
  let steps = resolve(path).split("/").filter(Boolean);
  let links = 0;
  for (let at = "/"; steps.length > 0; ) {
    const [name = "", ...rest] = steps;
    steps = rest;
    const next = name === ".." ? dirname(at) : join(at, name);
    const found = lstatSync(next);
    const problem = look(next, found);
    if (problem !== null) return problem;
    if (!found.isSymbolicLink()) {
      at = next;
      continue;
    }
    if (++links > MAX_LINKS) return `${path} leads through too many symbolic links`;
    const target = readlinkSync(next);
    steps = [...target.split("/").filter(Boolean), ...rest];
    if (target.startsWith("/")) at = "/";
  }
  return null;
}

function problemOf(path: string, found: Stats, { uids, gids }: Trusted): string | null {
  if (!uids.has(found.uid)) return `${path} belongs to user ${found.uid}`;
  if (found.isSymbolicLink()) return null; // has no mode
  const othersWrite = gids.has(found.gid) ? 0o002 : 0o022;
  if ((found.mode & othersWrite) === 0 || (found.isDirectory() && (found.mode & STICKY) !== 0)) return null;
  return `${path} may be written by other users (mode ${(found.mode & 0o7777).toString(8).padStart(4, "0")})`;
}

/**
 * Refuses, for root, to run what another user could have written: a program, a module, an object.
 *
 * @param what names the file in the error, such as "the program x.bpf.c"
 * @throws TrustError; nothing where the path is not there, as whoever opens it says that better
 */
export function demandTrusted(path: string, what: string): void {
  const problem = whoseElse(path);
  if (problem === null) return;
  throw new TrustError(
    `${what} is not run as root: ${problem}; give it and the folders on its path to root, writable by nobody else`,
  );
}

/** For root: who could have written a file that is not root's to trust, as a text; null where nobody could. */
export function whoseElse(path: string): string | null {
  if (process.geteuid?.() !== 0) return null;
  try {
    return foreignPart(path, codeOwners());
  } catch {
    return null;
  }
}
