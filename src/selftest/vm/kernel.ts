import { existsSync, readdirSync } from "node:fs";
import { mkdtemp, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { command } from "../command.js";
import { PrivateApt } from "./apt.js";
import { cacheDirectory, isIntact, openCache, seal } from "./cache.js";
import { VmError } from "./errors.js";

/** An unpacked kernel, ready to boot. */
export interface Kernel {
  /** As `uname -r` prints it. */
  release: string;
  vmlinuz: string;
  /** lib/modules/RELEASE, with modules.dep in it. */
  modules: string;
  config: string | undefined;
}

export interface KernelOptions {
  /** Where downloads are kept; default $XDG_CACHE_HOME/xfrm-steer, or ~/.cache/xfrm-steer. */
  cache?: string;
  progress?: (message: string) => void;
}

// Where Debian keeps each series. Any other version is looked for in all of them.
const SUITES: Record<string, string[]> = {
  "6.1": ["bookworm"],
  "6.12": ["trixie"],
  "7.2": ["trixie-backports"],
};
const PARTIAL = ".partial-";
const ALL_SUITES = ["bookworm", "trixie", "trixie-backports"];

/** Does `release` ("6.12.107+deb13-cloud-amd64") belong to `version` ("6.12", or "6.12.107")? */
export function releaseMatches(release: string, version: string): boolean {
  return release.startsWith(version) && !/^\d/.test(release.slice(version.length));
}

/** Orders releases by their numbers, oldest first. */
export function compareReleases(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}

/**
 * The packages that together make the newest kernel of `version` among `names`. Debian's 6.x images are one
 * package; from 6.19 on, vmlinuz (linux-binary), modules (linux-modules) and config (linux-base) are apart.
 * @returns undefined when no kernel of that version is complete.
 */
export function kernelPackages(
  names: readonly string[],
  version: string,
): { release: string; packages: string[] } | undefined {
  const have = new Set(names);
  const releases = new Set(
    names.flatMap((name) => name.match(/^linux-(?:image|binary)-(\d.*-amd64)$/)?.[1] ?? []),
  );
  const newestFirst = [...releases]
    .filter((release) => releaseMatches(release, version))
    .sort(compareReleases)
    .reverse();
  for (const release of newestFirst) {
    const split = ["binary", "modules", "base"].map((part) => `linux-${part}-${release}`);
    if (split.every((name) => have.has(name))) return { release, packages: split };
    if (!have.has(split[0] as string)) return { release, packages: [`linux-image-${release}`] };
  }
  return undefined;
}

/**
 * The kernel under `root`, an unpacked package or the target of `make modules_install`: modules in
 * lib/modules/RELEASE or usr/lib/modules/RELEASE, vmlinuz beside them or in boot/.
 * @throws VmError "unavailable" naming what is missing.
 */
export function kernelAt(root: string): Kernel {
  for (const lib of ["usr/lib/modules", "lib/modules"]) {
    const directory = join(root, lib);
    if (!existsSync(directory)) continue;
    for (const release of readdirSync(directory).sort(compareReleases).reverse()) {
      const modules = join(directory, release);
      const found = (name: string) =>
        [join(modules, name), join(root, "boot", `${name}-${release}`)].find((file) => existsSync(file));
      const vmlinuz = found("vmlinuz");
      if (!vmlinuz) continue;
      if (!existsSync(join(modules, "modules.dep"))) {
        throw new VmError("unavailable", `${modules} has no modules.dep; run depmod for it`);
      }
      return { release, vmlinuz, modules, config: found("config") };
    }
  }
  throw new VmError(
    "unavailable",
    `no kernel in ${root}: it needs lib/modules/RELEASE, and vmlinuz there or as boot/vmlinuz-RELEASE`,
  );
}

/**
 * The kernel called `name`: a version of Debian's cloud kernels ("6.1", "6.12", "7.2", or a full "6.12.107"),
 * downloaded on first use; or the path of an unpacked kernel (anything with a "/" in it).
 * @throws VmError "unavailable" when it cannot be had.
 */
export async function findKernel(name: string, options: KernelOptions = {}): Promise<Kernel> {
  if (name.includes("/")) return kernelAt(name);
  if (!/^\d+\.\d+(\.\d+)?$/.test(name)) {
    throw new VmError("unavailable", `"${name}" is no kernel: give a version such as 6.12, or a path`);
  }
  const kernels = join(options.cache ?? cacheDirectory(), "kernels");
  openCache(kernels);
  const cached = (await readdir(kernels))
    .filter((release) => releaseMatches(release, name))
    .sort(compareReleases);
  const newest = cached.findLast((release) => isIntact(join(kernels, release)));
  if (newest) return kernelAt(join(kernels, newest));
  await removeStale(kernels);
  // Beside its final place, so that one rename makes it appear whole or not at all.
  const partial = await mkdtemp(join(kernels, PARTIAL));
  try {
    const release = await download(name, partial, options.progress ?? (() => {}));
    const root = join(kernels, release);
    await rename(join(partial, "root"), root).catch((error: NodeJS.ErrnoException) => {
      // Another run was quicker; its copy is as good.
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    });
    seal(root);
    return kernelAt(root);
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
}

/** Downloads that were killed an hour ago or more leave their folder behind. */
async function removeStale(kernels: string): Promise<void> {
  for (const name of await readdir(kernels)) {
    if (!name.startsWith(PARTIAL)) continue;
    const path = join(kernels, name);
    const { mtimeMs } = await stat(path);
    if (Date.now() - mtimeMs > 3_600_000) await rm(path, { recursive: true, force: true });
  }
}

async function download(
  version: string,
  partial: string,
  progress: (message: string) => void,
): Promise<string> {
  const series = version.split(".").slice(0, 2).join(".");
  const apt = await PrivateApt.open(partial, SUITES[series] ?? ALL_SUITES, progress);
  const names = await apt.search(
    `^linux-(image|binary|modules|base)-${version.replaceAll(".", "\\.")}.*-cloud-amd64$`,
  );
  const wanted = kernelPackages(names, version);
  if (!wanted) {
    throw new VmError(
      "unavailable",
      `Debian has no cloud-amd64 kernel ${version}; 6.1, 6.12 and 7.2 are known`,
    );
  }
  const debs = join(partial, "debs");
  await apt.download(wanted.packages, debs);
  progress(`unpacking ${wanted.release}`);
  const root = join(partial, "root");
  for (const deb of await readdir(debs)) await command("dpkg-deb", ["-x", join(debs, deb), root]);
  // Packages run depmod when installed; these are only unpacked.
  const base = existsSync(join(root, "usr/lib/modules")) ? join(root, "usr") : root;
  await command("depmod", ["-b", base, wanted.release]).catch((cause) => {
    throw new VmError("unavailable", "ordering the kernel's modules: depmod failed; install kmod", { cause });
  });
  return wanted.release;
}
