import { formatPrefix } from "../config/address.js";
import type { Diagnostic } from "../config/diagnostics.js";
import { EarlierRules } from "../config/earlier-rules.js";
import { matchFamilies } from "../config/families.js";
import type { Family, FragmentState, Match, Policy, Prefix, Rule } from "../config/policy.js";
import { protocolName } from "../config/protocols.js";
import { formatTarget } from "../config/target.js";
import { Owners } from "./owners.js";

/** TCP fits its segments to the path. */
const TCP = 6;
/** Destinations of one rule that are looked at. */
const MAX_PLACES = 16;
/** Longer lists are not repeated in a hint. */
const MAX_LISTED = 4;

interface Numbered extends Rule {
  readonly index: number;
}

/**
 * Rules on ports that part a datagram: its first fragment has the ports and goes where the rule says, the later ones have
 * none and go elsewhere. Only a rule that takes all of the fragments is seen to do so, not several together. One line for
 * each two targets.
 */
export function* splitFragments(policy: Policy): Generator<Diagnostic> {
  const later = new EarlierRules<Numbered>();
  const numbered = policy.rules.map((rule, index): Numbered => ({ ...rule, index }));
  for (const rule of numbered) if (!asksPorts(rule.match) && admits(rule.match, "later")) later.add(rule);
  const first = new EarlierRules<Numbered>();
  const fate = new Fate(policy, later);
  const found = new Map<string, { rule: Rule; otherwise: string; more: number }>();
  for (const rule of numbered) {
    const otherwise = fate.otherwise(rule, first);
    first.add(rule);
    if (otherwise === null) continue;
    const pair = `${formatTarget(rule.to)} ${otherwise}`;
    const known = found.get(pair);
    if (known === undefined) found.set(pair, { rule, otherwise, more: 0 });
    else known.more++;
  }
  for (const { rule, otherwise, more } of found.values())
    yield {
      ...rule.location,
      severity: "warning",
      message:
        `rule ${rule.name} sends the first fragment of a datagram to ${formatTarget(rule.to)}, and the later ones, which have no ports, ${otherwise}` +
        (more === 0 ? "" : `; so do ${more} more rules`),
      hint: `put a rule in front of it that keeps them together: match: {${whole(rule.match)}} and to: ${rule.to.kind === "connection" ? rule.to.connection : "ONE CONNECTION"}; or have it take whole packets only: fragment: none`,
    };
}

const asksPorts = ({ sport, dport }: Match): boolean => sport.length + dport.length > 0;

const admits = ({ fragment, not }: Match, state: FragmentState): boolean =>
  fragment.length === 0 || fragment.includes(state) !== not.includes("fragment");

/** What is asked of packets in one state of fragmentation, of protocols that are fragmented; null where there are none. */
function ofFragments(match: Match, state: FragmentState): Match | null {
  if (!admits(match, state)) return null;
  const listed = match.proto.length > 0 && !match.not.includes("proto");
  const proto = listed ? match.proto.filter((each) => each !== TCP) : match.proto;
  if (listed && proto.length === 0) return null;
  return { ...match, proto, fragment: [state], not: match.not.filter((field) => field !== "fragment") };
}

function withoutPorts(match: Match): Match {
  return {
    ...match,
    sport: [],
    dport: [],
    fragment: ["later"],
    not: match.not.filter((field) => field !== "sport" && field !== "dport"),
  };
}

/** What becomes of the later fragments of what rules take. */
class Fate {
  readonly #policy: Policy;
  readonly #later: EarlierRules<Numbered>;
  readonly #owners: Partial<Record<Family, Owners>> = {};

  constructor(policy: Policy, later: EarlierRules<Numbered>) {
    this.#policy = policy;
    this.#later = later;
  }

  /** What happens to them, in words, where it is not what the rule says; null where it is, or no rule of ports takes a fragment. */
  otherwise({ match, to }: Numbered, before: EarlierRules<Numbered>): string | null {
    if (!asksPorts(match) || to.kind === "drop" || to.kind === "pass") return null;
    const fragments = ofFragments(match, "first");
    if (fragments === null) return null;
    for (const dst of this.#places(match, to)) {
      const there =
        dst === null
          ? fragments
          : { ...fragments, dst: [dst], not: fragments.not.filter((f) => f !== "dst") };
      if (before.covering(there) !== null) continue;
      const taker = this.#later.covering(withoutPorts(there));
      const otherwise = taker === null ? this.#bySubnets(dst, to) : byRule(taker, to);
      if (otherwise !== null) return otherwise;
    }
    return null;
  }

  /** Destinations that a rule is about: its own, else those of the connection that it leads to; null for all others. */
  #places(match: Match, to: Rule["to"]): readonly (Prefix | null)[] {
    if (match.dst.length > 0 && !match.not.includes("dst")) return match.dst.slice(0, MAX_PLACES);
    if (match.not.includes("dst") || to.kind !== "connection") return [null];
    const families = matchFamilies(match);
    const { subnets } = this.#policy.connections.find(({ name }) => name === to.connection) ?? {
      subnets: [],
    };
    const own = subnets.filter(({ family }) => families.includes(family));
    return own.length === 0 ? [null] : own.slice(0, MAX_PLACES);
  }

  #bySubnets(dst: Prefix | null, to: Rule["to"]): string | null {
    const unled = this.#policy.default === "drop" ? "nowhere: default: drop drops them" : "by default: pass";
    // Where to is not known then: a connection without subnets may be one that nothing else is sent to.
    if (dst === null) return to.kind === "group" ? unled : null;
    this.#owners[dst.family] ??= new Owners(this.#policy, dst.family);
    const owners = this.#owners[dst.family] as Owners;
    const [owner, ...others] = owners.owners(owners.find(dst.words));
    if (owner === undefined || others.length > 0) return unled;
    const { name } = this.#policy.connections[owner] ?? { name: "" };
    return to.kind === "connection" && to.connection === name ? null : `to ${name} by its subnets`;
  }
}

function byRule({ name, to: other }: Rule, to: Rule["to"]): string | null {
  if (formatTarget(other) === formatTarget(to)) return null;
  return other.kind === "drop" || other.kind === "pass"
    ? `nowhere: rule ${name} has to: ${other.kind}`
    : `to ${formatTarget(other)} by rule ${name}`;
}

/** A match for the whole datagrams of a rule's addresses and protocols, as one writes it. */
function whole({ src, dst, proto, not }: Match): string {
  const side = (key: "src" | "dst", prefixes: readonly Prefix[]) =>
    prefixes.length === 0
      ? []
      : [
          field(
            key,
            prefixes.map((each) => (each.family === 6 ? `"${formatPrefix(each)}"` : formatPrefix(each))),
            not.includes(key),
          ),
        ];
  const protocols =
    proto.length === 0 ? [] : [field("proto", proto.map(protocolName), not.includes("proto"))];
  return [...side("src", src), ...side("dst", dst), ...protocols, "fragment: [first, later]"].join(", ");
}

function field(key: string, values: readonly string[], negated: boolean): string {
  const listed = values.length > MAX_LISTED ? [...values.slice(0, MAX_LISTED), "..."] : values;
  const value = listed.length === 1 ? listed.join() : `[${listed.join(", ")}]`;
  return `${key}: ${negated ? `{not: ${value}}` : value}`;
}
