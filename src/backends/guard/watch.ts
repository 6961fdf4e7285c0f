import type { Policy } from "../../config/policy.js";
import { watchRoutes } from "../../netlink/watch.js";
import { locked } from "../kernel/locked.js";
import { settleGuard } from "./guard.js";

/**
 * Keeps the guard of a running interface as the routes are: its user may route a broader prefix into it after the apply, or
 * its peers' gateways may change.
 *
 * @param policy gives the one that runs, null where there is none
 * @returns what ends it; a change that waits for the lock is not made any more
 * @throws SystemError
 */
export function watchGuard(policy: () => Policy | null): () => void {
  let over = false;
  let changed = false;
  let isSettling = false;
  const settle = async () => {
    isSettling = true;
    while (changed && !over) {
      changed = false;
      await locked(() => {
        const running = over ? null : policy();
        if (running !== null) settleGuard(running, "userspace");
      }).catch(() => {}); // the next change, or the next apply, tries it again
    }
    isSettling = false;
  };
  const end = watchRoutes(() => {
    changed = true;
    if (policy() !== null && !isSettling) void settle();
  });
  return () => {
    over = true;
    end();
  };
}
