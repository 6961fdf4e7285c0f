import { covers } from "./address.js";
import type { Report } from "./diagnostics.js";
import { matchFamilies, prefixesIn } from "./families.js";
import type { Masked, Match, Prefix, Range } from "./policy.js";
import { PrefixMap } from "./prefix-map.js";
import type { ReadRule } from "./rules.js";

/**
 * Warns of each rule that one earlier rule covers whole, and returns these rules. Rules that only several earlier
 * ones together cover are not looked for.
 */
export function findUnreachable(rules: readonly ReadRule[], report: Report): Set<ReadRule> {
  const unreachable = new Set<ReadRule>();
  // A rule that covers another has a dst that covers the other's first dst, and the same for src: by these two it
  // is found without a comparison of all rules with all.
  const earlier = new PrefixMap<PrefixMap<ReadRule[]>>();
  for (const rule of rules) {
    if (!rule.complete) continue;
    const families = matchFamilies(rule.match);
    const dsts = prefixesIn(rule.match.dst, families);
    const srcs = prefixesIn(rule.match.src, families);
    const cover = firstCover(rule, earlier, srcs[0], dsts[0]);
    if (cover !== null) {
      unreachable.add(rule);
      report.warning(
        rule.location,
        `rule ${rule.name} can never match: rule ${cover.name} (line ${cover.location.line}) matches all that it would`,
        `move ${rule.name} in front of ${cover.name}, or remove it`,
      );
      continue;
    }
    for (const dst of dsts) {
      const bySrc = earlier.get(dst) ?? new PrefixMap<ReadRule[]>();
      earlier.set(dst, bySrc);
      for (const src of srcs) {
        const list = bySrc.get(src);
        if (list === undefined) bySrc.set(src, [rule]);
        else list.push(rule);
      }
    }
  }
  return unreachable;
}

function firstCover(
  rule: ReadRule,
  earlier: PrefixMap<PrefixMap<ReadRule[]>>,
  src: Prefix | undefined,
  dst: Prefix | undefined,
): ReadRule | null {
  if (src === undefined || dst === undefined) return null;
  let first: ReadRule | null = null;
  for (const bySrc of earlier.covering(dst)) {
    for (const candidates of bySrc.covering(src)) {
      const cover = candidates.find((candidate) => coversMatch(candidate.match, rule.match));
      if (cover !== undefined && (first === null || cover.index < first.index)) first = cover;
    }
  }
  return first;
}

/** True when every packet that `inner` matches is matched by `outer`. */
export function coversMatch(outer: Match, inner: Match): boolean {
  const families = matchFamilies(inner);
  return (
    coversPrefixes(prefixesIn(outer.src, families), prefixesIn(inner.src, families)) &&
    coversPrefixes(prefixesIn(outer.dst, families), prefixesIn(inner.dst, families)) &&
    coversList(outer.proto, inner.proto) &&
    coversRanges(outer.sport, inner.sport) &&
    coversRanges(outer.dport, inner.dport) &&
    coversList(outer.dscp, inner.dscp) &&
    coversMarks(outer.mark, inner.mark) &&
    coversList(outer.iif, inner.iif)
  );
}

function coversPrefixes(outer: readonly Prefix[], inner: readonly Prefix[]): boolean {
  return inner.every((prefix) => outer.some((wider) => covers(wider, prefix)));
}

function coversRanges(outer: readonly Range[], inner: readonly Range[]): boolean {
  if (outer.length === 0) return true;
  return (
    inner.length > 0 &&
    inner.every((range) => merged(outer).some(({ from, to }) => from <= range.from && range.to <= to))
  );
}

/** Ranges that touch or overlap become one. */
function merged(ranges: readonly Range[]): Range[] {
  const result: Range[] = [];
  for (const { from, to } of ranges.toSorted((a, b) => a.from - b.from)) {
    const last = result.at(-1);
    if (last !== undefined && from <= last.to + 1)
      result[result.length - 1] = { from: last.from, to: Math.max(last.to, to) };
    else result.push({ from, to });
  }
  return result;
}

function coversList<T>(outer: readonly T[], inner: readonly T[]): boolean {
  return outer.length === 0 || (inner.length > 0 && inner.every((value) => outer.includes(value)));
}

function coversMarks(outer: readonly Masked[], inner: readonly Masked[]): boolean {
  if (outer.length === 0) return true;
  return inner.length > 0 && inner.every((mark) => outer.some((wider) => coversMark(wider, mark)));
}

/** Every bit that the outer mark asks for must be asked for by the inner one, with the same value. */
function coversMark(outer: Masked, inner: Masked): boolean {
  return (outer.mask & ~inner.mask) === 0 && ((outer.value ^ inner.value) & outer.mask) === 0;
}
