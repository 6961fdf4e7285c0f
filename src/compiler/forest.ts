import { type Dimension, fieldMask } from "./dimension.js";
import { INDEX_HALF_BITS, Lane, MoreLane } from "./layout.js";
import { FIELDS, type Rows } from "./rows.js";
import type { Table } from "./table.js";
import { EMPTY, type LeafWriter, type Tree, TreeBuilder } from "./tree.js";

/** Rows that overlap each other so much that the trees have no place for them. */
export class CrowdedRows extends Error {
  readonly rows: Int32Array;
  constructor(rows: Int32Array) {
    super(`${rows.length} rows have no place in ${TREES} trees`);
    this.rows = rows;
  }
}

/** Where the trees over one family's rules ended up, and the bounds that the verifier needs. */
export interface Forest {
  /** First of `count` consecutive root slots. */
  readonly root: number;
  readonly count: number;
  readonly depth: number;
  /** Rules in the longest leaf. */
  readonly leaf: number;
}

const LEAF_SIZE = 12;
/** Most rows of a leaf: bounds what a packet costs, and what the verifier has to walk. */
const LEAF_MAX = 64;
const GROUPS = 4;
/** Most trees of a family. */
const TREES = 12;
const WIDEST = 14;
/** Copies of a group's rows, as a multiple of them, from which the most copied ones move on to the next group. */
const EVICT = 2;

/**
 * Partitions the rows by which of their addresses are specific, and builds a tree for each group: a rule that is
 * wide in the field that a tree cuts would be copied into most of its leaves. Rows that are copied too often all the
 * same, and those that find no place in a leaf, move to the next group.
 *
 * @throws CrowdedRows where TREES trees are not enough
 */
export function buildForest(rows: Rows, slots: Table, rules: Table, extra: Table): Forest {
  if (rows.length === 0) return { root: 0, count: 0, depth: 0, leaf: 0 };
  const writer = leafWriter(rows, rules, extra);
  const dimensions = rows.dimensions.filter(isUsed);
  const root = slots.reserve(TREES);
  const build = (group: Int32Array, budget: number) =>
    new TreeBuilder(dimensions, slots, writer, {
      leafSize: LEAF_SIZE,
      leafMax: LEAF_MAX,
      widest: WIDEST,
      budget,
    }).build(group);

  const groups = partition(rows);
  const trees: Tree[] = [];
  for (let g = 0; g < groups.length; g++) {
    let group = Int32Array.from(groups[g] as number[]).sort();
    if (group.length === 0) continue;
    if (trees.length === TREES) throw new CrowdedRows(group);
    const next: number[] = groups[g + 1] ?? [];
    const before = [slots.length, rules.length, extra.length] as const;
    const last = g >= GROUPS - 1;
    const limit = EVICT * group.length + rows.length;
    const budget = last ? 64 * group.length + 16384 : 24 * group.length + 4096;
    let tree = build(group, budget);
    if (!last && tree.entries > limit) {
      const kept = leastCopied(group, tree.copies, limit);
      const keep = new Set(kept);
      for (const row of group) if (!keep.has(row)) next.push(row);
      group = Int32Array.from(kept).sort();
      slots.truncate(before[0]);
      rules.truncate(before[1]);
      extra.truncate(before[2]);
      tree = build(group, budget);
    }
    for (const row of tree.overflow) next.push(row);
    if (next.length > 0) groups[g + 1] = next;
    slots.set(root + trees.length, tree.root[0], tree.root[1]);
    trees.push(tree);
  }
  for (let i = trees.length; i < TREES; i++) slots.set(root + i, EMPTY[0], EMPTY[1]);
  return {
    root,
    count: trees.length,
    depth: Math.max(...trees.map((tree) => tree.depth)),
    leaf: Math.max(...trees.map((tree) => tree.longestLeaf)),
  };
}

/** Whether any row asks something of the field. */
function isUsed({ a, b, bits }: Dimension): boolean {
  return b.some((value, row) => value !== fieldMask(bits) || a[row] !== 0);
}

/** Rows with both addresses specific, the destination only, the source only, neither. */
function partition(rows: Rows): number[][] {
  const groups: number[][] = [[], [], [], []];
  const words = rows.family === 4 ? 1 : 4;
  const specific = (side: number, row: number) => {
    // A prefix of at least 4 bits fixes the top 4 bits of the first word.
    const first = rows.dimensions[side * words];
    return first !== undefined && (first.b[row] as number) <= 0x0fffffff;
  };
  for (let row = 0; row < rows.length; row++) {
    const src = specific(0, row);
    const dst = specific(1, row);
    groups[src && dst ? 0 : dst ? 1 : src ? 2 : 3]?.push(row);
  }
  return groups;
}

function leastCopied(group: Int32Array, copies: Uint32Array, limit: number): number[] {
  const order = [...group].sort((a, b) => (copies[a] as number) - (copies[b] as number) || a - b);
  let sum = 0;
  const end = order.findIndex((row) => {
    sum += copies[row] as number;
    return sum > limit;
  });
  return end < 0 ? order : order.slice(0, end);
}

function leafWriter(rows: Rows, rules: Table, extra: Table): LeafWriter {
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
