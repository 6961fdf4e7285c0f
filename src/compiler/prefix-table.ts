import type { Family, Prefix } from "../config/policy.js";
import type { Dimension } from "./dimension.js";
import { OWNER_BITS } from "./layout.js";
import { prefixWord } from "./rows.js";
import type { Table } from "./table.js";
import { TreeBuilder } from "./tree.js";

/** A tree that finds the longest prefix holding an address. Root 0 stands for no prefixes at all. */
export interface PrefixTree {
  readonly root: number;
  readonly depth: number;
  readonly leaf: number;
}

export interface OwnedPrefix {
  readonly prefix: Prefix;
  /** Connection index or shared list (see layout.ts). */
  readonly owner: number;
}

const LEAF_SIZE = 4;
const WIDEST = 20;

/**
 * @param word the key's first word that holds the address
 * @param entries no two with the same prefix
 */
export function buildPrefixTree(
  entries: readonly OwnedPrefix[],
  family: Family,
  word: number,
  slots: Table,
  prefixes: Table,
): PrefixTree {
  if (entries.length === 0) return { root: 0, depth: 0, leaf: 0 };
  // Longest first, so that the first match of a leaf is the longest.
  const order = [...entries].sort((x, y) => y.prefix.length - x.prefix.length);
  const dimensions: Dimension[] = [];
  for (let w = 0; w < (family === 4 ? 1 : 4); w++) {
    const a = new Uint32Array(order.length);
    const b = new Uint32Array(order.length);
    order.forEach(({ prefix }, i) => {
      const [value, wild] = prefixWord(prefix, w);
      a[i] = value;
      b[i] = wild;
    });
    dimensions.push({ name: `word${w}`, word: word + w, shift: 0, bits: 32, kind: "mask", a, b });
  }
  const builder = new TreeBuilder(
    dimensions,
    slots,
    {
      first: () => 0,
      write: (rows, from, to) => {
        const start = prefixes.reserve(to - from);
        for (let i = from; i < to; i++) {
          const entry = order[rows[i] as number] as OwnedPrefix;
          prefixes.set(start + i - from, ...entryWords(entry));
        }
        return start;
      },
    },
    { leafSize: LEAF_SIZE, widest: WIDEST, budget: 64 * order.length + 4096 },
  );
  const root = slots.reserve(1);
  const tree = builder.build(Int32Array.from(order.keys()));
  slots.set(root, tree.root[0], tree.root[1]);
  return { root, depth: tree.depth, leaf: tree.longestLeaf };
}

/** struct prefix4 or prefix6, in 32-bit words. */
function entryWords({ prefix, owner }: OwnedPrefix): number[] {
  const [a = 0, b = 0, c = 0, d = 0] = prefix.words;
  if (prefix.family === 4) return [a, ((prefix.length << OWNER_BITS) | owner) >>> 0];
  return [b, a, d, c, ((prefix.length << OWNER_BITS) | owner) >>> 0, prefix.length >>> (32 - OWNER_BITS)];
}
