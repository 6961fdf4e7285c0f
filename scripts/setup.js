#!/usr/bin/env node
/**
 * Installs what is missing and builds: Debian packages (as root; else prints the one command to run), npm packages,
 * libbpf-ts and bpf-linker, with them the BPF objects and the modules of their types, then the rest. Quick when nothing is missing.
 *
 *   node scripts/setup.js [--for-demo | --for-gateway | --for-bench | --build-only]
 *
 * On Debian 12 with a CPU that has VAES but no AVX-512, Debian 13's libipsec-mb is put beside the compiled code as well.
 *
 * --for-gateway leaves out what only tests need, and puts the command xfrm-steer on the PATH, in /usr/local/bin.
 *
 * --for-bench adds the peers that `bench esp` measures beside the data path: strongSwan and wireguard-go.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const buildOnly = process.argv.includes("--build-only");
const forGateway = process.argv.includes("--for-gateway");

/** Debian packages and how to see that each is there; the last ones boot the kernels of the tests. */
const packages = [
  { name: "clang", present: () => onPath(/^clang(-\d+)?$/) },
  { name: llvm(), present: () => existsSync(join(dirname(newestClang()), "llvm-link")) },
  { name: "libbpf-dev", present: () => existsSync("/usr/include/bpf/bpf_helpers.h") },
  { name: "linux-libc-dev", present: () => existsSync("/usr/include/linux/bpf.h") },
  { name: "iproute2", present: () => onPath(/^tc$/) },
  { name: "iputils-ping", present: () => onPath(/^ping$/) },
  { name: "tshark", present: () => onPath(/^tshark$/) },
  ...(process.arch === "x64"
    ? [{ name: ipsecMb(), present: () => ["1", "2"].some((v) => hasLibrary(`libIPSec_MB.so.${v}`)) }]
    : []),
  ...(process.argv.includes("--for-demo") || forGateway
    ? []
    : [
        { name: "gcc", present: () => onPath(/^cc$/) },
        { name: "libc6-dev", present: () => existsSync("/usr/include/stdio.h") },
        { name: "iperf3", present: () => onPath(/^iperf3$/) },
        { name: "qemu-system-x86", present: () => onPath(/^qemu-system-x86_64$/) },
        { name: "busybox-static", present: () => onPath(/^busybox$/) },
        { name: "xz-utils", present: () => onPath(/^xz$/) },
        { name: "kmod", present: () => onPath(/^modprobe$/) },
        { name: "bpftool", present: () => onPath(/^bpftool$/) },
      ]),
  ...(process.argv.includes("--for-bench")
    ? [
        { name: "strongswan-charon", present: () => existsSync("/usr/lib/ipsec/charon") },
        { name: "strongswan-swanctl", present: () => onPath(/^swanctl$/) },
        { name: "libstrongswan-standard-plugins", present: () => hasStrongswanPlugin("gcm") },
        { name: "libcharon-extra-plugins", present: () => hasStrongswanPlugin("kernel-libipsec") },
        { name: "wireguard-go", present: () => onPath(/^wireguard-go$/) },
        { name: "nftables", present: () => onPath(/^nft$/) },
        { name: "wireguard-tools", present: () => onPath(/^wg$/) },
      ]
    : []),
];

function onPath(pattern) {
  return pathsOf(pattern).length > 0;
}

function pathsOf(pattern) {
  const folders = [...(process.env.PATH ?? "").split(":"), "/usr/sbin", "/sbin"];
  return folders.flatMap((folder) => {
    try {
      return readdirSync(folder)
        .filter((name) => pattern.test(name))
        .map((name) => join(folder, name));
    } catch {
      return [];
    }
  });
}

/** The real path of the newest clang (/usr/lib/llvm-14/bin/clang); "" where there is none. */
function newestClang() {
  const clangs = pathsOf(/^clang(-\d+)?$/)
    .filter((path) => existsSync(path)) // not a dangling link
    .map((path) => realpathSync(path));
  return clangs.sort((a, b) => llvmVersion(b) - llvmVersion(a))[0] ?? "";
}

