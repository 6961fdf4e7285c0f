import { type Counters, NO_TRAFFIC, type Traffic } from "../counters.js";
import type { Device } from "../kernel/device.js";
import { type Applied, type IfIdRecord, NO_IF_IDS } from "../kernel/if-ids.js";
import type { ResolvedDevices } from "../kernel/resolved-devices.js";
import type { PolicySummary } from "../kernel/summary.js";

/**
 * What is kept of an interface. It is written before each step that a later process could not make out by itself, so
 * that an apply may end at any point: which generation runs is not written down, but seen at the hook.
 */
export interface State {
  readonly device: Device;
  /** Counters of the generations that are gone. */
  readonly carried: SavedCounters | null;
  /** Those that are pinned, oldest first: the one that runs, and before or after it one that an apply left behind. */
  readonly generations: readonly GenerationRecord[];
}

export interface GenerationRecord {
  readonly number: number;
  /** ISO 8601. */
  readonly applied: string;
  /** Kernel ids. */
  readonly programs: { readonly egress: number; readonly ingress: number };
  readonly addresses: readonly string[];
  readonly summary: PolicySummary;
  readonly devices: ResolvedDevices;
  /** Left out by a version that kept none. */
  readonly ifIds?: IfIdRecord;
}

/** Whose its if_ids were. */
export function appliedBy({ summary, ifIds = NO_IF_IDS }: GenerationRecord): Applied {
  return { connections: summary.connections, ifIds };
}

type Saved<T> = { readonly [K in keyof T]: T[K] extends ReadonlyMap<string, infer V> ? [string, V][] : T[K] };
/** Counters as JSON: maps as lists of pairs. */
export type SavedCounters = Saved<Counters>;

export function saveCounters(counters: Counters): SavedCounters {
  const { rules, sent, received, badSource, ...rest } = counters;
  return {
    ...rest,
    rules: [...rules],
    sent: [...sent],
    received: [...received],
    badSource: [...badSource],
  };
}

export function restoreCounters(saved: SavedCounters): Counters {
  const map = (pairs: [string, Traffic][]) => new Map(pairs);
  return {
    ...saved,
    rules: map(saved.rules),
    sent: map(saved.sent),
    received: map(saved.received),
    badSource: map(saved.badSource),
    held: saved.held ?? NO_TRAFFIC, // the version that wrote it may have known of no such thing
  };
}
