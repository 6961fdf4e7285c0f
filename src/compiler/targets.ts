import type { GroupMember, Policy, Rule } from "../config/policy.js";
import type { Devices } from "./alternatives.js";
import { BUCKETS, groupBuckets } from "./flow-hash.js";
import { DSCP_KEEP, EntrySize, TARGET_GROUP, UsedAction, Verdict } from "./layout.js";
import type { Table } from "./table.js";

const TARGET_WORDS = EntrySize.targets / 4;

/** Fills the tables of what rules do. @returns bits of UsedAction */
export function buildTargets(policy: Policy, devices: Devices, targets: Table, groups: Table): number {
  const byName = new Map(policy.connections.map(({ name }, index) => [name, index]));
  const connection = (name: string) => byName.get(name) as number; // the policy was checked: it is there
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
  targets.reserve(policy.rules.length);
  policy.rules.forEach(({ to, set }: Rule, index) => {
    let verdict: number = TARGET_GROUP;
    let which = 0;
    let link = 0;
    if (to.kind === "group") {
      used |= UsedAction.group;
      which = group(to.members);
    } else if (to.kind === "connection") {
      verdict = Verdict.steer;
      which = connection(to.connection);
      if (to.link !== null) {
        used |= UsedAction.link;
        link = devices.ifindexOf(to.link);
      }
    } else {
      verdict = Verdict[to.kind];
    }
    const { mark, dscp } = set;
    if (mark !== null) used |= UsedAction.mark;
    if (dscp !== null) used |= UsedAction.dscp;
    const { words } = targets;
    const at = index * TARGET_WORDS;
    words[at] = verdict;
    words[at + 1] = which;
    words[at + 2] = link;
    words[at + 3] = mark ? (mark.value & mark.mask) >>> 0 : 0;
    words[at + 4] = mark?.mask ?? 0;
    words[at + 5] = dscp ?? DSCP_KEEP;
  });
  return used;
}
