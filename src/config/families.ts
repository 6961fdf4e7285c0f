import type { Family, Match, Prefix } from "./policy.js";

const BOTH: readonly Family[] = [4, 6];

/** The families that a list of prefixes admits; an empty list admits both. */
function familiesOf(prefixes: readonly Prefix[]): readonly Family[] {
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

/**
 * Prefixes around all that one side of a match admits, in the families that the match admits: "any", and what must not
 * match, is written out as the whole of each family.
 */
export function sidePrefixes(match: Match, side: "src" | "dst"): readonly Prefix[] {
  const listed = match.not.includes(side) ? [] : match[side];
  const written = listed.length > 0 ? listed : BOTH.map(wholeFamily);
  const families = matchFamilies(match);
  return written.filter(({ family }) => families.includes(family));
}

/** The prefix of all addresses of a family. */
export function wholeFamily(family: Family): Prefix {
  return { family, words: family === 4 ? [0] : [0, 0, 0, 0], length: 0 };
}
