import type { BackendName, Policy } from "../config/policy.js";
import type { Backend, Probe } from "./backend.js";
import { kernelBpfBackend } from "./kernel-bpf/backend.js";
import { kernelLwtBackend } from "./kernel-lwt/backend.js";
import { inexpressible } from "./kernel-lwt/plan.js";
import { userspaceBackend } from "./userspace/backend.js";

/** Best first. */
const BACKENDS: readonly Backend[] = [kernelBpfBackend, kernelLwtBackend, userspaceBackend];

export interface Candidate extends Probe {
  readonly name: BackendName;
}

export interface Choice {
  /** Null where the one that was asked for, or with "auto" any, cannot serve. */
  readonly chosen: Backend | null;
  readonly candidates: readonly Candidate[];
}

/**
 * Probes the backends and picks the best that can serve, or the one asked for. With "auto" and a policy, one that the
 * policy is too much for cannot serve; asked for by name, it is chosen, and its apply says what is wrong.
 * @param backends best first
 */
export function chooseBackend(
  wanted: "auto" | BackendName,
  policy?: Policy,
  backends: readonly Backend[] = BACKENDS,
): Choice {
  const probed = backends
    .filter(({ name }) => wanted === "auto" || name === wanted)
    .map((backend) => {
      const { name } = backend;
      const probe = backend.probe();
      const tooMuch = policy && wanted === "auto" && probe.available ? reasonAgainst(name, policy) : null;
      return {
        backend,
        candidate: { name, ...(tooMuch === null ? probe : { available: false, reason: tooMuch }) },
      };
    });
  return {
    chosen: probed.find(({ candidate }) => candidate.available)?.backend ?? null,
    candidates: probed.map(({ candidate }) => candidate),
  };
}

/** Why a backend that this kernel has would not do what the policy says. */
function reasonAgainst(name: BackendName, policy: Policy): string | null {
  const keyed = policy.connections.find(({ esp }) => esp !== null);
  if (keyed && name !== "userspace")
    return `connection ${keyed.name} has keys of its own (esp), which only the userspace backend uses`;
  const [first, ...more] = name === "kernel-lwt" ? inexpressible(policy) : [];
  if (!first) return null;
  return `line ${first.line}: ${first.message}${more.length > 0 ? `, and ${more.length} more` : ""}`;
}

/** All backends, for finding what is set up. */
export function allBackends(): readonly Backend[] {
  return BACKENDS;
}
