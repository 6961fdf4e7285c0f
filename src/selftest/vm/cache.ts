import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { homedir, userInfo } from "node:os";
import { basename, dirname, join } from "node:path";
import { canBePrivate, ensurePrivateFolder } from "../../sys/private-folder.js";
import { TrustError } from "../../sys/trusted-path.js";
import { VmError } from "./errors.js";

/**
 * Where downloads are kept: the first of $XDG_CACHE_HOME/xfrm-steer, ~/.cache/xfrm-steer and the same in the home that the
 * user database names which is ours. `sudo` and `su` may leave root the HOME of another user.
 *
 * @throws VmError "unavailable" where none is
 */
export function cacheDirectory(): string {
  const { XDG_CACHE_HOME } = process.env;
  const homes = [homedir(), userInfo().homedir].map((home) => join(home, ".cache"));
  const places = [...(XDG_CACHE_HOME ? [XDG_CACHE_HOME] : []), ...homes];
  const found = places.map((place) => join(place, "xfrm-steer")).find(canBePrivate);
  if (found !== undefined) return found;
  throw new VmError("unavailable", `keeping downloads: ${places[0]} is another user's; set XDG_CACHE_HOME`);
}

/** Makes a folder of the cache, private. @throws VmError "unavailable" where it is another user's */
export function openCache(folder: string): void {
  try {
    ensurePrivateFolder(folder);
  } catch (cause) {
    if (!(cause instanceof TrustError)) throw cause;
    throw new VmError("unavailable", `keeping downloads: ${cause.message}`, { cause });
  }
}

/**
 * Whether a file or tree of a private folder is as it was when it was kept, and all of it ours. One of before hashes were
 * kept gets one now, if nobody else can have written any of it. What is not so is removed, to be made again.
 */
export function isIntact(path: string): boolean {
  const found = digest(path);
  const kept = readHash(path);
  if (found !== null && kept === null) seal(path);
  if (found !== null && (kept === null || kept === found)) return true;
  forget(path);
  return false;
}

/** Keeps the hash of what was put into the cache. */
export function seal(path: string): void {
  const found = digest(path);
  if (found !== null) writeFileSync(hashFile(path), found, { mode: 0o600 });
}

/** Removes what is in the cache with its hash. */
export function forget(path: string): void {
  rmSync(path, { recursive: true, force: true });
  rmSync(hashFile(path), { force: true });
}

/** Beside what it is of; its name begins like that of nothing that is looked for. */
function hashFile(path: string): string {
  return join(dirname(path), `.sha256-${basename(path)}`);
}

function readHash(path: string): string | null {
  try {
    return readFileSync(hashFile(path), "latin1");
  } catch {
    return null;
  }
}

/** SHA-256 over names, links and contents; null where a part is not ours, or may be written by others. */
function digest(path: string): string | null {
  const hash = createHash("sha256");
  const add = (at: string, name: string): boolean => {
    const found = lstatSync(at);
    if (found.uid !== process.geteuid?.() || (!found.isSymbolicLink() && (found.mode & 0o022) !== 0))
      return false;
    if (found.isSymbolicLink()) hash.update(`${name}\0link\0${readlinkSync(at)}\0`);
    else if (found.isFile())
      hash.update(`${name}\0file\0${createHash("sha256").update(readFileSync(at)).digest("hex")}\0`);
    else if (found.isDirectory()) {
      hash.update(`${name}\0folder\0`);
      return readdirSync(at)
        .sort()
        .every((each) => add(join(at, each), `${name}/${each}`));
    } else return false;
    return true;
  };
  return add(path, "") ? hash.digest("hex") : null;
}
