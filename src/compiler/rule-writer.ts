import { Lane, MoreLane, Ranges, Rule4, Rule6, RuleExtra, RuleRest } from "../bpf/tables.bpf.js";
import type { Dimension } from "./dimension.js";
import type { Distinct } from "./distinct.js";
import { FIELDS, type Rows } from "./rows.js";
import { memberWords, type Table } from "./table.js";
import type { LeafWriter } from "./tree.js";

const RULE4 = memberWords(Rule4);
const RULE6 = memberWords(Rule6);
const RANGES = memberWords(Ranges);
const EXTRA = memberWords(RuleExtra);

/** Writes rows as struct rule4 or rule6, and where rows use it struct rule_extra beside them (bpf/tables.h). */
export function ruleWriter(rows: Rows, rules: Table, extra: Table, ranges: Distinct): LeafWriter {
  const words = rows.family === 4 ? 1 : 4;
  const { size, rest } = rows.family === 4 ? RULE4 : RULE6;
  const { dimensions } = rows;
  // Of a row that was written before, 1 + its number in `ranges`: most are in several leaves.
  const known = new Uint32Array(rows.length);
  const rangesOf = (row: number) => {
    known[row] ||= 1 + ranges.numberOf(rangesWords(rows, row));
    return (known[row] as number) - 1;
  };
  return {
    first: (row) => rows.rule[row] as number,
    needsPorts: (row) => rows.needsPorts[row] === 1,
    write: (list, from, to) => {
      const start = rules.reserve(to - from);
      if (rows.usesExtra) extra.reserve(rules.length - extra.length);
      for (let i = from; i < to; i++) {
        const row = list[i] as number;
        const index = start + i - from;
        const at = index * size;
        if (words === 1) writeAddresses4(dimensions, row, rules.words, at);
        else writeAddresses6(dimensions, row, rules.words, at);
        orShifted(rules.words, at + rest, rows.rule[row] as number, 0);
        orShifted(rules.words, at + rest, rangesOf(row), RuleRest.RULE_RANGES);
        if (rows.usesExtra) writeExtra(dimensions, 2 * words, row, extra.words, index * EXTRA.size);
      }
      return start;
    },
  };
}

/** Offsets of FIELDS behind the address columns, and the lanes that they are kept in. */
const field = (name: (typeof FIELDS)[number]) => FIELDS.indexOf(name);
type Lanes = readonly (readonly [column: number, lane: number])[];
const LANES: Lanes = [
  [field("sport"), Lane.LANE_SPORT],
  [field("dport"), Lane.LANE_DPORT],
  [field("proto"), Lane.LANE_PROTO],
  [field("dscp"), Lane.LANE_DSCP],
];
const MORE_LANES: Lanes = [
  [field("length"), MoreLane.LANE_LENGTH],
  [field("icmpType"), MoreLane.LANE_ICMP],
  [field("ecn"), MoreLane.LANE_ECN],
  [field("fragment"), MoreLane.LANE_FRAGMENT],
];

/** Source and destination as the halves of one 64-bit word, the destination low, and the shifts in `rest`. */
function writeAddresses4(dimensions: readonly Dimension[], row: number, out: Uint32Array, at: number): void {
  const [src, dst] = dimensions as readonly [Dimension, Dimension];
  out[at + RULE4.addr] = dst.a[row] as number;
  out[at + RULE4.addr + 1] = src.a[row] as number;
  orShifted(out, at + RULE4.rest, wildBits(src, row), RuleRest.RULE_SRC_SHIFT);
  orShifted(out, at + RULE4.rest, wildBits(dst, row), RuleRest.RULE_DST_SHIFT);
}

/** 32 - the length of a prefix. */
const wildBits = ({ b }: Dimension, row: number): number => 32 - Math.clz32(b[row] as number);

/** Each address as two 64-bit words, the low half of each first. */
function writeAddresses6(dimensions: readonly Dimension[], row: number, out: Uint32Array, at: number): void {
  for (let w = 0; w < 4; w++) {
    const src = dimensions[w] as Dimension;
    const dst = dimensions[4 + w] as Dimension;
    const to = at + (w ^ 1);
    out[to + RULE6.src] = src.a[row] as number;
    out[to + RULE6.src_mask] = ~(src.b[row] as number) >>> 0;
    out[to + RULE6.dst] = dst.a[row] as number;
    out[to + RULE6.dst_mask] = ~(dst.b[row] as number) >>> 0;
  }
}

/** Lower and upper bounds in the lanes of the 64-bit words that begin with out[lo] and out[hi]. */
function writeLanes(
  dimensions: readonly Dimension[],
  first: number,
  lanes: Lanes,
  row: number,
  out: Uint32Array,
  lo: number,
  hi: number,
): void {
  for (const [column, lane] of lanes) {
    const { a, b } = dimensions[first + column] as Dimension;
    orShifted(out, lo, a[row] as number, lane);
    orShifted(out, hi, b[row] as number, lane);
  }
}

/** struct ranges of a row; the lane of ports has 1 in `hi` always. */
function rangesWords({ dimensions, family, needsPorts }: Rows, row: number): Uint32Array {
  const out = new Uint32Array(RANGES.size);
  writeLanes(dimensions, family === 4 ? 2 : 8, LANES, row, out, RANGES.lo, RANGES.hi);
  orShifted(out, RANGES.lo, needsPorts[row] as number, Lane.LANE_PORTED);
  orShifted(out, RANGES.hi, 1, Lane.LANE_PORTED);
  return out;
}

/** struct rule_extra: mark << 32 | ifindex as value and mask, then the bounds in more lanes. */
function writeExtra(
  dimensions: readonly Dimension[],
  first: number,
  row: number,
  out: Uint32Array,
  at: number,
): void {
  const mark = dimensions[first + field("mark")] as Dimension;
  const iif = dimensions[first + field("iif")] as Dimension;
  out[at + EXTRA.value] = iif.a[row] as number;
  out[at + EXTRA.value + 1] = mark.a[row] as number;
  out[at + EXTRA.mask] = ~(iif.b[row] as number) >>> 0;
  out[at + EXTRA.mask + 1] = ~(mark.b[row] as number) >>> 0;
  writeLanes(dimensions, first, MORE_LANES, row, out, at + EXTRA.lo, at + EXTRA.hi);
}

/** ORs value << shift into the 64-bit word that begins with out[at], low half first. */
function orShifted(out: Uint32Array, at: number, value: number, shift: number): void {
  if (shift < 32) out[at] = ((out[at] as number) | (value << shift)) >>> 0;
  const high = shift >= 32 ? value << (shift - 32) : shift === 0 ? 0 : value >>> (32 - shift);
  out[at + 1] = ((out[at + 1] as number) | high) >>> 0;
}
