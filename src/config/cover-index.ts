import { coversMatch } from "./cover.js";
import type { Masked, Match, MatchField, Range } from "./policy.js";

/** Fields other than the addresses. */
const FIELDS = [
  "proto",
  "sport",
  "dport",
  "icmpType",
  "dscp",
  "ecn",
  "mark",
  "iif",
  "length",
  "fragment",
] as const satisfies readonly MatchField[];
type Field = (typeof FIELDS)[number];

/** Keys of one rule; fields whose values would make more are left to the comparison. */
const MAX_KEYS = 64;
/** More than the bits of any range. */
const RANGE_SPAN = 2 ** 17;

/** What matters of a rule here. */
export interface Ordered {
  readonly match: Match;
  /** Place in the policy's list. */
  readonly index: number;
}

/**
 * Rules in rising order, for the first that covers a match whole. What an earlier rule asks of a field is a set of
 * values under masks: rules with the same masks share a table, in which those that may cover a match are found by one
 * value of each of its fields (tuple space search). All others differ in a field from the match, and are not compared.
 */
export class CoverIndex<R extends Ordered> {
  readonly #shapes = new Map<string, Shape<R>>();

  /** @param keys of the rule's match */
  add(rule: R, keys: readonly CoverKey[]): void {
    for (const { shape: id, asks, values } of keys) {
      const shape = this.#shapes.get(id) ?? { asks, rules: new Map() };
      this.#shapes.set(id, shape);
      const list = shape.rules.get(values);
      if (list === undefined) shape.rules.set(values, [rule]);
      else if (list.at(-1) !== rule) list.push(rule);
    }
  }

  /** The first rule that covers `match`, or null; `before` where none is in front of that one. */
  first(match: Match, before: R | null = null): R | null {
    let first = before;
    for (const { asks, rules } of this.#shapes.values()) {
      const key = keyIn(asks, match);
      for (const rule of (key === null ? undefined : rules.get(key)) ?? []) {
        if (first !== null && rule.index >= first.index) break;
        if (coversMatch(rule.match, match)) first = rule;
      }
    }
    return first;
  }
}

/** What a rule's key has of a field: one of the values that it asks for, under a mask; of a negated field, nothing. */
interface Part {
  readonly field: Field;
  /** Null where the rule asks for anything but some values. */
  readonly mask: number | null;
  readonly value: number | string;
}

interface Shape<R> {
  /** Fields and masks; the values are those of one rule. */
  readonly asks: readonly Part[];
  readonly rules: Map<string, R[]>;
}

/** What a rule is filed under. */
export interface CoverKey {
  /** Its fields and masks as text. */
  readonly shape: string;
  readonly asks: readonly Part[];
  readonly values: string;
}

/** For each combination of what a match lists, a key. */
export function coverKeys(match: Match): CoverKey[] {
  let keys: readonly (readonly Part[])[] = [[]];
  for (const field of FIELDS) {
    if (match[field].length === 0) continue;
    const parts = partsOf(field, match);
    const few = parts.length * keys.length <= MAX_KEYS ? parts : [{ field, mask: 0, value: 0 }];
    keys = keys.flatMap((key) => few.map((part) => [...key, part]));
  }
  return keys.map((asks) => ({
    shape: asks.map(({ field, mask }) => `${field}/${mask}`).join(),
    asks,
    values: asks.map(({ value }) => value).join(),
  }));
}

function partsOf(field: Field, match: Match): Part[] {
  if (match.not.includes(field)) return [{ field, mask: null, value: 0 }];
  switch (field) {
    case "sport":
    case "dport":
    case "icmpType":
    case "length":
      return match[field].flatMap(blocksOf).map((block) => ({ field, ...block }));
    case "mark":
      return match.mark.map(({ value, mask }) => ({ field, value, mask }));
    default:
      return match[field].map((value) => ({ field, value, mask: 0xffffffff }));
  }
}

/** The fewest aligned blocks, each a power of two of values, that make up a range. */
function blocksOf({ from, to }: Range): Masked[] {
  const blocks: Masked[] = [];
  for (let at = from; at <= to; ) {
    let size = at & -at || RANGE_SPAN;
    while (at + size - 1 > to) size /= 2;
    blocks.push({ value: at, mask: -size >>> 0 });
    at += size;
  }
  return blocks;
}

/**
 * The key of the rules of a shape that may cover a match, or null where none does. Each value of the match has to be one
 * that the rule asks for, so the first of each field tells where to look.
 */
function keyIn(asks: readonly Part[], match: Match): string | null {
  const values: (number | string)[] = [];
  for (const { field, mask } of asks) {
    const [first] = match[field];
    if (first === undefined || (mask !== null && match.not.includes(field))) return null;
    const value = under(mask ?? 0, first);
    if (value === null) return null;
    values.push(value);
  }
  return values.join();
}

/** Null where a mark leaves bits open that the mask asks for. */
function under(mask: number, value: Match[Field][number]): number | string | null {
  if (typeof value === "string") return mask === 0 ? 0 : value;
  if (typeof value === "number") return (value & mask) >>> 0;
  if ("from" in value) return (value.from & mask) >>> 0;
  return (mask & ~value.mask) === 0 ? (value.value & mask) >>> 0 : null;
}
