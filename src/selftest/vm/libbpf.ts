import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, realpath, rename, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { command } from "../command.js";
import { SECOND_LIBBPF } from "../features.js";
import { PrivateApt } from "./apt.js";
import { cacheDirectory, isIntact, openCache, seal } from "./cache.js";
import { VmError } from "./errors.js";
import { LIBBPF } from "./initramfs.js";
import { type CpioEntry, file } from "./newc.js";

/** Debian's builds for the oldest glibc that we support, so that they run on any newer one. */
const OLD = { version: [1, 1], suite: "bookworm" };
const NEW = { version: [1, 4], suite: "bookworm-backports" };
const LIBRARY_FOLDER = "usr/lib/x86_64-linux-gnu";

/** "libbpf.so.1.4.6" to [1, 4]. */
function versionOf(name: string): [number, number] {
  const [, major = 0, minor = 0] = (name.match(/\.so\.(\d+)\.(\d+)/) ?? []).map(Number);
  return [major, minor];
}

/** Which of Debian's libbpf is far from the one of this name: an older one for 1.4 and later, else a newer one. */
function otherSuite(name: string): string {
  const [major, minor] = versionOf(name);
  return major === NEW.version[0] && minor < (NEW.version[1] as number) ? NEW.suite : OLD.suite;
}

/**
 * The guest's second libbpf, as {@link SECOND_LIBBPF} with its full name and libbpf.so.1; nothing where it cannot be
 * had, which the scenario that needs it then tells.
 */
export async function secondLibbpf(cache?: string): Promise<CpioEntry[]> {
  const system = LIBBPF.find((path) => existsSync(path));
  if (system === undefined) return [];
  try {
    const path = await cached(
      join(cache ?? cacheDirectory(), "libbpf"),
      otherSuite(basename(await realpath(system))),
    );
    return [file(join(SECOND_LIBBPF, basename(path)).slice(1), await readFile(path), 0o755)];
  } catch (error) {
    if (error instanceof VmError && error.kind === "unavailable") return [];
    throw error;
  }
}

/** The library of a suite's libbpf1, downloaded on first use. */
async function cached(folder: string, suite: string): Promise<string> {
  const root = join(folder, suite);
  openCache(folder);
  if (!existsSync(root) || !isIntact(root)) {
    const partial = await mkdtemp(join(folder, ".partial-"));
    try {
      const apt = await PrivateApt.open(partial, [suite], () => {});
      await apt.download(["libbpf1"], join(partial, "debs"));
      for (const deb of await readdir(join(partial, "debs")))
        await command("dpkg-deb", ["-x", join(partial, "debs", deb), join(partial, "root")]);
      await rename(join(partial, "root"), root).catch((error: NodeJS.ErrnoException) => {
        // Another run was quicker; its copy is as good.
        if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
      });
      seal(root);
    } finally {
      await rm(partial, { recursive: true, force: true });
    }
  }
  const libraries = join(root, LIBRARY_FOLDER);
  const name = (await readdir(libraries)).find((each) => /^libbpf\.so\.\d+\.\d+/.test(each));
  if (name === undefined)
    throw new VmError("unavailable", `${libraries} has no libbpf; remove it to fetch it again`);
  return join(libraries, name);
}
