import type { Dimension } from "./dimension.js";
import { INDEX_HALF_BITS, Lane, MoreLane } from "./layout.js";
import { FIELDS, type Rows } from "./rows.js";
import type { Table } from "./table.js";
import type { LeafWriter } from "./tree.js";

/** Writes rows as struct rule4 or rule6, and where rows use it struct rule_extra beside them (bpf/tables.h). */
export function ruleWriter(rows: Rows, rules: Table, extra: Table): LeafWriter {
  const words = rows.family === 4 ? 1 : 4;
  const ruleWords = rows.family === 4 ? 8 : 20;
  const { dimensions } = rows;
  return {
    first: (row) => rows.rule[row] as number,
    needsPorts: (row) => rows.needsPorts[row] === 1,
    write: (list, from, to) => {
      const start = rules.reserve(to - from);
      if (rows.usesExtra) extra.reserve(rules.length - extra.length);
      for (let i = from; i < to; i++) {
        const row = list[i] as number;
        const at = start + i - from;
        writeAddresses(dimensions, words, row, rules.words, at * ruleWords);
        const lanes = at * ruleWords + ruleWords - 4;
        writeLanes(dimensions, 2 * words, LANES, row, rules.words, lanes);
        writeIndex(rows, row, rules.words, lanes);
        if (rows.usesExtra) writeExtra(dimensions, 2 * words, row, extra.words, at * 8);
      }
      return start;
    },
  };
}

/** Offsets of FIELDS behind the address columns, and the lanes that they are kept in. */
const field = (name: (typeof FIELDS)[number]) => FIELDS.indexOf(name);
type Lanes = readonly (readonly [column: number, lane: number])[];
const LANES: Lanes = [
  [field("sport"), Lane.sport],
  [field("dport"), Lane.dport],
  [field("proto"), Lane.proto],
  [field("dscp"), Lane.dscp],
];
const MORE_LANES: Lanes = [
  [field("length"), MoreLane.length],
  [field("icmpType"), MoreLane.icmp],
  [field("ecn"), MoreLane.ecn],
  [field("fragment"), MoreLane.fragment],
];

/** struct rule4: addr, addr_mask. struct rule6: src, src_mask, dst, dst_mask. 64-bit words, low half first. */
function writeAddresses(
  dimensions: readonly Dimension[],
  words: number,
  row: number,
  out: Uint32Array,
  at: number,
): void {
  for (let side = 0; side < 2; side++)
    for (let w = 0; w < words; w++) {
      const { a, b } = dimensions[side * words + w] as Dimension;
      const to = words === 1 ? at + 1 - side : at + 8 * side + (w ^ 1);
      out[to] = a[row] as number;
      out[to + (words === 1 ? 2 : 4)] = ~(b[row] as number) >>> 0;
    }
}

/** Lower and upper bounds in the lanes of two 64-bit words, `lo` and `hi`. */
function writeLanes(
  dimensions: readonly Dimension[],
  first: number,
  lanes: Lanes,
  row: number,
  out: Uint32Array,
  at: number,
): void {
  for (const [column, lane] of lanes) {
    const { a, b } = dimensions[first + column] as Dimension;
    orShifted(out, at, a[row] as number, lane);
    orShifted(out, at + 2, b[row] as number, lane);
  }
}

/** The lane of ports, in which `hi` is 1 always, and the halves of the rule's index above the lanes. */
function writeIndex(rows: Rows, row: number, out: Uint32Array, at: number): void {
  const index = rows.rule[row] as number;
  orShifted(out, at, rows.needsPorts[row] as number, Lane.ported);
  orShifted(out, at + 2, 1, Lane.ported);
  orShifted(out, at, index >>> INDEX_HALF_BITS, Lane.index);
  orShifted(out, at + 2, index & (2 ** INDEX_HALF_BITS - 1), Lane.index);
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
  out[at] = iif.a[row] as number;
  out[at + 1] = mark.a[row] as number;
  out[at + 2] = ~(iif.b[row] as number) >>> 0;
  out[at + 3] = ~(mark.b[row] as number) >>> 0;
  writeLanes(dimensions, first, MORE_LANES, row, out, at + 4);
}

/** ORs value << shift into the 64-bit word that begins with out[at], low half first. */
function orShifted(out: Uint32Array, at: number, value: number, shift: number): void {
  if (shift < 32) out[at] = ((out[at] as number) | (value << shift)) >>> 0;
  const high = shift >= 32 ? value << (shift - 32) : shift === 0 ? 0 : value >>> (32 - shift);
  out[at + 1] = ((out[at + 1] as number) | high) >>> 0;
}
