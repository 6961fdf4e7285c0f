import { Action, Target, TargetVerdict, XfrmSteerVerdict } from "../bpf/tables.bpf.js";
import type { GroupMember, Policy, Rule } from "../config/policy.js";
import { type Devices, locating } from "./alternatives.js";
import { Distinct } from "./distinct.js";
import { BUCKETS, groupBuckets } from "./flow-hash.js";
import { memberWords, type Table } from "./table.js";

const TARGET = memberWords(Target);

/** What the program returns for each end of a packet that is not a group's. */
export const VERDICT = {
  drop: XfrmSteerVerdict.XFRM_STEER_DROP,
  connection: XfrmSteerVerdict.XFRM_STEER_STEER,
  pass: XfrmSteerVerdict.XFRM_STEER_PASS,
} as const;

type ActionTable = "rule_targets" | "targets" | "groups";

/**
 * Fills the tables of what rules do: each rule's target, one for all rules that do the same.
 *
 * @returns bits of enum action in bpf/tables.h
 */
export function buildTargets(policy: Policy, devices: Devices, tables: Record<ActionTable, Table>): number {
  const byName = new Map(policy.connections.map(({ name }, index) => [name, index]));
  const connection = (name: string) => byName.get(name) as number; // the policy was checked: it is there
  const { groups } = tables;
  const targets = new Distinct(tables.targets);
  const known = new Map<string, number>();
  const group = (members: readonly GroupMember[]) => {
    const key = JSON.stringify(members);
    const start = known.get(key) ?? groups.reserve(BUCKETS);
    if (!known.has(key)) {
      const buckets = groupBuckets(members);
      buckets.forEach((member, i) => {
        groups.set(start + i, connection((members[member] as GroupMember).connection));
      });
      known.set(key, start);
    }
    return start;
  };
  let used = 0;
  tables.rule_targets.reserve(policy.rules.length);
  policy.rules.forEach((rule: Rule, index) => {
    const { to, set } = rule;
    let verdict: number = TargetVerdict.TARGET_GROUP;
    let which = 0;
    let link = 0;
    if (to.kind === "group") {
      used |= Action.ACTION_GROUP;
      which = group(to.members);
    } else if (to.kind === "connection") {
      verdict = VERDICT.connection;
      which = connection(to.connection);
      if (to.link !== null) {
        used |= Action.ACTION_LINK;
        link = locating(devices, "rule", rule).ifindexOf(to.link);
      }
    } else {
      verdict = VERDICT[to.kind];
    }
    const { mark, dscp } = set;
    if (mark !== null) used |= Action.ACTION_MARK;
    if (dscp !== null) used |= Action.ACTION_DSCP;
    const words = new Uint32Array(TARGET.size);
    words[TARGET.verdict] = verdict;
    words[TARGET.connection] = which;
    words[TARGET.link] = link;
    words[TARGET.mark] = mark ? (mark.value & mark.mask) >>> 0 : 0;
    words[TARGET.mark_mask] = mark?.mask ?? 0;
    words[TARGET.dscp] = dscp ?? TargetVerdict.DSCP_KEEP;
    tables.rule_targets.set(index, targets.numberOf(words));
  });
  return used;
}
