import type { Policy } from "../../config/policy.js";
import type { Applied, Status } from "../backend.js";
import type { FlowAnswer } from "../flow-requests.js";
import { guarded, settled, unguarded } from "../guard/guard.js";
import type { FollowingBackend } from "../kernel/follow.js";
import { locked } from "../kernel/locked.js";
import { keptInterfaces } from "../kernel/state-dir.js";
import { probeKernelBpf } from "../kernel-probe.js";
import { guardingUnderlay, pinnedOwners, refreshUnderlay, removeUnderlay } from "../underlay/index.js";
import { applyPolicy, refresh, removeInterface } from "./apply.js";
import { changeFlows } from "./flows.js";
import { readIfIdChanges, readLoaded, readStatus } from "./status.js";

const NAME = "kernel-bpf";
const owner = (name: string) => ({ backend: NAME, name }) as const;
/** An apply that was killed early has left programs on the underlay only. */
const interfaces = () => [...new Set([...keptInterfaces(NAME), ...pinnedOwners(NAME)])];

/**
 * An external xfrm interface whose own tc programs give each packet its xfrm metadata (Linux 6.2). Links, programs and
 * counters are pinned and serve without a process of ours; policies and SAs are those of `ip xfrm` or an IKE daemon.
 */
export const kernelBpfBackend: FollowingBackend = {
  name: NAME,
  probe: probeKernelBpf,
  interfaces,
  apply: (policy: Policy): Promise<Applied> =>
    locked(() =>
      guarded(policy, NAME, () =>
        guardingUnderlay(owner(policy.interface.name), policy, () => applyPolicy(policy)),
      ),
    ),
  loaded: (name): Promise<Policy | null> => ifKept(name, null, () => readLoaded(name)),
  ifIdChanges: (policy) => ifKept(policy.interface.name, [], () => readIfIdChanges(policy)),
  status: (name): Promise<Status | null> => ifKept(name, null, () => readStatus(name)),
  flows: (name, request): Promise<FlowAnswer | null> => ifKept(name, null, () => changeFlows(name, request)),
  remove: (name): Promise<boolean> =>
    ifKept(name, false, () =>
      unguarded(name, async () => {
        const removed = await removeInterface(name);
        const hadUnderlay = await removeUnderlay(owner(name));
        return removed || hadUnderlay;
      }),
    ),
  refresh: (name): Promise<Applied | null> =>
    ifKept(name, null, () =>
      settled(
        NAME,
        async () => {
          const policy = readLoaded(name);
          if (policy) await refreshUnderlay(owner(name), policy);
          return await refresh(name);
        },
        () => readLoaded(name),
      ),
    ),
};

async function ifKept<T>(name: string, otherwise: T, work: () => T | Promise<T>): Promise<T> {
  // The lock makes the folder: not where there is nothing.
  return interfaces().includes(name) ? await locked(work) : otherwise;
}
