import type { BackendName } from "../config/policy.js";
import type { Backend, Probe } from "./backend.js";
import { userspaceBackend } from "./userspace/backend.js";

/** Best first. */
const BACKENDS: readonly Backend[] = [userspaceBackend];

export interface Candidate extends Probe {
  readonly name: BackendName;
}

export interface Choice {
  /** Null where the one that was asked for, or with "auto" any, cannot serve. */
  readonly chosen: Backend | null;
  readonly candidates: readonly Candidate[];
}

/** Probes the backends and picks the best that can serve, or the one asked for. */
export function chooseBackend(wanted: "auto" | BackendName): Choice {
  const probed = BACKENDS.filter(({ name }) => wanted === "auto" || name === wanted).map((backend) => ({
    backend,
    candidate: { name: backend.name, ...backend.probe() },
  }));
  return {
    chosen: probed.find(({ candidate }) => candidate.available)?.backend ?? null,
    candidates: probed.map(({ candidate }) => candidate),
  };
}

/** All backends, for finding what is set up. */
export function allBackends(): readonly Backend[] {
  return BACKENDS;
}
