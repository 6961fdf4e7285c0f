import { Lane, MoreLane, Rule4, Rule6, RuleExtra } from "../bpf/tables.bpf.js";
import type { Dimension } from "./dimension.js";
import { FIELDS, type Rows } from "./rows.js";
import { memberWords, type Table } from "./table.js";
import type { LeafWriter } from "./tree.js";

const RULE4 = memberWords(Rule4);
const RULE6 = memberWords(Rule6);
const EXTRA = memberWords(RuleExtra);

/** Writes rows as struct rule4 or rule6, and where rows use it struct rule_extra beside them (bpf/tables.h). */
export function ruleWriter(rows: Rows, rules: Table, extra: Table): LeafWriter {
  const words = rows.family === 4 ? 1 : 4;
  const { size, lo, hi } = rows.family === 4 ? RULE4 : RULE6;
  const { dimensions } = rows;
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
        writeLanes(dimensions, 2 * words, LANES, row, rules.words, at + lo, at + hi);
        writeIndex(rows, row, rules.words, at + lo, at + hi);
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

/** Source and destination as the halves of one 64-bit word, the destination low. */
function writeAddresses4(dimensions: readonly Dimension[], row: number, out: Uint32Array, at: number): void {
  for (let side = 0; side < 2; side++) {
    const { a, b } = dimensions[side] as Dimension;
    out[at + RULE4.addr + 1 - side] = a[row] as number;
    out[at + RULE4.addr_mask + 1 - side] = ~(b[row] as number) >>> 0;
  }
}

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

/** The lane of ports, in which `hi` is 1 always, and the halves of the rule's index above the lanes. */
function writeIndex(rows: Rows, row: number, out: Uint32Array, lo: number, hi: number): void {
  const index = rows.rule[row] as number;
  orShifted(out, lo, rows.needsPorts[row] as number, Lane.LANE_PORTED);
  orShifted(out, hi, 1, Lane.LANE_PORTED);
  orShifted(out, lo, index >>> Lane.INDEX_HALF_BITS, Lane.LANE_INDEX);
  orShifted(out, hi, index & (2 ** Lane.INDEX_HALF_BITS - 1), Lane.LANE_INDEX);
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
