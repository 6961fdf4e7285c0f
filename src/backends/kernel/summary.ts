import type { Devices } from "../../compiler/compile.js";
import type { Policy } from "../../config/policy.js";
import { connectionOf, formatTarget } from "../../config/target.js";
import type { Status } from "../backend.js";
import { type Counters, NO_TRAFFIC } from "../counters.js";

/** As much of a policy as status tells of it. */
export interface PolicySummary {
  readonly connections: readonly {
    readonly name: string;
    readonly ifId: number;
    readonly link: string | null;
  }[];
  readonly rules: readonly {
    readonly name: string;
    readonly to: string;
    readonly connection: string | null;
  }[];
  readonly default: Policy["default"];
}

export function summarize(policy: Policy): PolicySummary {
  return {
    connections: policy.connections.map(({ name, ifId, link }) => ({ name, ifId, link })),
    rules: policy.rules.map(({ name, to }) => ({ name, to: formatTarget(to), connection: connectionOf(to) })),
    default: policy.default,
  };
}

/** The part of Status that comes from the policy and the classifier's counters. */
export function countedStatus(
  { connections, rules, default: action }: PolicySummary,
  counters: Counters,
): Pick<Status, "connections" | "rules" | "default"> {
  return {
    connections: connections.map(({ name, ifId, link }) => ({
      name,
      ifId,
      link,
      sent: counters.sent.get(name) ?? NO_TRAFFIC,
      received: counters.received.get(name) ?? NO_TRAFFIC,
      badSource: counters.badSource.get(name) ?? NO_TRAFFIC,
      sa: null,
    })),
    rules: rules.map(({ name, to }) => ({ name, to, matched: counters.rules.get(name) ?? NO_TRAFFIC })),
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
