import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { copyFile, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { packageRoot } from "../../sys/paths.js";
import { inPrivateFolder } from "../../sys/private-folder.js";
import { command } from "../command.js";
import { bundleEntries } from "./bundle.js";
import { cacheDirectory, forget, isIntact, openCache, seal } from "./cache.js";
import { VmError } from "./errors.js";
import { GUEST_ROOT } from "./guest-init.js";
import type { Kernel } from "./kernel.js";
import { GUEST_MODULES, moduleEntries } from "./modules.js";
import { type CpioEntry, directory, file, symlink, writeNewc } from "./newc.js";
import { packageEntries, treeEntries } from "./packages.js";

const SEARCH_PATH = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const REQUIRED_TOOLS: Record<string, string> = {
  busybox: "busybox-static",
  ip: "iproute2",
  tc: "iproute2",
  ping: "iputils-ping",
  bash: "bash",
};
const OPTIONAL_TOOLS = ["bpftool"];
/** Where distributions have it; the first that exists goes into the VM. */
export const LIBBPF = [
  "/usr/lib/x86_64-linux-gnu/libbpf.so.1",
  "/usr/lib64/libbpf.so.1",
  "/usr/lib/libbpf.so.1",
];
const DIRECTORIES = ["proc", "sys", "dev", "tmp", "run", "root", "out", "sbin", "var/tmp"];

interface Program {
  source: string;
  /** Path in the guest. */
  target: string;
}

function findTool(name: string): string | undefined {
  return SEARCH_PATH.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

function programs(): Program[] {
  const found: Program[] = [{ source: process.execPath, target: "/usr/bin/node" }];
  for (const [name, debianPackage] of Object.entries(REQUIRED_TOOLS)) {
    const source = findTool(name);
    if (!source) {
      throw new VmError("unavailable", `packing the VM's files: no ${name} here; install ${debianPackage}`);
    }
    found.push({ source, target: name === "busybox" || name === "bash" ? `/bin/${name}` : source });
  }
  for (const name of OPTIONAL_TOOLS) {
    const source = findTool(name);
    if (source) found.push({ source, target: source });
  }
  const libbpf = LIBBPF.find((path) => existsSync(path));
  if (!libbpf)
    throw new VmError("unavailable", "packing the VM's files: no libbpf.so.1 here; install libbpf1");
  found.push({ source: libbpf, target: libbpf });
  return found;
}

/** The shared objects that `ldd` lists for a program, loader included; none for a static one. */
async function sharedObjects(path: string): Promise<string[]> {
  const output = await command("ldd", [path]).catch(() => "");
  return output.match(/\/\S+(?= \(0x)/g) ?? [];
}

async function programEntries(list: readonly Program[]): Promise<CpioEntry[]> {
  const entries = new Map<string, CpioEntry>();
  const add = async (source: string, target: string) => {
    const path = target.slice(1);
    if (!entries.has(path)) entries.set(path, file(path, await strippedBytes(source), 0o755));
  };
  for (const { source, target } of list) {
    await add(source, target);
    for (const object of await sharedObjects(source)) await add(object, object);
  }
  return [...entries.values()];
}

/** A file without its symbols where that saves much: unpacking an initramfs costs the guest time by the byte. */
async function strippedBytes(path: string): Promise<Buffer> {
  if ((await stat(path)).size < 8 << 20) return readFile(path);
  return await inPrivateFolder("xfrm-steer-strip-", async (scratch) => {
    const copy = join(scratch, "stripped");
    await command("strip", ["-o", copy, path]);
    return await readFile(copy);
  }).catch(() => readFile(path)); // No binutils here: larger, as good.
}

/**
 * The part of the guest's files that changes with the system and the kernel only: programs, their libraries,
 * modules. Built once and cached under a name made from what goes in.
 * @returns the path of a newc archive.
 * @throws VmError "unavailable" naming the Debian package that lacks.
 */
export async function baseArchive(kernel: Kernel, cache = cacheDirectory()): Promise<string> {
  const list = programs();
  const hash = createHash("sha256").update(JSON.stringify([kernel, list, GUEST_MODULES, DIRECTORIES]));
  for (const source of [...list.map((each) => each.source), join(kernel.modules, "modules.dep")]) {
    const { size, mtimeMs } = await stat(source);
    hash.update(`${source} ${size} ${mtimeMs}\n`);
  }
  const folder = join(cache, "initramfs");
  const prefix = `${kernel.release}-`;
  const name = `${prefix}${hash.digest("hex").slice(0, 16)}.cpio`;
  const path = join(folder, name);
  openCache(folder);
  if (existsSync(path) && isIntact(path)) return path;
  const entries = [
    ...DIRECTORIES.map(directory),
    symlink("sbin/modprobe", "../bin/busybox"),
    ...(await programEntries(list)),
    ...(await moduleEntries(kernel)),
  ];
  if (kernel.config) entries.push(file(`boot/config-${kernel.release}`, await readFile(kernel.config)));
  const partial = `${path}.${process.pid}`;
  try {
    await writeBuffers(partial, "w", writeNewc(entries));
    await rename(partial, path);
    seal(path);
  } finally {
    await rm(partial, { force: true });
  }
  // 100 MB each: keep the newest for this kernel only.
  for (const old of await readdir(folder)) {
    if (old.startsWith(prefix) && old.endsWith(".cpio") && old !== name) forget(join(folder, old));
  }
  return path;
}

/** The project as the guest sees it under /xfrm-steer: package.json, the bundled code, and what it reads at run time. */
export async function projectEntries(): Promise<CpioEntry[]> {
  const entries = [
    file(`${GUEST_ROOT}/package.json`, await readFile(join(packageRoot, "package.json"), "utf8")),
    ...(await bundleEntries(GUEST_ROOT)),
    ...(await packageEntries(["koffi"], packageRoot, GUEST_ROOT)),
  ];
  for (const [folder, wanted] of [
    ["bin", /\.js$/],
    ["dist/bpf", /\.o$/],
    ["dist/native", /\.so$/],
    ["schemas", /\.(proto|json)$/],
    ["src/simulator/profiles", /\.yaml$/],
  ] as const) {
    const root = join(packageRoot, folder);
    if (existsSync(root)) entries.push(...(await treeEntries(root, `${GUEST_ROOT}/${folder}`, wanted)));
  }
  return entries;
}

/**
 * Joins the base archive and `entries` in one file that QEMU can load.
 * @param path a file that does not exist; the caller removes it.
 */
export async function writeInitramfs(
  path: string,
  base: string,
  entries: readonly CpioEntry[],
): Promise<void> {
  await copyFile(base, path);
  await writeBuffers(path, "a", writeNewc(entries));
}

async function writeBuffers(path: string, flags: "w" | "a", buffers: readonly Buffer[]): Promise<void> {
  const handle = await open(path, flags);
  try {
    // writev takes at most IOV_MAX (1024) buffers.
    for (let at = 0; at < buffers.length; at += 1024) await handle.writev(buffers.slice(at, at + 1024));
  } finally {
    await handle.close();
  }
}
