import { formatPrefix, overlaps } from "./address.js";
import type { ReadConnection } from "./connections.js";
import { type Report, seenFrom } from "./diagnostics.js";
import { sidePrefixes } from "./families.js";
import type { Location, Prefix } from "./policy.js";
import { PrefixMap } from "./prefix-map.js";
import type { ReadRule } from "./rules.js";
import { targetConnections } from "./target.js";

interface Owner {
  readonly connection: string;
  readonly prefix: Prefix;
  readonly location: Location;
}

/**
 * Checks the subnets of different connections against each other. One prefix in several connections needs, for each
 * of them, a rule that sends packets to it there; then the prefix decides nothing on transmit and only admits sources
 * on receive. A prefix inside another connection's is decided by length, which is worth a warning unless rules decide.
 * A program may decide about any packet.
 */
export function checkOverlaps(
  connections: readonly ReadConnection[],
  rules: readonly ReadRule[],
  report: Report,
  hasProgram = false,
): void {
  const owners = new PrefixMap<Owner[]>();
  for (const { name, subnets, subnetLocations } of connections) {
    for (const [index, prefix] of subnets.entries()) {
      const owner = { connection: name, prefix, location: subnetLocations[index] as Location };
      const list = owners.get(prefix);
      if (list === undefined) owners.set(prefix, [owner]);
      else if (!list.some(({ connection }) => connection === name)) list.push(owner);
      else report.warning(owner.location, `${formatPrefix(prefix)} is there twice in ${name}`, "keep one");
    }
  }
  const decides = hasProgram ? () => true : decidingRules(rules);
  const done = new Set<readonly Owner[]>();
  for (const { subnets } of connections) {
    for (const subnet of subnets) {
      const sharers = owners.get(subnet);
      if (sharers === undefined || done.has(sharers)) continue;
      done.add(sharers);
      if (sharers.length > 1) checkShared(sharers, decides, report);
      checkNested(sharers, owners, decides, report);
    }
  }
}

type Decides = (connection: string, prefix: Prefix) => boolean;

/** Whether a rule can send packets to a prefix into a connection. */
function decidingRules(rules: readonly ReadRule[]): Decides {
  const byTarget = new Map<string, Prefix[]>();
  for (const { match, to } of rules) {
    for (const connection of targetConnections(to)) {
      const list = byTarget.get(connection) ?? [];
      byTarget.set(connection, list);
      for (const prefix of sidePrefixes(match, "dst")) list.push(prefix);
    }
  }
  return (connection, prefix) => (byTarget.get(connection) ?? []).some((dst) => overlaps(dst, prefix));
}

function checkShared(sharers: readonly Owner[], decides: Decides, report: Report): void {
  for (const { connection, prefix, location } of sharers) {
    if (decides(connection, prefix)) continue;
    const text = formatPrefix(prefix);
    const others = sharers.map((sharer) => sharer.connection).filter((name) => name !== connection);
    report.error(
      location,
      `${text} is a subnet of ${connection} and of ${others.join(" and ")}, and no rule sends any of it to ${connection}`,
      `add a rule with match: {dst: ${quoted(prefix)}, ...} and to: ${connection}, or take ${text} out of ${connection}`,
    );
  }
}

function checkNested(
  inner: readonly Owner[],
  owners: PrefixMap<Owner[]>,
  decides: Decides,
  report: Report,
): void {
  for (const { connection, prefix, location } of inner) {
    for (const outer of owners.covering(prefix)) {
      const [around] = outer;
      if (outer === inner || around === undefined || outer.some((owner) => owner.connection === connection))
        continue;
      if (decides(connection, prefix) && outer.every((owner) => decides(owner.connection, prefix))) break;
      report.warning(
        location,
        `${formatPrefix(prefix)} of ${connection} lies in ${formatPrefix(around.prefix)} of ${around.connection} (${seenFrom(location, around.location)})`,
        `the longer prefix decides: packets to it go to ${connection}; add rules with to: ${connection} and to: ${around.connection} if others should decide`,
      );
      break;
    }
  }
}

function quoted(prefix: Prefix): string {
  return prefix.family === 6 ? `"${formatPrefix(prefix)}"` : formatPrefix(prefix);
}
