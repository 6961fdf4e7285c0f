import { Extra, KeyProto, KeyWord, More } from "../bpf/tables.bpf.js";
import type { Family, Match, MatchField, Policy } from "../config/policy.js";
import { type Alternative, alternatives, type Devices, locating, RANGE_BITS } from "./alternatives.js";
import { type Dimension, fieldMask } from "./dimension.js";

/**
 * The rules of one family as columns, in order of precedence. A rule is a row for each combination of the alternatives
 * of its fields; a rule without addresses has rows in both families.
 */
export interface Rows {
  readonly family: Family;
  readonly length: number;
  /** By position: src and dst words first (1 each for IPv4, 4 for IPv6), then FIELDS. */
  readonly dimensions: readonly Dimension[];
  /** By row: the rule's index, and whether it matches only packets that have ports. */
  readonly rule: Uint32Array;
  readonly needsPorts: Uint8Array;
  /** Which fields of rule_extra any row uses: bits of enum extra in bpf/tables.h. */
  readonly usesExtra: number;
}

export const FIELDS = [
  "sport",
  "dport",
  "proto",
  "dscp",
  "mark",
  "iif",
  "length",
  "icmpType",
  "ecn",
  "fragment",
] as const satisfies readonly MatchField[];

/** A rule whose fields have more combinations than this is refused. */
const ROWS_A_RULE = 16384;

export class TooManyRows extends Error {
  readonly rule: number;
  constructor(rule: number, rows: number) {
    super(`its lists and negations have ${rows} combinations; at most ${ROWS_A_RULE} are compiled`);
    this.rule = rule;
  }
}

interface Place {
  readonly word: number;
  readonly shift: number;
  readonly bits: number;
  readonly kind: Dimension["kind"];
}

const PLACES: Readonly<Record<(typeof FIELDS)[number], Place>> = {
  sport: { word: KeyWord.KEY_PORTS, shift: 16, bits: RANGE_BITS.sport, kind: "range" },
  dport: { word: KeyWord.KEY_PORTS, shift: 0, bits: RANGE_BITS.dport, kind: "range" },
  proto: { word: KeyWord.KEY_PROTO, shift: 0, bits: RANGE_BITS.proto, kind: "range" },
  dscp: { word: KeyWord.KEY_PROTO, shift: KeyProto.DSCP_SHIFT, bits: RANGE_BITS.dscp, kind: "range" },
  mark: { word: KeyWord.KEY_MARK, shift: 0, bits: 32, kind: "mask" },
  iif: { word: KeyWord.KEY_IIF, shift: 0, bits: 32, kind: "mask" },
  length: { word: KeyWord.KEY_MORE, shift: 0, bits: RANGE_BITS.length, kind: "range" },
  icmpType: { word: KeyWord.KEY_MORE, shift: More.ICMP_SHIFT, bits: RANGE_BITS.icmpType, kind: "range" },
  ecn: { word: KeyWord.KEY_MORE, shift: More.ECN_SHIFT, bits: RANGE_BITS.ecn, kind: "range" },
  fragment: { word: KeyWord.KEY_MORE, shift: More.FRAGMENT_SHIFT, bits: RANGE_BITS.fragment, kind: "range" },
};

/**
 * @param narrowed gives what each rule asks instead, or null to leave it out
 * @throws TooManyRows
 */
export function expandRules(
  policy: Policy,
  family: Family,
  devices: Devices,
  narrowed: (match: Match) => Match | null = (match) => match,
): Rows {
  const words = family === 4 ? 1 : 4;
  const builder = new RowBuilder(words);
  policy.rules.forEach((rule, index) => {
    const match = narrowed(rule.match);
    if (match === null) return;
    const named = match.iif.length === 0 ? devices : locating(devices, "rule", rule);
    builder.add(index, match, (field) => alternatives(field, match, family, named));
  });
  return { family, ...builder.finish() };
}

/** One field of a rule: its alternatives, and the first column that they fill. */
interface Axis {
  readonly column: number;
  readonly options: readonly Alternative[];
}

