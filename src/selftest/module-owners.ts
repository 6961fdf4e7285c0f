/**
 * Hooks of node:module that refuse, for root, modules that another user could have written, by whatever way a scenario file
 * came to import them: a relative path, a node_modules above it (/tmp/node_modules is anybody's to make), a package's own
 * settings. A hook's thread has this as a module of its own.
 */
import Module, { register } from "node:module";
import { isAbsolute, join } from "node:path";
import { fileURLToPath } from "node:url";
import { packageRoot } from "../sys/paths.js";
import { demandTrusted } from "../sys/trusted-path.js";

type NextLoad = (url: string, context: unknown) => unknown;

/** Asked for each module that is imported, with its final place. */
export function load(url: string, context: unknown, nextLoad: NextLoad): unknown {
  if (url.startsWith("file:")) demandModule(fileURLToPath(url));
  return nextLoad(url, context);
}

function demandModule(path: string): void {
  if (!path.startsWith(join(packageRoot, "/"))) demandTrusted(path, `the module ${path}`);
}

let registered = false;

/** From now on, for this thread. */
export function demandOwnModules(): void {
  if (registered || process.geteuid?.() !== 0) return;
  registered = true;
  register(import.meta.url);
  // What CommonJS requires does not pass those hooks before Node 23.5.
  const commonJs = Module as unknown as { _resolveFilename: (...args: unknown[]) => string };
  const resolve = commonJs._resolveFilename;
  commonJs._resolveFilename = (...args) => {
    const path = resolve.apply(commonJs, args);
    if (isAbsolute(path)) demandModule(path);
    return path;
  };
}
