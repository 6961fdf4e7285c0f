import { availableParallelism } from "node:os";
import type { Scenario } from "../scenario.js";

/** Fewer scenarios than this are not worth another boot. */
const PER_MACHINE = 8;
/** Each machine takes a gigabyte of memory. */
const MOST_MACHINES = 2;

const TYPICAL_MS = 3_200;

const cost = ({ typicalMs }: Scenario) => typicalMs ?? TYPICAL_MS;

/** How many VMs share so many scenarios: emulation takes a CPU of the host for each. */
export function machinesFor(scenarios: number, cpus = availableParallelism()): number {
  return Math.max(1, Math.min(MOST_MACHINES, cpus, Math.floor(scenarios / PER_MACHINE)));
}

/**
 * Divides scenarios among machines: the costliest first, each to the machine that has least to
 * do. A machine keeps the order they came in.
 */
export function divide(scenarios: readonly Scenario[], machines: number): Scenario[][] {
  const shares = Array.from({ length: machines }, () => ({ cost: 0, of: new Set<Scenario>() }));
  for (const scenario of scenarios.toSorted((a, b) => cost(b) - cost(a))) {
    const least = shares.reduce((a, b) => (b.cost < a.cost ? b : a));
    least.cost += cost(scenario);
    least.of.add(scenario);
  }
  return shares.map(({ of }) => scenarios.filter((scenario) => of.has(scenario)));
}
