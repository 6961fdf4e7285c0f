import { CoverIndex, coverKeys } from "./cover-index.js";
import { type Report, seenFrom } from "./diagnostics.js";
import { sidePrefixes } from "./families.js";
import type { Prefix } from "./policy.js";
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
  const earlier = new PrefixMap<PrefixMap<CoverIndex>>();
  for (const rule of rules) {
    if (!rule.complete) continue;
    const dsts = sidePrefixes(rule.match, "dst");
    const srcs = sidePrefixes(rule.match, "src");
    const cover = firstCover(rule, earlier, srcs[0], dsts[0]);
    if (cover !== null) {
      unreachable.add(rule);
      report.warning(
        rule.location,
        `rule ${rule.name} can never match: rule ${cover.name} (${seenFrom(rule.location, cover.location)}) matches all that it would`,
        `move ${rule.name} in front of ${cover.name}, or remove it`,
      );
      continue;
    }
    const keys = coverKeys(rule.match);
    for (const dst of dsts) {
      const bySrc = earlier.get(dst) ?? new PrefixMap<CoverIndex>();
      earlier.set(dst, bySrc);
      for (const src of srcs) {
        const index = bySrc.get(src) ?? new CoverIndex();
        bySrc.set(src, index);
        index.add(rule, keys);
      }
    }
  }
  return unreachable;
}

function firstCover(
  rule: ReadRule,
  earlier: PrefixMap<PrefixMap<CoverIndex>>,
  src: Prefix | undefined,
  dst: Prefix | undefined,
): ReadRule | null {
  if (src === undefined || dst === undefined) return null;
  let first: ReadRule | null = null;
  for (const bySrc of earlier.covering(dst))
    for (const index of bySrc.covering(src)) first = index.first(rule.match, first);
  return first;
}
