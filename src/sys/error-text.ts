import { SystemError } from "./libc.js";

/** What each errno means to who runs a gateway, and what to do about it. Others go by their names. */
const MEANINGS: Readonly<Record<string, readonly [what: string, advice: string]>> = {
  ENOSPC: ["no space is left on the device", "make room there (df shows how much is used) and do it again"],
  EDQUOT: ["the disk quota is used up", "make room or raise the quota, and do it again"],
  EROFS: ["the file system is read-only", "mount it for writing, or name a place on another"],
  EMFILE: [
    "this process has as many files open as it may",
    "raise its limit (ulimit -n, or LimitNOFILE= of its unit) and do it again",
  ],
  ENFILE: ["the system has as many files open as it may", "raise fs.file-max (sysctl) and do it again"],
  ENOMEM: ["there is too little memory", "free some, or raise the limit of this cgroup, and do it again"],
  ENOBUFS: ["the kernel has no buffer left for it", "do it again; if it stays so, raise net.core.rmem_max"],
  ENODEV: ["the device is not there any more", "make it again, and then `xfrm-steer apply`"],
  ENXIO: ["the device is not there any more", "make it again, and then `xfrm-steer apply`"],
  EIO: ["the device failed", "look for its errors with `dmesg`"],
  ENOENT: ["it is not there", "check the path, or make it"],
  ENOTDIR: ["a part of the path is no folder", "check the path"],
  EISDIR: ["it is a folder", "name a file in it"],
  EEXIST: ["it is there already", "remove it, or take another name"],
  EBUSY: ["something else uses it", "wait for it or end it, and do it again"],
  EACCES: ["it is not allowed", "run it as root, or give yourself the permission"],
  EPERM: ["it is not allowed", "run it as root; in a container, with the capability CAP_NET_ADMIN"],
  EADDRINUSE: ["another process has the address and port", "`ss -lunp` finds it"],
  EADDRNOTAVAIL: ["no device of this machine has the address", "give it to one (ip address add)"],
  ENETUNREACH: ["no route leads there", "add one (ip route add)"],
  ENETDOWN: ["the device is down", "set it up (ip link set DEVICE up)"],
};

/** System calls of node:fs and node:net, as work that is done on a path. */
const DOING: Readonly<Record<string, string>> = {
  open: "opening",
  read: "reading",
  write: "writing",
  fsync: "writing",
  mkdir: "making the folder",
  mkdtemp: "making the folder",
  scandir: "listing",
  stat: "looking at",
  lstat: "looking at",
  access: "looking at",
  unlink: "removing",
  rmdir: "removing",
  rm: "removing",
  rename: "renaming",
  copyfile: "copying",
  chmod: "setting the mode of",
  connect: "connecting to",
  listen: "listening at",
  bind: "binding to",
};

/**
 * One sentence for an errno that a system call gave, ours or Node's: what was being done, why it failed, what to do.
 * Null for any other error.
 */
export function systemErrorText(error: unknown): string | null {
  if (error instanceof SystemError) {
    // What was advised where it happened fits better.
    if (error.message.includes("; ")) return error.message;
    const doing = error.message.replace(new RegExp(`: ${error.code}$`), "");
    return sentence(doing, error.code);
  }
  const { code, syscall, path, dest } = error as NodeJS.ErrnoException & { dest?: string };
  if (!(error instanceof Error) || code === undefined || syscall === undefined) return null;
  const verb = DOING[syscall] ?? `doing ${syscall}`;
  const object = [path, dest].filter((each) => each !== undefined).join(" to ");
  return sentence(object === "" || syscall.endsWith(object) ? verb : `${verb} ${object}`, code);
}

/** What an errno means, and what to do about it; null for those that go by their names. */
export const meaningOf = (code: string): readonly [what: string, advice: string] | null =>
  Object.hasOwn(MEANINGS, code) ? (MEANINGS[code] ?? null) : null;

function sentence(doing: string, code: string): string {
  const [what, advice] = meaningOf(code) ?? [];
  return what === undefined ? `${doing}: the system says ${code}` : `${doing}: ${what} (${code}); ${advice}`;
}
