import type { Change } from "../../compiler/plan.js";
import type { Policy } from "../../config/policy.js";
import type { Status } from "../backend.js";
import { dataPathDrops } from "../kernel/data-path.js";
import { ifIdChanges } from "../kernel/if-id-text.js";
import { heldIfIds, planIfIds } from "../kernel/if-ids.js";
import { installedSas } from "../kernel/installed-sas.js";
import { StateDir } from "../kernel/state-dir.js";
import { countedStatus } from "../kernel/summary.js";
import { underlayDrops, underlayStatus } from "../underlay/index.js";
import { lastApplied, readInstalled, sumCounters } from "./installed.js";
import { appliedBy, type State } from "./state.js";

/** See Backend.status. */
export function readStatus(name: string): Status | null {
  const installed = readInstalled(name, new StateDir<State>(name, "kernel-bpf"));
  if (installed === null) return null;
  const { state, ifindex, pins, running } = installed;
  if (ifindex === null || pins === null || running === null) return null;
  const counters = sumCounters(state, pins, state.generations);
  if (counters === null) return null;
  const underlay = underlayStatus({ backend: "kernel-bpf", name });
  return {
    backend: "kernel-bpf",
    interface: name,
    ifindex,
    generation: running.number,
    applied: running.applied,
    ...countedStatus(running.summary, counters),
    held: heldIfIds(appliedBy(running)),
    underlay,
    drops: {
      held: counters.held.packets,
      malformed: counters.malformed.packets,
      unknownIfId: counters.unknownIfId.packets,
      ...underlayDrops(underlay),
      ...dataPathDrops(name),
    },
  };
}

/** See Backend.ifIdChanges. */
export function readIfIdChanges({ interface: { name }, connections }: Policy): Change[] {
  const installed = readInstalled(name, new StateDir<State>(name, "kernel-bpf"));
  return ifIdChanges(planIfIds(connections, lastApplied(installed), installedSas));
}

/** See Backend.loaded. */
export function readLoaded(name: string): Policy | null {
  const kept = new StateDir<State>(name, "kernel-bpf");
  const running = readInstalled(name, kept)?.running;
  return running ? kept.readPolicy(running.number) : null;
}
