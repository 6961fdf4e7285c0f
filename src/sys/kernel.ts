import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { release } from "node:os";

/** Running kernel's major and minor version. */
export function kernelVersion(): readonly [major: number, minor: number] {
  const [major = 0, minor = 0] = release().split(".").map(Number);
  return [major, minor];
}

export function kernelAtLeast(major: number, minor: number): boolean {
  const [x, y] = kernelVersion();
  return x > major || (x === major && y >= minor);
}

/**
 * Tries a command in a network namespace that ends with it, so that a probe leaves nothing behind.
 * @returns null where it worked, else what it said
 */
export function tryInScratchNetns(command: string): string | null {
  const { status, stderr, error } = spawnSync("unshare", ["--net", "sh", "-c", command], {
    encoding: "utf8",
    env: { ...process.env, LC_ALL: "C", PATH: `${process.env.PATH ?? ""}:/usr/sbin:/sbin` },
  });
  if (error) return error.message;
  return status === 0 ? null : stderr.trim().split("\n")[0] || `exit ${status}`;
}

/** Whether this process may make a network namespace (CAP_SYS_ADMIN); without, nothing can be tried in one. */
export function mayMakeNetns(): boolean {
  return !tryInScratchNetns("true")?.startsWith("unshare:");
}

/** Whether the kernel or a module that is loaded has this function in its BTF; kfuncs are found so. */
export function btfHas(name: string, module: string): boolean {
  const needle = Buffer.from(`\0${name}\0`);
  return ["vmlinux", module].some((file) => {
    const path = `/sys/kernel/btf/${file}`;
    return existsSync(path) && readFileSync(path).includes(needle);
  });
}
