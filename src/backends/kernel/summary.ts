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
