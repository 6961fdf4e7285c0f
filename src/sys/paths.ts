import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Folder of the package: the one above dist/. */
export const packageRoot = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "..");

/** Path of a BPF object that set-up compiled. @throws Error that says to build it */
export function bpfObjectPath(name: string): string {
  const path = join(packageRoot, "dist", "bpf", `${name}.bpf.o`);
  if (!existsSync(path)) throw new Error(`${path} is not there; run \`npm run setup\` to compile it`);
  return path;
}
