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
  const twice = new Tally<Owner>();
  for (const { name, subnets, subnetLocations } of connections) {
    for (const [index, prefix] of subnets.entries()) {
      const owner = { connection: name, prefix, location: subnetLocations[index] as Location };
      const list = owners.get(prefix);
      if (list === undefined) owners.set(prefix, [owner]);
      else if (!list.some(({ connection }) => connection === name)) list.push(owner);
      else twice.add(name, owner);
    }
  }
  for (const { first, more } of twice.all())
    report.warning(
      first.location,
      `${formatPrefix(first.prefix)} is there twice in ${first.connection}${more === 0 ? "" : `, and so are ${more} more`}`,
      "keep one",
    );
  const decides = hasProgram ? () => true : decidingRules(rules);
  const shared = new Tally<Shared>();
  const nested = new Tally<Nested>();
  const done = new Set<readonly Owner[]>();
  for (const { subnets } of connections) {
    for (const subnet of subnets) {
      const sharers = owners.get(subnet);
      if (sharers === undefined || done.has(sharers)) continue;
      done.add(sharers);
      if (sharers.length > 1) findShared(sharers, decides, shared);
      findNested(sharers, owners, decides, nested);
    }
  }
  for (const { first, more } of shared.all()) reportShared(first, more, report);
  for (const { first, more } of nested.all()) reportNested(first, more, report);
}

/** Thousands of subnets of two connections may have the same to be said of them: it is said of the first, with their number. */
class Tally<T> {
  readonly #found = new Map<string, { first: T; more: number }>();

  add(about: string, item: T): void {
    const known = this.#found.get(about);
    if (known === undefined) this.#found.set(about, { first: item, more: 0 });
    else known.more++;
  }

  all(): Iterable<{ readonly first: T; readonly more: number }> {
    return this.#found.values();
  }
}

interface Shared extends Owner {
  readonly others: string;
}

interface Nested extends Owner {
  readonly around: Owner;
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

function findShared(sharers: readonly Owner[], decides: Decides, found: Tally<Shared>): void {
  for (const owner of sharers) {
    const { connection, prefix } = owner;
    if (decides(connection, prefix)) continue;
    const names = sharers.map((sharer) => sharer.connection).filter((name) => name !== connection);
    const others = names.join(" and ");
    // A rule's dst is of one family.
    found.add(`${prefix.family} ${connection} ${others}`, { ...owner, others });
  }
}

function reportShared({ connection, prefix, location, others }: Shared, more: number, report: Report): void {
  const text = formatPrefix(prefix);
  const what =
    more === 0
      ? `${text} is a subnet of ${connection} and of ${others}, and no rule sends any of it to ${connection}`
      : `${text} and ${more} more are subnets of ${connection} and of ${others}, and no rule sends any of them to ${connection}`;
  report.error(
    location,
    what,
    `add a rule with match: {dst: ${quoted(prefix)}, ...} and to: ${connection}, or take ${more === 0 ? text : "them"} out of ${connection}`,
  );
}

function findNested(
  inner: readonly Owner[],
  owners: PrefixMap<Owner[]>,
  decides: Decides,
  found: Tally<Nested>,
): void {
  for (const owner of inner) {
    const { connection, prefix } = owner;
    for (const outer of owners.covering(prefix)) {
      const [around] = outer;
      if (outer === inner || around === undefined || outer.some((each) => each.connection === connection))
        continue;
      if (decides(connection, prefix) && outer.every((each) => decides(each.connection, prefix))) break;
      found.add(`${connection} ${around.connection}`, { ...owner, around });
      break;
    }
  }
}

function reportNested({ connection, prefix, location, around }: Nested, more: number, report: Report): void {
  const text = formatPrefix(prefix);
  const place = seenFrom(location, around.location);
  const what =
    more === 0
      ? `${text} of ${connection} lies in ${formatPrefix(around.prefix)} of ${around.connection} (${place})`
      : `${text} and ${more} more subnets of ${connection} lie in those of ${around.connection} (${text} in ${formatPrefix(around.prefix)}, ${place})`;
  report.warning(
    location,
    what,
    `the longer prefix decides: packets to ${more === 0 ? "it" : "them"} go to ${connection}; add rules with to: ${connection} and to: ${around.connection} if others should decide`,
  );
}

function quoted(prefix: Prefix): string {
  return prefix.family === 6 ? `"${formatPrefix(prefix)}"` : formatPrefix(prefix);
}
