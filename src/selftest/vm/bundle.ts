import { join, relative } from "node:path";
import { modulePath, packageRoot } from "../../sys/paths.js";
import { type CpioEntry, file } from "./newc.js";

/**
 * Modules that a process or a worker starts with, or that a scenario file of the user's own imports. Those of a group
 * may meet in one process, and share the modules below them; a group has few modules to load where it has few members.
 */
const ENTRY_POINTS = [
  ["index.js", "cli/main.js", "selftest/index.js", "selftest/vm/guest/main.js"],
  ["backends/userspace/daemon.js"],
  ["bench/kernel-guest.js"],
  ["demo/agent.js"],
  ["esp/rx-worker.js"],
  ["esp/tx-worker.js"],
  ["selftest/module-owners.js"],
  ["selftest/steering/main.js"],
];

/** Packages that stay what they are: koffi has a native half; tsx and esbuild are for scenario files in TypeScript. */
const PACKAGES_APART = ["koffi", "tsx", "esbuild"];

interface Bundled {
  /** Below the package's folder. */
  readonly path: string;
  readonly contents: Uint8Array;
}

let bundled: Promise<Bundled[]> | undefined;

/**
 * The compiled code with the packages that it depends on, in a few large modules at the entry points' own paths: each
 * module that Node resolves, reads and links by itself takes an emulated CPU some 20 ms, and there are hundreds. Made
 * once in a process, for all of its VMs.
 */
export async function bundleEntries(into: string): Promise<CpioEntry[]> {
  bundled ??= bundle();
  return (await bundled).map(({ path, contents }) => file(join(into, path), Buffer.from(contents)));
}

async function bundle(): Promise<Bundled[]> {
  const groups = await Promise.all(ENTRY_POINTS.map(bundleGroup));
  // Groups that have a module in common make the same chunk of it.
  return [...new Map(groups.flat().map((file) => [file.path, file])).values()];
}

async function bundleGroup(entryPoints: readonly string[]): Promise<Bundled[]> {
  const { build } = await import("esbuild"); // not there in the VM, where the command line is too
  const { outputFiles } = await build({
    entryPoints: entryPoints.map(modulePath),
    outbase: packageRoot,
    outdir: packageRoot,
    absWorkingDir: packageRoot,
    write: false,
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: `node${process.versions.node}`,
    chunkNames: "dist/src/chunks/[hash]",
    external: PACKAGES_APART,
    // Bundled CommonJS packages ask for Node's own modules by require().
    banner: {
      js: 'import { createRequire as $createRequire } from "node:module"; const require = $createRequire(import.meta.url);',
    },
    // Less to read and parse; names stay, for stack traces.
    minifyWhitespace: true,
    minifySyntax: true,
    logLevel: "silent",
  });
  return outputFiles.map(({ path, contents }) => ({ path: relative(packageRoot, path), contents }));
}
