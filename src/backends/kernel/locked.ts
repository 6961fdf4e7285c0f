import { withLock } from "../../sys/lock.js";
import { runtimeDir, tidyRuntimeDir } from "../../sys/runtime-dir.js";

/** Runs `work` while no other process changes an interface of this network namespace. */
export function locked<T>(work: () => T | Promise<T>): Promise<T> {
  return withLock(runtimeDir(), async () => {
    try {
      return await work();
    } finally {
      tidyRuntimeDir(); // under the lock: who waits for it sees that the folder is another one
    }
  });
}
