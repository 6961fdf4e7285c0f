/**
 * Builds one decision tree over rows: each inner node cuts a window of adjacent bits out of one field, chosen so that
 * the rules are spread best for the copies that it costs; each leaf is a short run of rows, in order of precedence.
 * The idea is that of HyperSplit and bit-window trees (CutSplit, ByteCuts); the scores were found by measurement.
 */

import { KeyWord, Slot } from "../bpf/tables.bpf.js";
import { type Dimension, emptyRegion, fieldMask, type Region, regionBounds } from "./dimension.js";
import { BitCounts, Spans } from "./spans.js";
import type { Table } from "./table.js";

export interface TreeOptions {
  /** Rows that a leaf may hold without another cut. */
  readonly leafSize: number;
  /** Bits of the widest window. */
  readonly widest: number;
  /** Rows that a leaf may hold at all; those behind overflow into another tree. */
  readonly leafMax: number;
  /** Row copies over all leaves after which nodes are no longer cut. */
  readonly budget: number;
}

/** Where the rows of leaves are written. */
export interface LeafWriter {
  /** Writes rows[from, to) side by side and returns the position of the first in the table of entries. */
  write(rows: Int32Array, from: number, to: number): number;
  /** Precedence of a row: a lower one wins. */
  first(row: number): number;
  /** True where a row can match only packets that have ports. */
  needsPorts(row: number): boolean;
}

export interface Tree {
  /** Root slot, low and high word. */
  readonly root: readonly [number, number];
  readonly depth: number;
  readonly longestLeaf: number;
  /** Row copies over all leaves, and by row. */
  readonly entries: number;
  readonly copies: Uint32Array;
  /** Rows that some leaf had no place for, in order of precedence: another tree must have them. */
  readonly overflow: Int32Array;
}

const MAX_DEPTH = 28;
const ALPHA = 0.4;
/** Widen a window while its score falls at least by this factor. */
const WIDEN = 0.96;
/** A cut is worth while when the expected leaf shrinks below this part of the node. */
const WORTH = 0.97;
/** ... and the copies do not reach this multiple of the rows. */
const COPIES = 3;
const WINDOW_COPIES = 8;
const SLOTS_PER_ROW = 4;
const SAMPLE = 2048;

/** First bits of a slot's upper fields, within its high word. */
export const SlotHigh = {
  word: Slot.SLOT_WORD - 32,
  width: Slot.SLOT_WIDTH - 32,
  count: Slot.SLOT_COUNT - 32,
  first: Slot.SLOT_FIRST - 32,
  leaf: Slot.SLOT_LEAF - 32,
} as const;

export class TreeBuilder {
  readonly #dimensions: readonly Dimension[];
  readonly #slots: Table;
  readonly #leaves: LeafWriter;
  readonly #options: TreeOptions;
  readonly #known = new Map<number, { rows: Int32Array; slot: [number, number] }[]>();
  readonly #region: Region;
  readonly #spans: Spans;
  readonly #bits: BitCounts;
  readonly #histogram: Int32Array;
  readonly #copies: Uint32Array;
  readonly #overflow = new Set<number>();
  #entries = 0;
  #depth = 0;
  #longestLeaf = 0;
  // Results of #spread, kept in fields to spare an object for each of millions of calls.
  #expected = 0;
  #total = 0;

  constructor(dimensions: readonly Dimension[], slots: Table, leaves: LeafWriter, options: TreeOptions) {
    this.#dimensions = dimensions;
    this.#slots = slots;
    this.#leaves = leaves;
    this.#options = options;
    this.#region = emptyRegion(dimensions.length);
    this.#spans = new Spans(dimensions, this.#region, options.widest);
    this.#bits = new BitCounts(dimensions, this.#region);
    this.#histogram = new Int32Array(2 ** options.widest + 2);
    this.#copies = new Uint32Array(dimensions[0]?.a.length ?? 0);
  }

