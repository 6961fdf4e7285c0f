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
 */
export function matchWords(rules: readonly Rule[]): Uint32Array | null {
  const out = new Words();
  for (const { match } of rules) {
    if (match.iif.length > 0) return null;
    addMatch(out, match);
  }
  return out.finish();
}

export function sameWords(one: Uint32Array | null, other: Uint32Array | null): boolean {
  return one !== null && other !== null && Buffer.from(one.buffer).equals(Buffer.from(other.buffer));
}

class Words {
  #words = new Uint32Array(4096);
  #length = 0;

  add(word: number): void {
    if (this.#length === this.#words.length) {
      const larger = new Uint32Array(2 * this.#length);
      larger.set(this.#words);
      this.#words = larger;
    }
    this.#words[this.#length++] = word;
  }

  finish(): Uint32Array {
    return this.#words.slice(0, this.#length);
  }
}

/** Each field by its own type: what is the same for all types takes several times as long. */
function addMatch(out: Words, match: Match): void {
  let negated = 0;
  for (const field of match.not) negated |= 1 << MATCH_FIELDS.indexOf(field);
  out.add(negated);
  addPrefixes(out, match.src);
  addPrefixes(out, match.dst);
  addNumbers(out, match.proto);
  addRanges(out, match.sport);
  addRanges(out, match.dport);
  addRanges(out, match.icmpType);
  addNumbers(out, match.dscp);
  addNumbers(out, match.ecn);
  out.add(match.mark.length);
  for (const { value, mask } of match.mark) {
    out.add(value);
    out.add(mask);
  }
  addRanges(out, match.length);
  out.add(match.fragment.length);
  for (const state of match.fragment) out.add(FRAGMENT[state]);
}

function addPrefixes(out: Words, prefixes: readonly Prefix[]): void {
  out.add(prefixes.length);
  for (const { words, length } of prefixes) {
    out.add((words.length << 8) | length); // as many words as the family has
    for (const word of words) out.add(word);
  }
}

function addRanges(out: Words, ranges: readonly Range[]): void {
  out.add(ranges.length);
  for (const { from, to } of ranges) {
    out.add(from);
    out.add(to);
  }
}

function addNumbers(out: Words, numbers: readonly number[]): void {
  out.add(numbers.length);
  for (const number of numbers) out.add(number);
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
