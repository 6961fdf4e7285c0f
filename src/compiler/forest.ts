import { INDEX_HALF_BITS, Lane } from "./layout.js";
import type { Rows } from "./rows.js";
import type { Table } from "./table.js";
import { EMPTY, type LeafWriter, type Tree, TreeBuilder } from "./tree.js";

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
const WIDEST = 14;
/** Copies of a group's rows, as a multiple of them, from which the most copied ones move on to the next group. */
const EVICT = 2;

/**
 * Partitions the rows by which of their addresses are specific, and builds a tree for each group: a rule that is
 * wide in the field that a tree cuts would be copied into most of its leaves. Rows that are copied too often all the
 * same move to the next group; the last takes them all.
 *
 * @throws InseparableRows
 */
export function buildForest(rows: Rows, slots: Table, rules: Table, extra: Table): Forest {
  if (rows.length === 0) return { root: 0, count: 0, depth: 0, leaf: 0 };
  const writer = leafWriter(rows, rules, extra);
  const groups = partition(rows);
  const root = slots.reserve(groups.length);
  const trees: Tree[] = [];
  for (let g = 0; g < groups.length; g++) {
    const last = g === groups.length - 1;
    let group = Int32Array.from((groups[g] as number[]).sort((a, b) => a - b));
    if (group.length === 0) continue;
    const before = [slots.length, rules.length, extra.length] as const;
    const build = () =>
      new TreeBuilder(rows.dimensions, slots, writer, {
        leafSize: LEAF_SIZE,
        widest: WIDEST,
        budget: last ? 256 * group.length + 65536 : 24 * group.length + 4096,
      }).build(group);
    let tree = build();
    if (!last && tree.entries > EVICT * group.length + rows.length) {
      const kept = leastCopied(group, tree.copies, EVICT * group.length + rows.length);
      const keep = new Set(kept);
      for (const row of group) if (!keep.has(row)) (groups[g + 1] as number[]).push(row);
      group = Int32Array.from(kept.sort((a, b) => a - b));
      slots.truncate(before[0]);
      rules.truncate(before[1]);
      extra.truncate(before[2]);
      if (group.length === 0) continue;
      tree = build();
    }
    slots.set(root + trees.length, tree.root[0], tree.root[1]);
    trees.push(tree);
  }
  for (let i = trees.length; i < groups.length; i++) slots.set(root + i, EMPTY[0], EMPTY[1]);
  return {
    root,
    count: trees.length,
    depth: Math.max(...trees.map((tree) => tree.depth)),
    leaf: Math.max(...trees.map((tree) => tree.longestLeaf)),
  };
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
  const [sport, dport, proto, dscp, mark, iif] = rows.dimensions.slice(2 * words) as unknown as FieldColumns;
  return {
    first: (row) => rows.rule[row] as number,
    needsPorts: (row) => rows.needsPorts[row] === 1,
    write: (list, from, to) => {
      const start = rules.reserve(to - from);
      if (rows.usesExtra) extra.reserve(rules.length - extra.length);
      for (let i = from; i < to; i++) {
        const row = list[i] as number;
        const at = start + i - from;
        const index = rows.rule[row] as number;
        const needsPorts = rows.needsPorts[row] as number;
        const at4 = (column: "a" | "b") =>
          [sport, dport, proto, dscp].map((field) => field[column][row] as number) as [
            number,
            number,
            number,
            number,
          ];
        const lo = lanes(at4("a"), needsPorts, index >>> INDEX_HALF_BITS);
        const hi = lanes(at4("b"), 1, index & (2 ** INDEX_HALF_BITS - 1));
        rules.set(at, ...addressWords(rows, words, row), ...lo, ...hi);
        if (rows.usesExtra) {
          const [markWild, iifWild] = [mark.b[row] as number, iif.b[row] as number];
          extra.set(at, iif.a[row] as number, mark.a[row] as number, ~iifWild >>> 0, ~markWild >>> 0);
        }
      }
      return start;
    },
  };
}

type Column = { readonly a: Uint32Array; readonly b: Uint32Array };
type FieldColumns = [sport: Column, dport: Column, proto: Column, dscp: Column, mark: Column, iif: Column];

/** The 64-bit word of a rule's bounds as its low and high half. */
function lanes(
  fields: readonly [number, number, number, number],
  ported: number,
  index: number,
): [number, number] {
  const [sport, dport, proto, dscp] = fields;
  const bits =
    (BigInt(sport) << BigInt(Lane.sport)) |
    (BigInt(dport) << BigInt(Lane.dport)) |
    (BigInt(proto) << BigInt(Lane.proto)) |
    (BigInt(dscp) << BigInt(Lane.dscp)) |
    (BigInt(ported) << BigInt(Lane.ported)) |
    (BigInt(index) << BigInt(Lane.index));
  return [Number(bits & 0xffffffffn), Number(bits >> 32n)];
}

/** struct rule4: addr, addr_mask. struct rule6: src, src_mask, dst, dst_mask. 64-bit words, low half first. */
function addressWords(rows: Rows, words: number, row: number): number[] {
  const a = rows.dimensions.slice(0, 2 * words).map((dimension) => dimension.a[row] as number);
  const m = rows.dimensions.slice(0, 2 * words).map((dimension) => ~(dimension.b[row] as number) >>> 0);
  const swap = (w: readonly number[], at: number) => [w[at + 1] as number, w[at] as number];
  if (words === 1) return [...swap(a, 0), ...swap(m, 0)];
  return [0, 4].flatMap((side) => [
    ...swap(a, side),
    ...swap(a, side + 2),
    ...swap(m, side),
    ...swap(m, side + 2),
  ]);
}