  /** @param rows in order of precedence */
  build(rows: Int32Array): Tree {
    const root = this.#node(rows, 0, rows.length, 0);
    return {
      root,
      depth: this.#depth,
      longestLeaf: this.#longestLeaf,
      entries: this.#entries,
      copies: this.#copies,
      overflow: Int32Array.from(this.#overflow).sort(),
    };
  }

  #node(rows: Int32Array, from: number, end: number, depth: number): [number, number] {
    const to = this.#cutBehindCover(rows, from, end);
    const n = to - from;
    const { leafSize, budget } = this.#options;
    if (n <= leafSize || depth >= MAX_DEPTH || this.#entries > budget)
      return this.#leaf(rows, from, to, depth);
    const window = this.#choose(rows, from, to);
    if (!window) return this.#leaf(rows, from, to, depth);
    return this.#inner(rows, from, to, depth, window.field, window.shift, window.width);
  }

  #inner(
    rows: Int32Array,
    from: number,
    to: number,
    depth: number,
    field: number,
    shift: number,
    width: number,
  ) {
    const dimension = this.#dimensions[field] as Dimension;
    const size = 2 ** width;
    const starts = this.#distribute(rows, from, to, field, shift, width);
    const children = starts.rows;
    const base = this.#slots.reserve(size);
    const { fixed, value } = this.#region;
    const fixedBefore = fixed[field] as number;
    const valueBefore = value[field] as number;
    fixed[field] = (fixedBefore | ((size - 1) << shift)) >>> 0;
    let slot: [number, number] = EMPTY;
    for (let i = 0; i < size; i++) {
      const a = starts.at[i] as number;
      const b = starts.at[i + 1] as number;
      if (a === b) {
        slot = EMPTY;
      } else {
        value[field] = (valueBefore | (i << shift)) >>> 0;
        if (i === 0 || !this.#sameAsNeighbour(starts, i, field, valueBefore, shift))
          slot = this.#node(children, a, b, depth + 1);
      }
      this.#slots.set(base + i, slot[0], slot[1]);
    }
    fixed[field] = fixedBefore;
    value[field] = valueBefore;
    const high =
      (dimension.word << SlotHigh.word) |
      (width << SlotHigh.width) |
      (this.#leaves.first(rows[from] as number) << SlotHigh.first);
    return [(base | ((shift + dimension.shift) << Slot.SLOT_SHIFT)) >>> 0, high >>> 0] as [number, number];
  }

  /** Neighbouring children with the same rows share one subtree. */
  #sameAsNeighbour(starts: Children, i: number, field: number, valueBefore: number, shift: number): boolean {
    const { at, rows } = starts;
    const p = at[i - 1] as number;
    const a = at[i] as number;
    const n = (at[i + 1] as number) - a;
    if (a - p !== n) return false;
    for (let k = 0; k < n; k++) if (rows[p + k] !== rows[a + k]) return false;
    const dimension = this.#dimensions[field] as Dimension;
    if (dimension.kind === "mask") return true;
    // A range may be clipped differently by the two regions: share only where every range spans both.
    const fixed = this.#region.fixed[field] as number;
    const [low] = regionBounds(dimension, fixed, (valueBefore | ((i - 1) << shift)) >>> 0);
    const [, high] = regionBounds(dimension, fixed, (valueBefore | (i << shift)) >>> 0);
    for (let k = a; k < a + n; k++) {
      const row = rows[k] as number;
      if ((dimension.a[row] as number) > low || (dimension.b[row] as number) < high) return false;
    }
    return true;
  }

  /** Rows behind one that matches everything in this node can never win here. */
  #cutBehindCover(rows: Int32Array, from: number, to: number): number {
    for (let i = from; i < to - 1; i++) if (this.#covers(rows[i] as number)) return i + 1;
    return to;
  }

  #covers(row: number): boolean {
    const { fixed, value } = this.#region;
    let ported = false;
    for (let f = 0; f < this.#dimensions.length; f++) {
      const dimension = this.#dimensions[f] as Dimension;
      const a = dimension.a[row] as number;
      const b = dimension.b[row] as number;
      if (dimension.kind === "mask") {
        if (~b & ~(fixed[f] as number)) return false;
      } else {
        const [low, high] = regionBounds(dimension, fixed[f] as number, value[f] as number);
        if (a > low || b < high) return false;
        if (dimension.word === KeyWord.KEY_PORTS && low > 0) ported = true;
      }
    }
    return ported || !this.#leaves.needsPorts(row);
  }

  #leaf(rows: Int32Array, from: number, end: number, depth: number): [number, number] {
    const to = Math.min(end, from + this.#options.leafMax);
    for (let i = to; i < end; i++) this.#overflow.add(rows[i] as number);
    const n = to - from;
    if (n === 0) return EMPTY;
    this.#depth = Math.max(this.#depth, depth);
    this.#longestLeaf = Math.max(this.#longestLeaf, n);
    this.#entries += n;
    let hash = n;
    for (let i = from; i < to; i++) {
      const row = rows[i] as number;
      this.#copies[row] = (this.#copies[row] as number) + 1;
      hash = Math.imul(hash ^ row, 16777619) >>> 0;
    }
    const alike = this.#known.get(hash);
    if (alike) for (const leaf of alike) if (sameRows(leaf.rows, rows, from, n)) return leaf.slot;
    const start = this.#leaves.write(rows, from, to);
    const high =
      (n << SlotHigh.count) |
      (this.#leaves.first(rows[from] as number) << SlotHigh.first) |
      (1 << SlotHigh.leaf);
    const leaf = { rows: rows.slice(from, to), slot: [start, high >>> 0] as [number, number] };
    if (alike) alike.push(leaf);
    else this.#known.set(hash, [leaf]);
    return leaf.slot;
  }

  /** Finds the best single bit, then widens it to a window while that pays; null where none is worth while. */
  #choose(rows: Int32Array, from: number, to: number) {
    const n = to - from;
    const step = stepOf(n);
    const counts = this.#bits;
    let field = -1;
    let shift = 0;
    let best = Number.POSITIVE_INFINITY;
    let expected = 0;
    let total = 0;
    for (let f = 0; f < this.#dimensions.length; f++) {
      const { bits } = this.#dimensions[f] as Dimension;
      const fixed = this.#region.fixed[f] as number;
      if (fixed === fieldMask(bits)) continue;
      counts.count(f, rows, from, to, step);
      const scale = n / counts.rows;
      for (let s = 0; s < bits; s++) {
        if ((fixed >>> s) & 1) continue;
        const zeros = (counts.zeros[s] as number) * scale;
        const ones = (counts.ones[s] as number) * scale;
        const spread = (zeros * zeros + ones * ones) / (zeros + ones);
        if (!(spread < n)) continue; // all rows agree in this bit, or none does
        const score = spread * ((zeros + ones) / n) ** ALPHA;
        if (score >= best) continue;
        best = score;
        field = f;
        shift = s;
        expected = spread;
        total = zeros + ones;
      }
    }
    const crowded = n > this.#options.leafMax;
    if (field < 0 || !(crowded || (best < n && expected <= WORTH * n && total <= COPIES * n))) return null;
    let width = 1;
    const fixed = this.#region.fixed[field] as number;
    const { bits } = this.#dimensions[field] as Dimension;
    while (width < this.#options.widest && 2 ** (width + 1) <= Math.max(4, SLOTS_PER_ROW * n)) {
      let below = Number.POSITIVE_INFINITY;
      let above = Number.POSITIVE_INFINITY;
      let copies = 0;
      if (shift > 0 && !((fixed >>> (shift - 1)) & 1)) {
        below = this.#score(rows, from, to, field, shift - 1, width + 1);
        copies = this.#total;
      }
      if (shift + width < bits && !((fixed >>> (shift + width)) & 1)) {
        above = this.#score(rows, from, to, field, shift, width + 1);
        if (above < below) copies = this.#total;
      }
      const score = Math.min(below, above);
      if (score > WIDEN * best || copies > WINDOW_COPIES * n) break;
      if (below <= above) shift--;
      width++;
      best = score;
    }
    return { field, shift, width };
  }

