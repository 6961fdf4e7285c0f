import type { Family, Match, Prefix } from "./policy.js";

const BOTH: readonly Family[] = [4, 6];

/** The families that a list of prefixes admits; an empty list admits both. */
export function familiesOf(prefixes: readonly Prefix[]): readonly Family[] {
  return BOTH.filter(
    (family) => prefixes.length === 0 || prefixes.some((prefix) => prefix.family === family),
  );
}

/** The families that one side of a match admits; what must not match excludes none. */
export function sideFamilies(match: Match, side: "src" | "dst"): readonly Family[] {
  return match.not.includes(side) ? BOTH : familiesOf(match[side]);
}

/** The families of the packets that src and dst together can match. */
export function matchFamilies(match: Match): readonly Family[] {
  const ofDst = sideFamilies(match, "dst");
  return sideFamilies(match, "src").filter((family) => ofDst.includes(family));
}

/** The prefixes as they apply to `families`: "any" is written out as the whole of each. */
export function prefixesIn(prefixes: readonly Prefix[], families: readonly Family[]): readonly Prefix[] {
  const written = prefixes.length > 0 ? prefixes : BOTH.map(everything);
  return written.filter(({ family }) => families.includes(family));
}

function everything(family: Family): Prefix {
  return { family, words: family === 4 ? [0] : [0, 0, 0, 0], length: 0 };
}
