import { Slot } from "../bpf/tables.bpf.js";
import { type Dimension, fieldMask } from "./dimension.js";
import type { Distinct } from "./distinct.js";
import type { Rows } from "./rows.js";
import { ruleWriter } from "./rule-writer.js";
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

const LEAF_SIZE = 8;
/** Most rows of a leaf: bounds what a packet costs, and what the verifier has to walk. The second where the first does not do. */
const LEAF_MAX = [64, Slot.SLOT_COUNT_MAX] as const;
const GROUPS = 4;
const TREES = Slot.RULE_TREES;
const WIDEST = 14;
/** Copies of a group's rows, as a multiple of them, from which the most copied ones move on to the next group. */
const EVICT = 4;

/**
 * Partitions the rows by which of their addresses are specific, and builds a tree for each group: a rule that is
 * wide in the field that a tree cuts would be copied into most of its leaves. Rows that are copied too often all the
 * same, and those that find no place in a leaf, move to the next group.
 *
 * @throws CrowdedRows where TREES trees are not enough
 */
export function buildForest(rows: Rows, slots: Table, rules: Table, extra: Table, ranges: Distinct): Forest {
  if (rows.length === 0) return { root: 0, count: 0, depth: 0, leaf: 0 };
  const before = [slots.length, rules.length, extra.length] as const;
  const writer = ruleWriter(rows, rules, extra, ranges);
  try {
    return buildTrees(rows, slots, rules, extra, writer, LEAF_MAX[0]);
  } catch (error) {
    if (!(error instanceof CrowdedRows)) throw error;
    for (const [k, table] of [slots, rules, extra].entries()) table.truncate(before[k] as number);
    return buildTrees(rows, slots, rules, extra, writer, LEAF_MAX[1]);
  }
}

function buildTrees(
  rows: Rows,
  slots: Table,
  rules: Table,
  extra: Table,
  writer: LeafWriter,
  leafMax: number,
): Forest {
  const dimensions = rows.dimensions.filter(isUsed);
  const root = slots.reserve(TREES);
  const build = (group: Int32Array, budget: number) =>
    new TreeBuilder(dimensions, slots, writer, {
      leafSize: LEAF_SIZE,
      leafMax,
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
