import { addressBits, contains, overlaps } from "../config/address.js";
import { EarlierRules } from "../config/earlier-rules.js";
import { matchFamilies, sidePrefixes } from "../config/families.js";
import type { Family, Match, Policy, Prefix, Range, Rule } from "../config/policy.js";
import { addressBehind, Owners } from "./owners.js";

/** Where replies come from that a connection does not admit. */
export interface OneWay {
  /** What the rule asks for of it, and the longest prefix around that; null where nobody owns it. */
  readonly prefix: Prefix;
  readonly owned: Prefix | null;
  /** Indexes of the connections that own it. */
  readonly owners: readonly number[];
}

/** Nobody replies from multicast, reserved and broadcast addresses. */
const NO_HOSTS: Readonly<Record<Family, Prefix>> = {
  4: { family: 4, words: [0xe0000000], length: 3 },
  6: { family: 6, words: [0xff000000, 0, 0, 0], length: 8 },
};

/** ICMP messages that ask for an answer: echo, router solicitation, timestamp, information, address mask, extended echo. */
const QUESTIONS: Readonly<Record<Family, readonly number[]>> = {
  4: [8, 10, 13, 15, 17, 42],
  // Echo, multicast listener query, router and neighbour solicitation, node information, extended echo.
  6: [128, 130, 133, 135, 139, 160],
};

/** Whether an ICMP message of such a type gets an answer. */
export function asks(family: Family, icmpType: number): boolean {
  return QUESTIONS[family].includes(icmpType);
}

/** Whether an address is one that a host can have. */
export function isHost(address: { readonly family: Family; readonly words: readonly number[] }): boolean {
  return !contains(NO_HOSTS[address.family], address);
}

/** Places that are looked at for one rule and connection: a rule for everything meets a million subnets. */
const MAX_STEPS = 256;
/**
 * Where around an address a rule sends nothing, as an earlier one takes all of it; null where it may send something. Of an
 * earlier rule with a negated dst no more is known.
 */
type Taken = Prefix | "segment" | null;

/**
 * Finds where rules send packets whose replies their connection drops as bad source: what is admitted is decided by the
 * longest subnet around the source alone. Rules that an earlier one covers there send nothing. May miss some, and claims
 * one wrongly only where several earlier rules together take all of it.
 */
export class ReplyCheck {
  readonly #policy: Policy;
  readonly #owners: Partial<Record<Family, Owners>> = {};
  readonly #earlier = new EarlierRules<Rule & { readonly index: number }>();
  #added = 0;

  constructor(policy: Policy) {
    this.#policy = policy;
  }

  owners(family: Family): Owners {
    this.#owners[family] ??= new Owners(this.#policy, family);
    return this.#owners[family];
  }

  /**
   * Rules have to be asked about in rising order.
   * @param rule and `connection` are indexes
   * @returns at most so many places
   */
  places(rule: number, connection: number, most: number): OneWay[] {
    const { match } = this.#policy.rules[rule] as Rule;
    const found: OneWay[] = [];
    const hasSubnets = this.owners(4).ownsAny(connection) || this.owners(6).ownsAny(connection);
    for (const family of matchFamilies(match)) {
      if (!expectsReplies(match, family)) continue;
      const taken = (dst: Prefix) => this.#taken(rule, dst);
      const walk = new Walk({ owners: this.owners(family), match, connection, hasSubnets, most, taken });
      for (const dst of sidePrefixes(match, "dst"))
        if (dst.family === family && found.length < most) found.push(...walk.along(dst));
    }
    return found.slice(0, most);
  }

  #taken(rule: number, address: Prefix): Taken {
    const { rules } = this.#policy;
    for (; this.#added < rule; this.#added++)
      this.#earlier.add({ ...(rules[this.#added] as Rule), index: this.#added });
    const { match } = rules[rule] as Rule;
    const there = { ...match, dst: [address], not: match.not.filter((field) => field !== "dst") };
    const cover = this.#earlier.covering(there);
    if (cover === null) return null;
    if (cover.match.not.includes("dst")) return "segment";
    const around = sidePrefixes(cover.match, "dst").filter((prefix) => overlaps(prefix, address));
    return around.reduce((widest, prefix) => (prefix.length < widest.length ? prefix : widest), address);
  }
}

function expectsReplies({ icmpType, not }: Match, family: Family): boolean {
  if (icmpType.length === 0 || not.includes("icmpType")) return true;
  const within = ({ from, to }: Range) => QUESTIONS[family].some((type) => from <= type && type <= to);
  return icmpType.some(within);
}

interface Course {
  readonly owners: Owners;
  readonly match: Match;
  readonly connection: number;
  /** Whether the connection owns anything of either family. */
  readonly hasSubnets: boolean;
  /** Places to find in a prefix. */
  readonly most: number;
  readonly taken: (address: Prefix) => Taken;
}

/** A walk through the addresses that one rule sends to one connection. */
class Walk {
  readonly #owners: Owners;
  readonly #excluded: readonly Prefix[];
  readonly #connection: number;
  readonly #hasSubnets: boolean;
  readonly #most: number;
  readonly #taken: (address: Prefix) => Taken;
  #steps = 0;
  readonly #seen = new Set<string>();

  constructor({ owners, match, connection, hasSubnets, most, taken }: Course) {
    this.#owners = owners;
    this.#excluded = [NO_HOSTS[owners.family], ...(match.not.includes("dst") ? match.dst : [])];
    this.#connection = connection;
    this.#hasSubnets = hasSubnets;
    this.#most = most;
    this.#taken = taken;
  }

  /** The places in a prefix, each owned by others; without any, the prefix itself where nobody owns it. */
  along(dst: Prefix): OneWay[] {
    const owners = this.#owners;
    const found: OneWay[] = [];
    let admitted = false;
    let unowned = false;
    let at: readonly number[] | null = dst.words;
    while (at !== null && contains(dst, { family: dst.family, words: at })) {
      if (this.#steps++ >= MAX_STEPS || found.length >= this.#most) break;
      const segment = owners.find(at);
      const owned = owners.prefix(segment);
      const holders = owners.owners(segment);
      if (holders.includes(this.#connection)) {
        admitted = true;
        at = owners.nextOwner(segment);
        continue;
      }
      const skipped = owned === null && (unowned || admitted) ? null : this.#skipped(at);
      if (skipped !== null && skipped !== "segment") {
        at = addressBehind(skipped);
        continue;
      }
      if (skipped === null && owned === null) unowned = true;
      if (skipped === null && owned !== null) this.#put(found, dst, owned, holders);
      at = owners.end(segment);
    }
    // Who sends to everything means whatever there is, unless nothing at all is admitted.
    const meant = dst.length > 0 || !this.#hasSubnets;
    if (unowned && !admitted && meant) found.unshift({ prefix: dst, owned: null, owners: [] });
    return found;
  }

  /** What around an address the rule sends nothing to. */
  #skipped(words: readonly number[]): Taken {
    const { family } = this.#owners;
    const excluded = this.#excluded.find((prefix) => contains(prefix, { family, words }));
    return excluded ?? this.#taken({ family, words, length: addressBits(family) });
  }

  #put(found: OneWay[], dst: Prefix, owned: Prefix, owners: readonly number[]): void {
    const prefix = dst.length > owned.length ? dst : owned;
    const key = `${prefix.words.join(".")}/${prefix.length}`;
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    found.push({ prefix, owned, owners });
  }
}
