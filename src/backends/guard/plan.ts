import type { PrefixColumns } from "../../compiler/prefix-set.js";
import { covers, formatPrefix } from "../../config/address.js";
import type { Family, Prefix } from "../../config/policy.js";
import { aggregate, prefixesOf, prefixSet, within } from "./aggregate.js";
import { FOLLOWED_MAX, GUARDS_MAX, type GuardKind } from "./constants.js";
import { routable } from "./owned.js";

/** What one routing table has for one family, apart from what the guard itself made there. */
export interface TableState {
  /** Prefixes of the routes into the interface that others made. */
  readonly into: readonly Prefix[];
  /** Prefixes of the routes into the interface that come and go with the policy. */
  readonly ours: readonly Prefix[];
  /** Prefixes of other routes, but for the default one. */
  readonly elsewhere: readonly Prefix[];
  /** Prefixes of the guards that are there for routes that were into the interface once. */
  readonly followed: readonly Prefix[];
  /** The table main, whose default route is the machine's: a guard of that one would do nothing. */
  readonly main: boolean;
}

export interface GuardPrefixes {
  /** By the text of the prefix. */
  readonly guards: ReadonlyMap<string, GuardKind>;
  /** Prefixes that aggregation leaves of what is owned, where they are too many; else null. */
  readonly tooMany: number | null;
}

/**
 * Where guards stand in a table. None is inside of the prefix of a route into the interface, which it would take packets
 * from; so the guard of an owned prefix stands at the broader route's. A guard of a route that was into the interface and
 * is not there now stays: the interface may have been down, or made again.
 */
export function guardPrefixes(owned: PrefixColumns, table: TableState): GuardPrefixes {
  const family: Family = owned.wordsEach === 1 ? 4 : 6;
  const mayBeDefault = ({ length }: Prefix) => length > 0 || !table.main;
  const aggregated = ownedRoutes(owned, table.elsewhere);
  const tooMany = "tooMany" in aggregated ? aggregated.tooMany : null;
  const own = [
    ...("prefixes" in aggregated ? aggregated.prefixes : []),
    ...table.ours.filter(mayBeDefault).flatMap(routable),
  ];
  const followed = [...table.into, ...table.followed].filter(mayBeDefault).flatMap(routable);
  const all = prefixSet(family, [...own, ...followed]);
  const ownTexts = new Set(own.map(formatPrefix));
  const prefixes = refined(aggregate(all, 0), all, table.elsewhere).slice(0, FOLLOWED_MAX);
  const guards = prefixes.map((prefix): [string, GuardKind] => {
    const text = formatPrefix(prefix);
    return [text, ownTexts.has(text) ? "owned" : "followed"];
  });
  return { guards: new Map(guards), tooMany };
}

/** Prefixes for routes of all that is owned, but for the default one. */
export function ownedRoutes(
  owned: PrefixColumns,
  elsewhere: readonly Prefix[],
): { readonly prefixes: readonly Prefix[] } | { readonly tooMany: number } {
  // The default route sorts first.
  const hasDefault = owned.count > 0 && owned.length[0] === 0;
  const rest = hasDefault ? withoutFirst(owned) : owned;
  const aggregated = aggregate(rest);
  if (aggregated.count > GUARDS_MAX) return { tooMany: aggregated.count };
  const prefixes = refined(aggregated, rest, elsewhere).flatMap(routable);
  return prefixes.length > GUARDS_MAX ? { tooMany: prefixes.length } : { prefixes };
}

export function ownsDefault({ count, length }: PrefixColumns): boolean {
  return count > 0 && length[0] === 0;
}

function withoutFirst(columns: PrefixColumns): PrefixColumns {
  return {
    ...columns,
    count: columns.count - 1,
    words: columns.words.subarray(columns.wordsEach),
    length: columns.length.subarray(1),
  };
}

/**
 * Aggregated prefixes, and those that aggregation may not swallow: where somebody else's route lies between an owned prefix
 * and the aggregated one, the longest prefix would be that route's.
 */
function refined(aggregated: PrefixColumns, all: PrefixColumns, elsewhere: readonly Prefix[]): Prefix[] {
  const family: Family = all.wordsEach === 1 ? 4 : 6;
  const prefixes = prefixesOf(aggregated);
  const seen = new Map(prefixes.map((prefix) => [formatPrefix(prefix), prefix]));
  for (const other of elsewhere) {
    if (other.family !== family || !coveredBy(prefixes, other)) continue;
    const inside = prefixSet(family, within(all, other));
    for (const prefix of prefixesOf(aggregate(inside, other.length + 1)))
      seen.set(formatPrefix(prefix), prefix);
  }
  return [...seen.values()];
}

/** Whether one of the prefixes, which are sorted and apart from each other, covers another. */
function coveredBy(sorted: readonly Prefix[], inner: Prefix): boolean {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compare(sorted[middle] as Prefix, inner) <= 0) low = middle + 1;
    else high = middle;
  }
  const before = sorted[low - 1];
  return before !== undefined && covers(before, inner);
}

function compare(a: Prefix, b: Prefix): number {
  for (const [w, word] of a.words.entries()) if (word !== b.words[w]) return word - (b.words[w] as number);
  return 0;
}
