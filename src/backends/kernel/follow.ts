import { watchNetwork } from "../../netlink/monitor.js";
import { deferred } from "../../sys/deferred.js";
import type { Applied, Backend } from "../backend.js";

/** A backend whose policies name devices by number, and can be given the numbers anew. */
export interface FollowingBackend extends Backend {
  /**
   * Applies the policy that runs anew where a device that it names has come back under another ifindex. A device that
   * is gone keeps its old number until it is back; meanwhile the kernel routes the outer packets as without a link. The
   * programs that refuse plaintext from the underlay follow routes and SAs.
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
 * Refreshes an interface whenever a network device, address, route or IPsec policy of the calling thread's namespace changes,
 * until `signal` says to stop. At most one refresh runs at a time; changes in the meantime are answered by one more.
 *
 * @throws what refresh() throws; SystemError where changes cannot be followed
 */
export async function follow(
  backend: FollowingBackend,
  interfaceName: string,
  { signal, onReady, onRefresh }: FollowOptions,
): Promise<void> {
  const over = deferred<void>();
  const stop = () => over.resolve();
  signal.addEventListener("abort", stop);
  if (signal.aborted) stop();
  const refresh = async () => {
    const applied = await backend.refresh(interfaceName);
    if (applied) onRefresh?.(applied);
  };
  const watch = watchNetwork(refresh, over.reject, { xfrm: true });
  try {
    await refresh(); // what changed before
    onReady?.();
    await over.promise;
  } finally {
    signal.removeEventListener("abort", stop);
    await watch.stop();
  }
}
