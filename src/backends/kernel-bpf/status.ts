import type { Policy } from "../../config/policy.js";
import type { Status } from "../backend.js";
import { dataPathDrops } from "../kernel/data-path.js";
import { StateDir } from "../kernel/state-dir.js";
import { countedStatus } from "../kernel/summary.js";
import { readInstalled, sumCounters } from "./installed.js";
import type { State } from "./state.js";

/** See Backend.status. */
export function readStatus(name: string): Status | null {
  const installed = readInstalled(name, new StateDir<State>(name, "kernel-bpf"));
  if (installed === null) return null;
  const { state, ifindex, pins, running } = installed;
  if (ifindex === null || pins === null || running === null) return null;
  const counters = sumCounters(state, pins, state.generations);
  if (counters === null) return null;
  return {
    backend: "kernel-bpf",
    interface: name,
    ifindex,
    generation: running.number,
    applied: running.applied,
    ...countedStatus(running.summary, counters),
    drops: {
      malformed: counters.malformed.packets,
      unknownIfId: counters.unknownIfId.packets,
      ...dataPathDrops(name),
    },
  };
}

/** See Backend.loaded. */
export function readLoaded(name: string): Policy | null {
  const kept = new StateDir<State>(name, "kernel-bpf");
  const running = readInstalled(name, kept)?.running;
  return running ? kept.readPolicy(running.number) : null;
}