class RowBuilder {
  readonly #words: number;
  readonly #places: readonly Place[];
  #capacity = 1024;
  #length = 0;
  #a: Uint32Array[];
  #b: Uint32Array[];
  #rule = new Uint32Array(this.#capacity);
  #needsPorts = new Uint8Array(this.#capacity);
  #usesExtra = 0;

  constructor(words: number) {
    this.#words = words;
    const address = (first: number): Place[] =>
      Array.from({ length: words }, (_, w) => ({ word: first + w, shift: 0, bits: 32, kind: "mask" }));
    this.#places = [
      ...address(KeyWord.KEY_SRC),
      ...address(KeyWord.KEY_DST),
      ...FIELDS.map((field) => PLACES[field]),
    ];
    this.#a = this.#places.map(() => new Uint32Array(this.#capacity));
    this.#b = this.#places.map(() => new Uint32Array(this.#capacity));
  }

  add(rule: number, match: Match, optionsOf: (field: MatchField) => readonly Alternative[] | null): void {
    const axes: Axis[] = [];
    const axis = (field: MatchField, column: number) => {
      const options = optionsOf(field);
      if (options) axes.push({ column, options });
    };
    axis("src", 0);
    axis("dst", this.#words);
    FIELDS.forEach((field, i) => {
      axis(field, 2 * this.#words + i);
    });
    const rows = axes.reduce((product, { options }) => product * options.length, 1);
    if (rows > ROWS_A_RULE) throw new TooManyRows(rule, rows);
    if (rows === 0) return;
    const needsPorts = match.sport.length > 0 || match.dport.length > 0 ? 1 : 0;
    if (match.mark.length > 0 || match.iif.length > 0) this.#usesExtra |= Extra.EXTRA_MARK_IIF;
    if ([match.length, match.icmpType, match.ecn, match.fragment].some((list) => list.length > 0))
      this.#usesExtra |= Extra.EXTRA_MORE;
    for (let i = 0; i < rows; i++) this.#row(rule, needsPorts, axes, i);
  }

  /** Combination number `index` of the axes' alternatives. */
  #row(rule: number, needsPorts: number, axes: readonly Axis[], index: number): void {
    if (this.#length === this.#capacity) this.#grow();
    const at = this.#length++;
    this.#rule[at] = rule;
    this.#needsPorts[at] = needsPorts;
    for (let c = 0; c < this.#places.length; c++)
      (this.#b[c] as Uint32Array)[at] = fieldMask((this.#places[c] as Place).bits);
    let rest = index;
    for (const { column, options } of axes) {
      const option = options[rest % options.length] as Alternative;
      rest = Math.floor(rest / options.length);
      for (let k = 0; k < option.length; k += 2) {
        (this.#a[column + k / 2] as Uint32Array)[at] = option[k] as number;
        (this.#b[column + k / 2] as Uint32Array)[at] = option[k + 1] as number;
      }
    }
  }

  finish(): Omit<Rows, "family"> {
    const length = this.#length;
    return {
      length,
      dimensions: this.#places.map((place, c) => ({
        ...place,
        a: (this.#a[c] as Uint32Array).subarray(0, length),
        b: (this.#b[c] as Uint32Array).subarray(0, length),
      })),
      rule: this.#rule.subarray(0, length),
      needsPorts: this.#needsPorts.subarray(0, length),
      usesExtra: this.#usesExtra,
    };
  }

  #grow(): void {
    this.#capacity *= 2;
    const larger = (column: Uint32Array) => {
      const copy = new Uint32Array(this.#capacity);
      copy.set(column);
      return copy;
    };
    this.#a = this.#a.map(larger);
    this.#b = this.#b.map(larger);
    this.#rule = larger(this.#rule);
    const needsPorts = new Uint8Array(this.#capacity);
    needsPorts.set(this.#needsPorts);
    this.#needsPorts = needsPorts;
  }
}
