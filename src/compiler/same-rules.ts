import { isDeepStrictEqual } from "node:util";
import type { Masked, Match, Policy, Prefix, Range, Rule } from "../config/policy.js";
import { FRAGMENT } from "./alternatives.js";
import { MATCH_FIELDS } from "./reference.js";

/**
 * What a list of rules matches, written one after the other: two lists that match the same packets in the same order,
 * as they are written, give the same words. Null where rules name devices, whose numbers change meanwhile.
 *
 * Kept with what was compiled: comparing these is several times cheaper than to walk the objects of the last time, which
 * have left the caches, and much cheaper than building the trees.
 *
 * @param likely how many words it will be, if that is known
 */
export function matchWords(rules: readonly Rule[], likely = 0): Uint32Array | null {
  let words = new Uint32Array(likely + MATCH_WORDS);
  let at = 0;
  for (const { match } of rules) {
    if (match.iif.length > 0) return null;
    const needed = at + wordsOf(match);
    if (needed > words.length) {
      const larger = new Uint32Array(2 * needed);
      larger.set(words);
      words = larger;
    }
    at = putMatch(words, at, match);
  }
  return words.slice(0, at);
}

export function sameWords(one: Uint32Array | null, other: Uint32Array | null): boolean {
  return one !== null && other !== null && Buffer.from(one.buffer).equals(Buffer.from(other.buffer));
}

/** Words of a match that asks nothing: which fields it asks, and which of them it negates. */
const MATCH_WORDS = 2;
/** Words of a prefix: its family and length, and its address. */
const PREFIX_WORDS = 5;

/** At least as many words as putMatch() writes. */
function wordsOf(match: Match): number {
  const { src, dst, proto, sport, dport, icmpType, dscp, ecn, mark, length, fragment } = match;
  const pairs = sport.length + dport.length + icmpType.length + mark.length + length.length;
  const singles = proto.length + dscp.length + ecn.length + fragment.length;
  return MATCH_WORDS + MATCH_FIELDS.length + PREFIX_WORDS * (src.length + dst.length) + 2 * pairs + singles;
}

/**
 * Writes the lists that are not empty, each behind its length. Every field by its own type, by index, and into the array
 * itself: what is the same for all types, or calls with numbers that are no small integers, takes several times as long.
 *
 * @returns where the next match begins
 */
function putMatch(out: Uint32Array, start: number, match: Match): number {
  let asked = 0;
  let negated = 0;
  let at = start + MATCH_WORDS;
  for (const field of match.not) negated |= 1 << MATCH_FIELDS.indexOf(field);
  const { src, dst, proto, sport, dport, icmpType, dscp, ecn, mark, length, fragment } = match;
  if (src.length > 0) {
    asked |= 1;
    at = putPrefixes(out, at, src);
  }
  if (dst.length > 0) {
    asked |= 2;
    at = putPrefixes(out, at, dst);
  }
  if (proto.length > 0) {
    asked |= 4;
    at = putNumbers(out, at, proto);
  }
  if (sport.length > 0) {
    asked |= 8;
    at = putRanges(out, at, sport);
  }
  if (dport.length > 0) {
    asked |= 16;
    at = putRanges(out, at, dport);
  }
  if (icmpType.length > 0) {
    asked |= 32;
    at = putRanges(out, at, icmpType);
  }
  if (dscp.length > 0) {
    asked |= 64;
    at = putNumbers(out, at, dscp);
  }
  if (ecn.length > 0) {
    asked |= 128;
    at = putNumbers(out, at, ecn);
  }
  if (mark.length > 0) {
    asked |= 256;
    out[at++] = mark.length;
    for (let i = 0; i < mark.length; i++) {
      const { value, mask } = mark[i] as Masked;
      out[at++] = value;
      out[at++] = mask;
    }
  }
  if (length.length > 0) {
    asked |= 512;
    at = putRanges(out, at, length);
  }
  if (fragment.length > 0) {
    asked |= 1024;
    out[at++] = fragment.length;
    for (const state of fragment) out[at++] = FRAGMENT[state];
  }
  out[start] = asked;
  out[start + 1] = negated;
  return at;
}

function putPrefixes(out: Uint32Array, start: number, prefixes: readonly Prefix[]): number {
  let at = start;
  out[at++] = prefixes.length;
  for (let i = 0; i < prefixes.length; i++) {
    const { words, length } = prefixes[i] as Prefix;
    out[at++] = (words.length << 8) | length;
    for (let w = 0; w < words.length; w++) out[at++] = words[w] as number;
  }
  return at;
}

function putRanges(out: Uint32Array, start: number, ranges: readonly Range[]): number {
  let at = start;
  out[at++] = ranges.length;
  for (let i = 0; i < ranges.length; i++) {
    const { from, to } = ranges[i] as Range;
    out[at++] = from;
    out[at++] = to;
  }
  return at;
}

function putNumbers(out: Uint32Array, start: number, numbers: readonly number[]): number {
  let at = start;
  out[at++] = numbers.length;
  for (let i = 0; i < numbers.length; i++) out[at++] = numbers[i] as number;
  return at;
}

/** Whether two policies' rules do the same, with the same connections behind the same indexes. */
export function actionsAlike(one: Policy, other: Policy): boolean {
  const { rules, connections } = one;
  if (rules.length !== other.rules.length || connections.length !== other.connections.length) return false;
  for (let i = 0; i < connections.length; i++)
    if (connections[i]?.name !== other.connections[i]?.name) return false;
  for (let i = 0; i < rules.length; i++)
    if (!sameAction(rules[i] as Rule, other.rules[i] as Rule)) return false;
  return true;
}

function sameAction(one: Rule, other: Rule): boolean {
  const { to, set } = one;
  if (set.dscp !== other.set.dscp || !sameMark(set.mark, other.set.mark)) return false;
  if (to.kind !== other.to.kind) return false;
  if (to.kind === "connection" && other.to.kind === "connection")
    return to.link === null && other.to.link === null && to.connection === other.to.connection;
  return to.kind !== "group" || isDeepStrictEqual(to, other.to);
}

function sameMark(one: Masked | null, other: Masked | null): boolean {
  if (one === null || other === null) return one === other;
  return one.value === other.value && one.mask === other.mask;
}
