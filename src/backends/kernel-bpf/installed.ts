import { existsSync } from "node:fs";
import { BpfMap } from "libbpf-ts";
import { addCounters, type Counters, readCounters } from "../counters.js";
import { type Found, findDevice } from "../kernel/device.js";
import type { Applied } from "../kernel/if-ids.js";
import type { StateDir } from "../kernel/state-dir.js";
import { programAt } from "./hooks.js";
import { PinDir } from "./pins.js";
import { appliedBy, type GenerationRecord, restoreCounters, type State } from "./state.js";

/** What is kept of an interface, and what of it is true. */
export interface Installed {
  readonly state: State;
  /** Null where the device is gone, or was replaced by another one. */
  readonly ifindex: number | null;
  readonly pins: PinDir | null;
  /** The generation at the egress hook; null where there is none. */
  readonly running: GenerationRecord | null;
}

/** Compares what is kept with the kernel; changes nothing. */
export function readInstalled(
  name: string,
  kept: StateDir<State>,
  found: Found | null = findDevice(name),
): Installed | null {
  const state = kept.read();
  if (state === null) return null;
  const now = found?.external ? found.ifindex : null;
  const { ifindex } = state.device;
  if (now === null || (ifindex !== null && ifindex !== now))
    return { state, ifindex: null, pins: ifindex === null ? null : new PinDir(ifindex), running: null };
  const pins = new PinDir(now);
  const program = programAt(now, pins, "egress");
  const running = state.generations.find(({ programs }) => programs.egress === program) ?? null;
  return { state, ifindex: now, pins, running };
}

/** Whose if_ids were: by what runs or, where its device is gone, by what ran last, as its SAs may be there still. */
export function lastApplied(installed: Installed | null): Applied | null {
  const record = installed?.running ?? installed?.state.generations.at(-1);
  return record ? appliedBy(record) : null;
}

/** Counters of some generations and of all that were before. */
export function sumCounters(
  state: State,
  pins: PinDir,
  generations: readonly GenerationRecord[],
): Counters | null {
  const carried = state.carried === null ? null : restoreCounters(state.carried);
  return generations
    .filter(({ number }) => existsSync(pins.generation(number, "rx_counters")))
    .map((record) => generationCounters(record, pins))
    .reduce((sum, counters) => (sum === null ? counters : addCounters(sum, counters)), carried);
}

function generationCounters({ number, summary }: GenerationRecord, pins: PinDir): Counters {
  const names = (of: readonly { name: string }[]) => of.map(({ name }) => name);
  using tx = BpfMap.openPinned(pins.generation(number, "tx_counters"));
  using rx = BpfMap.openPinned(pins.generation(number, "rx_counters"));
  const generation = { rules: names(summary.rules), connections: names(summary.connections) };
  const leads = summary.rules.map(({ connection }) => connection);
  return readCounters(generation, leads, tx, rx);
}
