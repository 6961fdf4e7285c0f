import { type Report, seenFrom } from "./diagnostics.js";
import { EarlierRules } from "./earlier-rules.js";
import type { ReadRule } from "./rules.js";

/**
 * Warns of each rule that one earlier rule covers whole, and returns these rules. Rules that only several earlier
 * ones together cover are not looked for.
 */
export function findUnreachable(rules: readonly ReadRule[], report: Report): Set<ReadRule> {
  const unreachable = new Set<ReadRule>();
  const earlier = new EarlierRules<ReadRule>();
  for (const rule of rules) {
    if (!rule.complete) continue;
    const cover = earlier.covering(rule.match);
    if (cover === null) {
      earlier.add(rule);
      continue;
    }
    unreachable.add(rule);
    report.warning(
      rule.location,
      `rule ${rule.name} can never match: rule ${cover.name} (${seenFrom(rule.location, cover.location)}) matches all that it would`,
      `move ${rule.name} in front of ${cover.name}, or remove it`,
    );
  }
  return unreachable;
}
