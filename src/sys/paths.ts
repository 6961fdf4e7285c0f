import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Folder of the package. Looked for, not counted in steps: in the selftests' VM modules are bundled in other folders. */
export const packageRoot = above(dirname(fileURLToPath(import.meta.url)));

function above(folder: string): string {
  return existsSync(join(folder, "package.json")) ? folder : above(dirname(folder));
}

/** The command line, for who starts it as a process. */
export const cliPath = join(packageRoot, "bin", "xfrm-steer.js");

/**
 * Path of one of our modules that a process or a worker starts with.
 *
 * @param name below src/, as compiled, such as "esp/tx-worker.js"; src/selftest/vm/bundle.ts lists them all
 */
export function modulePath(name: string): string {
  return join(packageRoot, "dist", "src", name);
}

/** Path of a BPF object that set-up compiled. @throws Error that says to build it */
export const bpfObjectPath = (name: string): string => compiled("bpf", `${name}.bpf.o`);

/** Path of a shared object that set-up compiled. @throws Error that says to build it */
export const nativePath = (name: string): string => compiled("native", `${name}.so`);

function compiled(folder: string, name: string): string {
  const path = join(packageRoot, "dist", folder, name);
  if (!existsSync(path)) throw new Error(`${path} is not there; run \`npm run setup\` to compile it`);
  return path;
}
