import { closeSync, openSync } from "node:fs";
import { EINTR } from "./errno.js";
import { flock, lastErrno } from "./libc.js";

/** sys/file.h */
const LOCK_EX = 2;

/**
 * Runs `work` while no other thread of this process is in here. The lock is flock(2) on a file that every process
 * has of its own: Node closes the files of a worker thread that is terminated, so that it cannot keep the lock.
 */
export function withProcessLock<T>(work: () => T): T {
  const fd = openSync("/proc/self/status", "r");
  try {
    while (flock(fd, LOCK_EX) < 0) {
      if (lastErrno() !== EINTR) throw new Error(`flock: errno ${lastErrno()}`);
    }
    return work();
  } finally {
    closeSync(fd);
  }
}
