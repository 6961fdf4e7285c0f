import { CoverIndex, coverKeys, type Ordered } from "./cover-index.js";
import { sidePrefixes } from "./families.js";
import type { Match, Prefix } from "./policy.js";
import { PrefixMap } from "./prefix-map.js";

/** Rules that were added in rising order, for the first that covers a match whole. */
export class EarlierRules<R extends Ordered> {
  // A rule that covers another has a dst that covers the other's first dst, and the same for src: by these two it
  // is found without a comparison of all rules with all.
  readonly #byDst = new PrefixMap<PrefixMap<CoverIndex<R>>>();

  add(rule: R): void {
    const keys = coverKeys(rule.match);
    const srcs = sidePrefixes(rule.match, "src");
    for (const dst of sidePrefixes(rule.match, "dst")) {
      const bySrc = at(this.#byDst, dst, () => new PrefixMap<CoverIndex<R>>());
      for (const src of srcs) at(bySrc, src, () => new CoverIndex<R>()).add(rule, keys);
    }
  }

  /** The first rule that matches all that a match does, or null; several rules together are not looked for. */
  covering(match: Match): R | null {
    const [src] = sidePrefixes(match, "src");
    const [dst] = sidePrefixes(match, "dst");
    if (src === undefined || dst === undefined) return null;
    let first: R | null = null;
    for (const bySrc of this.#byDst.covering(dst))
      for (const index of bySrc.covering(src)) first = index.first(match, first);
    return first;
  }
}

function at<V>(map: PrefixMap<V>, prefix: Prefix, make: () => V): V {
  const found = map.get(prefix) ?? make();
  map.set(prefix, found);
  return found;
}
