import { closeSync, openSync } from "node:fs";
import koffi from "koffi";

const setns = koffi.load(null).func("int setns(int fd, int nstype)");

const CLONE_NEWNET = 0x40000000; // <sched.h>

/** A libc call failed; `errno` is the system's number. */
export class SocketError extends Error {
  readonly errno: number;

  constructor(what: string) {
    const errno = koffi.errno();
    super(`${what}: errno ${errno}`);
    this.name = "SocketError";
    this.errno = errno;
  }
}

/** @throws SocketError naming what was being done, when a libc call returned a negative number. */
export function checked(result: number, what: string): number {
  if (result < 0) throw new SocketError(what);
  return result;
}

/**
 * Runs `work` with this thread in another network namespace (setns(2)). It must be synchronous. A socket made in it
 * stays in that namespace, and so does a process started in it, however long they live; /proc/sys/net and
 * /proc/thread-self/net are that namespace's.
 */
export function inNamespace<T>(path: string, work: () => T): T {
  const home = openSync("/proc/thread-self/ns/net", "r");
  try {
    const there = openSync(path, "r");
    try {
      checked(setns(there, CLONE_NEWNET), `entering ${path}`);
      try {
        return work();
      } finally {
        checked(setns(home, CLONE_NEWNET), "returning to the own network namespace");
      }
    } finally {
      closeSync(there);
    }
  } finally {
    closeSync(home);
  }
}

/**
 * As inNamespace, for work that is not synchronous: the whole main thread is in the other namespace until it is done,
 * so this is only for a process that does nothing else in the meantime.
 */
export async function withinNamespace<T>(path: string, work: () => Promise<T>): Promise<T> {
  const home = openSync("/proc/thread-self/ns/net", "r");
  try {
    const there = openSync(path, "r");
    try {
      checked(setns(there, CLONE_NEWNET), `entering ${path}`);
    } finally {
      closeSync(there);
    }
    try {
      return await work();
    } finally {
      checked(setns(home, CLONE_NEWNET), "returning to the own network namespace");
    }
  } finally {
    closeSync(home);
  }
}
