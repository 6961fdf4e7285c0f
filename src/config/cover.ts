import { covers, overlaps } from "./address.js";
import { matchFamilies, sidePrefixes } from "./families.js";
import { DEVICE_GROUP, type Masked, type Match, type MatchField, type Prefix, type Range } from "./policy.js";

/**
 * True when every packet that `inner` matches is matched by `outer`. May miss a cover (of an outer list of values by an
 * inner negation), but never claims one.
 */
export function coversMatch(outer: Match, inner: Match): boolean {
  const field = <F extends MatchField>(name: F, relation: Relation<Match[F][number]>) =>
    coversField(outer, inner, name, relation);
  return (
    field("proto", VALUES) &&
    field("sport", RANGES) &&
    field("dport", RANGES) &&
    field("icmpType", RANGES) &&
    field("dscp", VALUES) &&
    field("ecn", VALUES) &&
    field("mark", MARKS) &&
    field("iif", DEVICES) &&
    field("length", RANGES) &&
    field("fragment", VALUES) &&
    // Last, as they cost the most.
    coversSide(outer, inner, "src") &&
    coversSide(outer, inner, "dst")
  );
}

/** How two lists of values of a field relate; both have at least one. */
interface Relation<T> {
  /** Every value of `inner` is in `outer`. */
  covers(outer: readonly T[], inner: readonly T[]): boolean;
  /** No value is in both. */
  disjoint(a: readonly T[], b: readonly T[]): boolean;
}

function coversField<F extends MatchField>(
  outer: Match,
  inner: Match,
  name: F,
  { covers, disjoint }: Relation<Match[F][number]>,
): boolean {
  const wide: readonly Match[F][number][] = outer[name];
  const narrow: readonly Match[F][number][] = inner[name];
  if (wide.length === 0) return true;
  // A packet without the field matches neither values nor their negation, so an open field is wider than both.
  if (narrow.length === 0) return false;
  const wideNot = outer.not.includes(name);
  if (inner.not.includes(name)) return wideNot && covers(narrow, wide);
  return wideNot ? disjoint(wide, narrow) : covers(wide, narrow);
}

/** As `coversField`, with "any" as the whole of the families that the inner match admits. */
function coversSide(outer: Match, inner: Match, side: "src" | "dst"): boolean {
  if (outer.not.includes(side)) return coversField(outer, inner, side, PREFIXES);
  const families = matchFamilies(inner);
  return PREFIXES.covers(
    sidePrefixes(outer, side).filter(({ family }) => families.includes(family)),
    sidePrefixes(inner, side),
  );
}

const PREFIXES: Relation<Prefix> = {
  covers: (outer, inner) => inner.every((prefix) => outer.some((wider) => covers(wider, prefix))),
  disjoint: (a, b) => !a.some((x) => b.some((y) => overlaps(x, y))),
};

const VALUES: Relation<unknown> = {
  covers: (outer, inner) => inner.every((value) => outer.includes(value)),
  disjoint: (a, b) => !a.some((value) => b.includes(value)),
};

/** A device may be in a group, so a name and a group, or two names of groups, are never surely disjoint. */
const DEVICES: Relation<string> = {
  covers: VALUES.covers,
  disjoint: (a, b) => VALUES.disjoint(a, b) && ![...a, ...b].some((name) => name.startsWith(DEVICE_GROUP)),
};

const RANGES: Relation<Range> = {
  covers: (outer, inner) => {
    const joined = joinRanges(outer);
    return inner.every((range) => joined.some(({ from, to }) => from <= range.from && range.to <= to));
  },
  disjoint: (a, b) => !a.some((x) => b.some((y) => x.from <= y.to && y.from <= x.to)),
};

/** Sorted; ranges that touch or overlap become one. */
export function joinRanges(ranges: readonly Range[]): Range[] {
  const result: Range[] = [];
  for (const { from, to } of ranges.toSorted((a, b) => a.from - b.from)) {
    const last = result.at(-1);
    if (last !== undefined && from <= last.to + 1)
      result[result.length - 1] = { from: last.from, to: Math.max(last.to, to) };
    else result.push({ from, to });
  }
  return result;
}

const MARKS: Relation<Masked> = {
  covers: (outer, inner) => inner.every((mark) => outer.some((wider) => coversMark(wider, mark))),
  disjoint: (a, b) => !a.some((x) => b.some((y) => ((x.value ^ y.value) & x.mask & y.mask) === 0)),
};

/** Every bit that the outer mark asks for must be asked for by the inner one, with the same value. */
function coversMark(outer: Masked, inner: Masked): boolean {
  return (outer.mask & ~inner.mask) === 0 && ((outer.value ^ inner.value) & outer.mask) === 0;
}
