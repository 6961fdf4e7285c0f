import { isDeepStrictEqual } from "node:util";
import type { Masked, Match, MatchField, Policy, Prefix, Range, Rule } from "../config/policy.js";
import { MATCH_FIELDS } from "./reference.js";

/**
 * Whether two lists of rules match the same packets in the same order, whatever they do with them. Written out, as it
 * has to be much cheaper than building the trees.
 */
export function matchesAlike(rules: readonly Rule[], others: readonly Rule[]): boolean {
  if (rules.length !== others.length) return false;
  for (let i = 0; i < rules.length; i++)
    if (!sameMatch((rules[i] as Rule).match, (others[i] as Rule).match)) return false;
  return true;
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

function sameMatch(one: Match, other: Match): boolean {
  if (one.iif.length > 0) return false; // numbers of devices may have changed meanwhile
  if (one === other) return true;
  for (const field of MATCH_FIELDS)
    if (one[field] !== other[field] && !sameList(one[field], other[field])) return false;
  return sameList(one.not, other.not);
}

type Value = Prefix | Range | Masked | number | string | MatchField;

function sameList(one: readonly Value[], other: readonly Value[]): boolean {
  if (one.length !== other.length) return false;
  for (let i = 0; i < one.length; i++) if (!sameValue(one[i] as Value, other[i] as Value)) return false;
  return true;
}

function sameValue(one: Value, other: Value): boolean {
  if (typeof one !== "object" || typeof other !== "object") return one === other;
  if ("words" in one)
    return (
      "words" in other &&
      one.length === other.length &&
      one.family === other.family &&
      one.words.every((word, w) => word === other.words[w])
    );
  if ("from" in one) return "from" in other && one.from === other.from && one.to === other.to;
  return "mask" in other && one.value === other.value && one.mask === other.mask;
}
