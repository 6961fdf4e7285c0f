import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import koffi from "koffi";
import { clearRuntimeDir } from "../../src/sys/runtime-dir.js";

const libc = koffi.load("libc.so.6");
const setns = libc.func("int setns(int fd, int type)") as unknown as (fd: number, type: number) => number;
const nameToIndex = libc.func("unsigned int if_nametoindex(const char *name)") as unknown as (
  name: string,
) => number;

/** linux/sched.h */
const CLONE_NEWNET = 0x40000000;

/** Runs a program and gives its standard output; its messages become part of the error. */
function run(program: string, args: readonly string[]): string {
  return execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** Moves the calling thread into the namespace of an open file. */
function enter(fd: number): void {
  if (setns(fd, CLONE_NEWNET) !== 0) throw new Error(`setns: errno ${koffi.errno()}`);
}

function withOpen<T>(path: string, work: (fd: number) => T): T {
  const fd = openSync(path, "r");
  try {
    return work(fd);
  } finally {
    closeSync(fd);
  }
}

/** A network namespace that exists while a test runs. */
export class Netns {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  /**
   * Runs `work` with the calling thread in this namespace. It has to be synchronous: an await would let other
   * tests of the thread run in here.
   */
  run<T>(work: () => T): T {
    return withOpen("/proc/thread-self/ns/net", (home) =>
      withOpen(`/run/netns/${this.name}`, (there) => {
        enter(there);
        try {
          return work();
        } finally {
          enter(home);
        }
      }),
    );
  }

  /** `ip` in this namespace, arguments separated by blanks. */
  ip(args: string): string {
    return run("ip", ["-n", this.name, ...args.split(" ")]);
  }

  /** Any program in this namespace. @throws where it does not exit with 0 */
  exec(program: string, ...args: string[]): string {
    return run("ip", ["netns", "exec", this.name, program, ...args]);
  }

  ifindex(device: string): number {
    const index = this.run(() => nameToIndex(device));
    if (index === 0) throw new Error(`no device ${device} in namespace ${this.name}`);
    return index;
  }
}

/** Gives `body` a new namespace with its loopback up, and removes it with all devices in it, also after a failure. */
export async function withNetns<T>(body: (ns: Netns) => T | Promise<T>): Promise<T> {
  const ns = new Netns(`test-${process.pid}-${randomBytes(4).toString("hex")}`);
  run("ip", ["netns", "add", ns.name]);
  try {
    ns.ip("link set lo up");
    return await body(ns);
  } finally {
    clearRuntimeDir(ns.name); // a killed service leaves its socket
    run("ip", ["netns", "del", ns.name]);
  }
}
