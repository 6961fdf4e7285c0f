import type { Devices } from "../../compiler/compile.js";
import type { Policy } from "../../config/policy.js";
import type { Status } from "../backend.js";
import { add, type Counters, NO_TRAFFIC } from "../counters.js";

/** As much of a policy as status tells of it. */
export interface PolicySummary {
  readonly connections: readonly {
    readonly name: string;
    readonly ifId: number;
    readonly link: string | null;
  }[];
  readonly rules: readonly { readonly name: string; readonly to: string }[];
  readonly default: Policy["default"];
}

export function summarize(policy: Policy): PolicySummary {
  return {
    connections: policy.connections.map(({ name, ifId, link }) => ({ name, ifId, link })),
    rules: policy.rules.map(({ name, to }) => ({
      name,
      to: to.kind === "connection" ? to.connection : to.kind,
    })),
    default: policy.default,
  };
}

/** The part of Status that comes from the policy and the classifier's counters. */
export function countedStatus(
  { connections, rules, default: action }: PolicySummary,
  counters: Counters,
): Pick<Status, "connections" | "rules" | "default"> {
  const byRules = new Map<string, typeof NO_TRAFFIC>();
  const matched = rules.map(({ name, to }) => {
    const traffic = counters.rules.get(name) ?? NO_TRAFFIC;
    byRules.set(to, add(byRules.get(to) ?? NO_TRAFFIC, traffic));
    return { name, to, matched: traffic };
  });
  return {
    connections: connections.map(({ name, ifId, link }) => ({
      name,
      ifId,
      link,
      sent: add(counters.subnets.get(name) ?? NO_TRAFFIC, byRules.get(name) ?? NO_TRAFFIC),
      received: counters.received.get(name) ?? NO_TRAFFIC,
      badSource: counters.badSource.get(name) ?? NO_TRAFFIC,
      sa: null,
    })),
    rules: matched,
    default: { action, matched: counters.default },
  };
}

/** Names and ifindexes of the devices that a generation was compiled with. */
export type ResolvedDevices = readonly (readonly [name: string, ifindex: number])[];

/** Notes what `devices` answers, so that a device that comes back under another number can be noticed. */
export function noting({ ifindexOf, ifindexesOfGroup }: Devices): {
  devices: Devices;
  resolved(): ResolvedDevices;
} {
  const answers = new Map<string, number>();
  return {
    resolved: () => [...answers],
    devices: {
      ifindexesOfGroup,
      ifindexOf: (name) => {
        const ifindex = answers.get(name) ?? ifindexOf(name);
        answers.set(name, ifindex);
        return ifindex;
      },
    },
  };
}
