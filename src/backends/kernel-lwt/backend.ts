import { guarded, settled, unguarded } from "../guard/guard.js";
import type { FollowingBackend } from "../kernel/follow.js";
import { locked } from "../kernel/locked.js";
import { keptInterfaces } from "../kernel/state-dir.js";
import { probeKernelLwt } from "../kernel-probe.js";
import { guardingUnderlay, pinnedOwners, refreshUnderlay, removeUnderlay } from "../underlay/index.js";
import { applyPolicy, readIfIdChanges, readLoaded, readStatus, refresh, removeInterface } from "./apply.js";

const NAME = "kernel-lwt";
const owner = (name: string) => ({ backend: NAME, name }) as const;
/** An apply that was killed early has left programs on the underlay only. */
const interfaces = () => [...new Set([...keptInterfaces(NAME), ...pinnedOwners(NAME)])];

/**
 * An external xfrm interface with routes that give packets their xfrm metadata (Linux 6.1, no BPF). Takes policies of
 * destination prefixes only, lets in what an SA decrypts whatever its source, and counts nothing: the traffic of its
 * status is 0, and `ip -s xfrm state` has the SAs' own counters.
 */
export const kernelLwtBackend: FollowingBackend = {
  name: NAME,
  probe: probeKernelLwt,
  interfaces,
  apply: (policy) =>
    locked(() =>
      guarded(policy, NAME, () =>
        guardingUnderlay(owner(policy.interface.name), policy, () => applyPolicy(policy)),
      ),
    ),
  loaded: (name) => ifKept(name, null, () => readLoaded(name)),
  ifIdChanges: (policy) => ifKept(policy.interface.name, [], () => readIfIdChanges(policy)),
  status: (name) => ifKept(name, null, () => readStatus(name)),
  remove: (name) =>
    ifKept(name, false, () =>
      unguarded(name, async () => {
        const removed = removeInterface(name);
        const hadUnderlay = await removeUnderlay(owner(name));
        return removed || hadUnderlay;
      }),
    ),
  refresh: (name) =>
    ifKept(name, null, () =>
      settled(
        NAME,
        async () => {
          const policy = readLoaded(name);
          if (policy) await refreshUnderlay(owner(name), policy);
          return refresh(name);
        },
        () => readLoaded(name),
      ),
    ),
};

async function ifKept<T>(name: string, otherwise: T, work: () => T | Promise<T>): Promise<T> {
  // The lock makes the folder: not where there is nothing.
  return interfaces().includes(name) ? await locked(work) : otherwise;
}
