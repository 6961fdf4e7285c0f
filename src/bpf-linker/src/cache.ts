import { createHash, randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { copyFile, mkdir, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir, userInfo } from "node:os";
import { dirname, join } from "node:path";
import { canBePrivate, ensurePrivate } from "./private-folder.js";

/** A file that went into an object, with the SHA-256 of its bytes. */
interface Input {
  readonly path: string;
  readonly hash: string;
}

/** What is kept of one compilation beside its object. */
interface Manifest {
  /** SHA-256 of the object. */
  readonly object: string;
  readonly inputs: readonly Input[];
  /** clang's standard error: warnings are repeated on a hit. */
  readonly stderr: string;
}

const sha256 = (bytes: string | Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

async function hashFile(path: string): Promise<string | undefined> {
  try {
    return sha256(await readFile(path));
  } catch {
    return undefined; // a header that is gone makes the entry stale
  }
}

/** Copies by way of a temporary name beside the target, so that a reader never sees half a file. */
export async function install(from: string, to: string): Promise<void> {
  await replace(to, (temporary) => copyFile(from, temporary, constants.COPYFILE_EXCL));
}

/** As `install`, of bytes in memory. */
export async function installBytes(bytes: Uint8Array | string, to: string, mode = 0o666): Promise<void> {
  await replace(to, (temporary) => writeFile(temporary, bytes, { flag: "wx", mode }));
}

async function replace(to: string, write: (temporary: string) => Promise<void>): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  const temporary = `${to}.${randomUUID()}`;
  try {
    await write(temporary);
    await rename(temporary, to);
  } finally {
    await rm(temporary, { force: true });
  }
}

/**
 * Where compiled objects and headers are kept by default: the first of $XDG_CACHE_HOME/bpf-linker, $HOME/.cache/bpf-linker and
 * the same in the home that the user database names which is ours. `sudo` and `su` may leave root the HOME of another user,
 * who could plant there what root then loads.
 * @returns undefined where none is: then nothing is kept
 */
export function defaultCache(): string | undefined {
  const { XDG_CACHE_HOME } = process.env;
  const homes = [...new Set([homedir(), userInfo().homedir])].map((home) => join(home, ".cache"));
  return [...(XDG_CACHE_HOME ? [XDG_CACHE_HOME] : homes), ...homes]
    .map((cache) => join(cache, "bpf-linker"))
    .find(canBePrivate);
}

/** Files that only this user can have written, by name. */
export class PrivateCache {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** @returns undefined for false, and for a folder that is another's */
  static open(folder: string | false | undefined): PrivateCache | undefined {
    const path = folder === undefined ? defaultCache() : folder;
    return path && canBePrivate(path) ? new PrivateCache(path) : undefined;
  }

  /** @throws Error for what is not there, is another's, or that others may write */
  async read(name: string): Promise<Buffer> {
    const file = await open(
      join(this.#folder, name),
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    );
    try {
      const found = await file.stat();
      if (!found.isFile() || found.uid !== process.geteuid?.() || (found.mode & 0o022) !== 0)
        throw new Error(`${name} is not a file of our own`);
      return await file.readFile();
    } finally {
      await file.close();
    }
  }

  /** Writes nothing where the folder cannot be made private. */
  async write(name: string, bytes: Uint8Array | string): Promise<void> {
    if (!ensurePrivate(this.#folder)) return;
    await installBytes(bytes, join(this.#folder, name), 0o600);
  }

  /** As `read`, of what was written by `writeHashed`; undefined where it is not there, or is not what was written. */
  async readHashed(name: string): Promise<Buffer | undefined> {
    try {
      const [bytes, hash] = [await this.read(name), await this.read(`${name}.sha256`)];
      return sha256(bytes) === hash.toString("latin1") ? bytes : undefined;
    } catch {
      return undefined;
    }
  }

  async writeHashed(name: string, bytes: Uint8Array): Promise<void> {
    await this.write(name, bytes);
    await this.write(`${name}.sha256`, sha256(bytes));
  }
}

/**
 * Objects by what they were made from, as ccache's direct mode does: the command names an entry, and the entry is good
 * while every file that the compiler read has the same bytes, the source is one of them, and the object is the one that
 * was stored.
 */
export class ObjectCache {
  readonly #cache: PrivateCache;

  constructor(cache: PrivateCache) {
    this.#cache = cache;
  }

  /** Installs the object of an unchanged compilation at `output`. @returns clang's messages of then, or undefined */
  async restore(command: readonly string[], source: string, output: string): Promise<string | undefined> {
    const { manifest, object } = namesOf(command);
    try {
      const kept = JSON.parse((await this.#cache.read(manifest)).toString("utf8")) as Manifest;
      if (!kept.inputs.some(({ path }) => path === source)) return undefined;
      const hashes = await Promise.all(kept.inputs.map(({ path }) => hashFile(path)));
      if (kept.inputs.some(({ hash }, index) => hash !== hashes[index])) return undefined;
      const bytes = await this.#cache.read(object);
      if (sha256(bytes) !== kept.object) return undefined;
      await installBytes(bytes, output);
      return kept.stderr;
    } catch {
      return undefined; // no entry, or one that cannot be read: compile
    }
  }

  async store(
    command: readonly string[],
    object: string,
    inputs: readonly string[],
    stderr: string,
  ): Promise<void> {
    const names = namesOf(command);
    const bytes = await readFile(object);
    const hashed = await Promise.all(inputs.map(async (path) => ({ path, hash: await hashFile(path) })));
    await this.#cache.write(names.object, bytes);
    await this.#cache.write(
      names.manifest,
      JSON.stringify({ object: sha256(bytes), inputs: hashed, stderr }),
    );
  }
}

function namesOf(command: readonly string[]): { manifest: string; object: string } {
  const base = sha256(JSON.stringify(command));
  return { manifest: `${base}.json`, object: `${base}.o` };
}

/** The files in a make rule as clang's -MD writes it: "x.o: a.c b.h \", a blank in a name escaped by "\". */
export function parseDependencies(rule: string): string[] {
  const files = rule
    .replace(/\\\r?\n/g, " ")
    .replace(/^.*?:\s/, "")
    .match(/(?:\\ |\S)+/g);
  return (files ?? []).map((file) => file.replace(/\\([ #])/g, "$1").replaceAll("$$", "$"));
}
