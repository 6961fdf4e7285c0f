import { execFile } from "node:child_process";
import { readdirSync, realpathSync } from "node:fs";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { BpfError } from "libbpf-ts";

const run = promisify(execFile);

/** The oldest clang that this package is tested with; Debian 12 has it. */
export const OLDEST_CLANG = 14;

export interface Clang {
  readonly path: string;
  readonly major: number;
  /** First line of `clang --version`. */
  readonly version: string;
}

/** No clang, or only older ones. */
export class MissingCompilerError extends BpfError {
  constructor(found: string) {
    const hint = `install clang ${OLDEST_CLANG} or later (Debian: apt-get install clang)`;
    super("find clang", { code: "MISSING_COMPILER", found, hint });
  }
}

/** Every file named clang or clang-N in the folders, each real file once. */
function candidates(folders: readonly string[]): string[] {
  const byTarget = new Map<string, string>();
  for (const folder of folders) {
    for (const name of names(folder)) {
      if (!/^clang(-\d+)?$/.test(name)) continue;
      const path = join(folder, name);
      const target = realPath(path);
      if (target !== undefined && !byTarget.has(target)) byTarget.set(target, path);
    }
  }
  return [...byTarget.values()];
}

function names(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // PATH may name folders that do not exist
  }
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined; // a dangling link
  }
}

async function identify(path: string): Promise<Clang | undefined> {
  try {
    const { stdout } = await run(path, ["--version"]);
    const version = stdout.split("\n", 1)[0] ?? "";
    const major = /clang version (\d+)/.exec(version)?.[1];
    return major === undefined ? undefined : { path, major: Number(major), version };
  } catch {
    return undefined;
  }
}

/**
 * The newest clang installed.
 * @param path folders to look in, as in $PATH
 * @throws MissingCompilerError
 */
export async function findClang(path: string = process.env.PATH ?? ""): Promise<Clang> {
  const found = await Promise.all(
    candidates(path.split(delimiter).filter((folder) => folder !== "")).map(identify),
  );
  const newest = found.reduce(
    (best, clang) => ((clang?.major ?? 0) > (best?.major ?? 0) ? clang : best),
    undefined,
  );
  if (newest === undefined) throw new MissingCompilerError("no clang in PATH");
  if (newest.major < OLDEST_CLANG)
    throw new MissingCompilerError(`the newest is ${newest.path}, version ${newest.major}`);
  return newest;
}
