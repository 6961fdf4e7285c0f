import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { deferred } from "../../sys/deferred.js";
import type { Applied, Backend } from "../backend.js";
import { BackendError } from "../errors.js";

/** A backend whose policies name devices by number, and can be given the numbers anew. */
export interface FollowingBackend extends Backend {
  /**
   * Applies the policy that runs anew where a device that it names has come back under another ifindex. A device that
   * is gone keeps its old number until it is back; meanwhile the kernel routes the outer packets as without a link.
   *
   * @returns null where nothing had changed
   */
  refresh(interfaceName: string): Promise<Applied | null>;
}

export interface FollowOptions {
  /** Ends following. */
  readonly signal: AbortSignal;
  /** Called once, when every change from now on is noticed. */
  readonly onReady?: () => void;
  readonly onRefresh?: (applied: Applied) => void;
}

/**
 * Refreshes an interface whenever a network device or a route of the calling thread's namespace changes, until `signal` says to
 * stop. At most one refresh runs at a time; changes in the meantime are answered by one more.
 *
 * @throws BackendError where `ip monitor` ends by itself; what refresh() throws
 */
export async function follow(
  backend: FollowingBackend,
  interfaceName: string,
  { signal, onReady, onRefresh }: FollowOptions,
): Promise<void> {
  const monitor = spawn("ip", ["monitor", "link", "route"], { stdio: ["ignore", "pipe", "inherit"] });
  let over = false;
  const ended = once(monitor, "exit").then(() => {
    over = true;
  });
  const stop = () => monitor.kill();
  signal.addEventListener("abort", stop);
  if (signal.aborted) stop();
  try {
    let changed = deferred<void>();
    monitor.stdout.on("data", () => changed.resolve());
    while (!over && !isSubscribed(monitor.pid)) await delay(POLL_MS);
    for (let first = true; !over; first = false) {
      changed = deferred();
      const applied = await backend.refresh(interfaceName);
      if (applied) onRefresh?.(applied);
      if (first) onReady?.();
      await Promise.race([changed.promise, ended]);
    }
    if (!signal.aborted) throw new BackendError("`ip monitor` ended by itself; start again");
  } finally {
    signal.removeEventListener("abort", stop);
    stop();
    await ended;
  }
}

const POLL_MS = 10;

/** Whether a process has a routing netlink socket that listens: /proc/net/netlink has protocol, port and groups. */
function isSubscribed(pid: number | undefined): boolean {
  return readFileSync("/proc/thread-self/net/netlink", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .some(
      ([, protocol, port, groups = "0"]) => protocol === "0" && port === `${pid}` && !/^0*$/.test(groups),
    );
}
