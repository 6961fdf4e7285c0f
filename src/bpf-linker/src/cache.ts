import { createHash, randomUUID } from "node:crypto";
import { copyFile, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

/** A file that went into an object, with the SHA-256 of its bytes. */
interface Input {
  readonly path: string;
  readonly hash: string;
}

/** What is kept of one compilation beside its object. */
interface Manifest {
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
  await mkdir(dirname(to), { recursive: true });
  const temporary = `${to}.${randomUUID()}`;
  try {
    await copyFile(from, temporary);
    await rename(temporary, to);
  } finally {
    await rm(temporary, { force: true });
  }
}

/**
 * Objects by what they were made from, as ccache's direct mode does: the command names an entry, and the entry is
 * good while every file that the compiler read has the same bytes.
 */
export class ObjectCache {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  #paths(command: readonly string[]): { manifest: string; object: string } {
    const base = join(this.#folder, sha256(JSON.stringify(command)));
    return { manifest: `${base}.json`, object: `${base}.o` };
  }

  /** Installs the object of an unchanged compilation at `output`. @returns clang's messages of then, or undefined */
  async restore(command: readonly string[], output: string): Promise<string | undefined> {
    const { manifest, object } = this.#paths(command);
    try {
      const { inputs, stderr } = JSON.parse(await readFile(manifest, "utf8")) as Manifest;
      const hashes = await Promise.all(inputs.map((input) => hashFile(input.path)));
      if (inputs.some((input, index) => input.hash !== hashes[index])) return undefined;
      await install(object, output);
      return stderr;
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
    const paths = this.#paths(command);
    const hashed = await Promise.all(inputs.map(async (path) => ({ path, hash: await hashFile(path) })));
    await install(object, paths.object);
    const temporary = `${paths.manifest}.${randomUUID()}`;
    await writeFile(temporary, JSON.stringify({ inputs: hashed, stderr }));
    await rename(temporary, paths.manifest);
  }
}

/** The files in a make rule as clang's -MD writes it: "x.o: a.c b.h \", a blank in a name escaped by "\". */
export function parseDependencies(rule: string): string[] {
  const files = rule
    .replace(/\\\r?\n/g, " ")
    .replace(/^.*?:\s/, "")
    .match(/(?:\\ |\S)+/g);
  return (files ?? []).map((file) => file.replace(/\\([ #])/g, "$1").replaceAll("$$", "$"));
}