function llvmVersion(path) {
  return Number(/\/llvm-(\d+)\//.exec(path)?.[1] ?? 0);
}

/** Of that clang's version, as bitcode is not stable; Debian's `clang` and `llvm` are of one. */
function llvm() {
  const version = llvmVersion(newestClang());
  return version === 0 ? "llvm" : `llvm-${version}`;
}

/** @returns 13 for Debian 13, Infinity for testing and unstable, which have no number; null for what is not Debian */
function debianRelease() {
  const release = existsSync("/etc/os-release") ? readFileSync("/etc/os-release", "utf8") : "";
  if (!/^ID=debian$/m.test(release)) return null;
  return Number(/^VERSION_ID="?(\d+)/m.exec(release)?.[1] ?? Infinity);
}

/** Debian 13 has the second version of the library. */
function ipsecMb() {
  return (debianRelease() ?? 0) >= 13 ? "libipsec-mb2" : "libipsec-mb1";
}

/** Version 1 of the library has nothing for AVX2 with VAES; for AVX-512 it has. */
function wantsNewerIpsecMb() {
  if (process.arch !== "x64" || debianRelease() !== 12) return false;
  if (hasLibrary("libIPSec_MB.so.2") || existsSync(join(root, "dist/native/libIPSec_MB.so.2"))) return false;
  const flags = /^flags.*$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[0] ?? "";
  return /\bvaes\b/.test(flags) && /\bavx2\b/.test(flags) && !/\bavx512f\b/.test(flags);
}

function hasLibrary(name) {
  return ["/usr/lib", "/usr/lib/x86_64-linux-gnu"].some((folder) => existsSync(join(folder, name)));
}

function hasStrongswanPlugin(name) {
  return existsSync(`/usr/lib/ipsec/plugins/libstrongswan-${name}.so`);
}

function fail(message, status = 1) {
  console.error(`setup: ${message}`);
  process.exit(status);
}

/** Runs one step; its output is shown only when it fails. */
function step(title, command, args, options = {}) {
  const started = Date.now();
  if (title) process.stderr.write(`setup: ${title} ... `);
  const { status, error, stdout, stderr } = spawnSync(command, args, {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 1 << 28,
    stdio: ["ignore", "pipe", "pipe"],
    ...options,
  });
  if (status === 0) {
    if (title) process.stderr.write(`${((Date.now() - started) / 1000).toFixed(1)} s\n`);
    return;
  }
  if (title) process.stderr.write("failed\n");
  process.stderr.write(`${stdout ?? ""}${stderr ?? ""}`);
  fail(`${[command, ...args].join(" ")}: ${error?.message ?? `exit ${status}`}`);
}

function installPackages() {
  const missing = packages.filter(({ present }) => !present()).map(({ name }) => name);
  if (missing.length === 0) return;
  const command = `apt-get install -y --no-install-recommends ${missing.join(" ")}`;
  if (!existsSync("/usr/bin/apt-get"))
    fail(
      `these are missing: ${missing.join(", ")}; install your distribution's packages for them, then run this again`,
    );
  if (process.getuid?.() !== 0)
    fail(`run this as root, then run this again:\n  apt-get update && ${command}`, 4);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  step("apt-get update", "apt-get", ["update", "-q"], { env });
  step(`installing ${missing.join(" ")}`, command.split(" ")[0], command.split(" ").slice(1), { env });
}

function installModules() {
  const stamp = join(root, "node_modules", ".lock-installed");
  const lock = readFileSync(join(root, "package-lock.json"), "utf8");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === lock) return;
  step("npm ci", "npm", ["ci", "--loglevel=warn"]);
  writeFileSync(stamp, lock);
}

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major < 20 || (major === 20 && minor < 19))
  fail(`Node ${process.versions.node} is too old; 20.19 or later is needed`);
if (!buildOnly) {
  installPackages();
  installModules();
}
const built = existsSync(join(root, "dist", "src", "cli", "main.js"));
const tsc = "node_modules/typescript/bin/tsc";
step(built ? "" : "compiling libbpf-ts and bpf-linker", process.execPath, [tsc, "-b", "src/bpf-linker"]);
step(built ? "" : "compiling BPF", process.execPath, ["scripts/build-bpf.js"]);
step(built ? "" : "compiling C", process.execPath, ["scripts/build-native.js"]);
step(built ? "" : "compiling TypeScript", process.execPath, [tsc, "-b"]);
if (!buildOnly && !process.argv.includes("--for-demo") && wantsNewerIpsecMb()) {
  const { status, stderr } = spawnSync(process.execPath, ["scripts/fetch-ipsec-mb.js"], {
    cwd: root,
    encoding: "utf8",
  });
  if (status !== 0) console.error(`setup: AES-GCM goes by libipsec-mb 1: ${stderr.trim()}`);
}
if (forGateway) step("", "ln", ["-sfn", join(root, "bin", "xfrm-steer.js"), "/usr/local/bin/xfrm-steer"]);
