import { existsSync } from "node:fs";
import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type CpioEntry, file } from "./newc.js";

// What a package needs at run time; sources, typings, maps and documents stay out.
const RUNTIME_FILE = /\.(js|cjs|mjs|json|node|wasm|proto|o)$/;
const LEFT_OUT = new Set(["node_modules", "test", "doc", "docs", "vendor", "musl_x64"]);

/** Every run-time file below `root`, and every program, as entries below `into`; not what `leftOut` names in `root`. */
export async function treeEntries(
  root: string,
  into: string,
  wanted: RegExp = RUNTIME_FILE,
  leftOut: ReadonlySet<string> = new Set(),
): Promise<CpioEntry[]> {
  const entries: CpioEntry[] = [];
  for (const item of await readdir(root, { withFileTypes: true })) {
    if (leftOut.has(item.name)) continue;
    const path = join(root, item.name);
    if (item.isDirectory()) entries.push(...(await treeEntries(path, `${into}/${item.name}`, wanted)));
    else if (item.isFile()) {
      const executable = ((await stat(path)).mode & 0o111) !== 0;
      if (!executable && !wanted.test(item.name)) continue;
      entries.push(file(`${into}/${item.name}`, await readFile(path), executable ? 0o755 : 0o644));
    }
  }
  return entries;
}

/** node_modules/NAME as seen from `from`: there, or in a folder above. */
function packageRoot(name: string, from: string): string | undefined {
  for (let at = from; ; at = dirname(at)) {
    const root = join(at, "node_modules", name);
    if (existsSync(join(root, "package.json"))) return root;
    if (at === dirname(at)) return undefined;
  }
}

interface Manifest {
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

/**
 * The packages that `names` and all their dependencies are made of, flat in `into`/node_modules. Workspace links
 * are followed; optional packages that are not installed (other platforms' binaries) are passed over.
 * @throws Error when a dependency is not installed.
 */
export async function packageEntries(
  names: readonly string[],
  from: string,
  into: string,
): Promise<CpioEntry[]> {
  const entries: CpioEntry[] = [];
  const seen = new Set<string>();
  const add = async (name: string, seenFrom: string, optional: boolean): Promise<void> => {
    if (seen.has(name)) return;
    const link = packageRoot(name, seenFrom);
    if (!link && optional) return;
    if (!link) throw new Error(`packing ${name} for the VM: it is not installed; run npm ci`);
    seen.add(name);
    const root = await realpath(link);
    entries.push(...(await treeEntries(root, `${into}/node_modules/${name}`, RUNTIME_FILE, LEFT_OUT)));
    const manifest = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as Manifest;
    for (const each of Object.keys(manifest.optionalDependencies ?? {})) await add(each, root, true);
    for (const each of Object.keys(manifest.dependencies ?? {})) {
      await add(each, root, each in (manifest.optionalDependencies ?? {}));
    }
  };
  for (const name of names) await add(name, from, false);
  return entries;
}