  #score(rows: Int32Array, from: number, to: number, field: number, shift: number, width: number): number {
    this.#spread(rows, from, to, field, shift, width);
    return this.#expected * (this.#total / (to - from)) ** ALPHA;
  }

  /** Over a window: rows expected in the child of a random row (#expected) and row copies in all (#total). */
  #spread(rows: Int32Array, from: number, to: number, field: number, shift: number, width: number): void {
    const size = 2 ** width;
    const histogram = this.#histogram;
    histogram.fill(0, 0, size + 1);
    const spans = this.#spans;
    spans.prepare(field, shift, width);
    const n = to - from;
    const step = stepOf(n);
    let sampled = 0;
    for (let i = from; i < to; i += step) {
      sampled++;
      const count = spans.of(rows[i] as number);
      for (let k = 0; k < count; k++) {
        const a = spans.from[k] as number;
        const b = (spans.to[k] as number) + 1;
        histogram[a] = (histogram[a] as number) + 1;
        histogram[b] = (histogram[b] as number) - 1;
      }
    }
    let total = 0;
    let squares = 0;
    let count = 0;
    for (let i = 0; i < size; i++) {
      count += histogram[i] as number;
      total += count;
      squares += count * count;
    }
    const scale = n / sampled;
    this.#expected = total > 0 ? (squares / total) * scale : 0;
    this.#total = total * scale;
  }

  #distribute(
    rows: Int32Array,
    from: number,
    to: number,
    field: number,
    shift: number,
    width: number,
  ): Children {
    const size = 2 ** width;
    const at = new Int32Array(size + 1);
    const spans = this.#spans;
    spans.prepare(field, shift, width);
    for (let i = from; i < to; i++) {
      const count = spans.of(rows[i] as number);
      for (let k = 0; k < count; k++) {
        const b = spans.to[k] as number;
        for (let c = (spans.from[k] as number) + 1; c <= b + 1; c++) at[c] = (at[c] as number) + 1;
      }
    }
    for (let i = 0; i < size; i++) at[i + 1] = (at[i + 1] as number) + (at[i] as number);
    const next = at.slice(0, size);
    const children = new Int32Array(at[size] as number);
    for (let i = from; i < to; i++) {
      const row = rows[i] as number;
      const count = spans.of(row);
      for (let k = 0; k < count; k++) {
        const b = spans.to[k] as number;
        for (let c = spans.from[k] as number; c <= b; c++) {
          const position = next[c] as number;
          children[position] = row;
          next[c] = position + 1;
        }
      }
    }
    return { at, rows: children };
  }
}

function sameRows(known: Int32Array, rows: Int32Array, from: number, count: number): boolean {
  if (known.length !== count) return false;
  for (let i = 0; i < count; i++) if (known[i] !== rows[from + i]) return false;
  return true;
}

/** Large nodes are judged by a sample of their rows. */
function stepOf(rows: number): number {
  return rows > 2 * SAMPLE ? Math.floor(rows / SAMPLE) : 1;
}

interface Children {
  /** Child i has rows[at[i], at[i + 1]). */
  readonly at: Int32Array;
  readonly rows: Int32Array;
}

/** A leaf without rows. */
export const EMPTY: [number, number] = [
  0,
  ((1 << SlotHigh.leaf) | (Slot.INDEX_NONE << SlotHigh.first)) >>> 0,
];
