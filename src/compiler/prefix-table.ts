/**
 * A trie for longest prefix match: six bits a node, of whose children only those are kept that differ from the rest,
 * and counted bits find them (the idea of poptrie, Asai and Ohara 2015). Few prefixes end in a short list that is
 * compared; bits that all prefixes below share are compared at once and skipped. See bpf/prefixes.h.
 */
import { Owner, Prefix4, Prefix6, PrefixNode, PrefixValue } from "../bpf/tables.bpf.js";
import { addressBits, commonBits, type PrefixColumns } from "./prefix-set.js";
import { memberWords, type Table } from "./table.js";

/** Members of struct prefix_trie in bpf/prefixes.h. */
export interface PrefixTrie {
  readonly root: number;
  /** Leading bits that all prefixes share with `start`, and the bits that pick the root node. */
  readonly skip: number;
  readonly width: number;
  /** Values on the longest path, prefixes in the longest list: bounds for the verifier. */
  readonly depth: number;
  readonly list: number;
  /** Owner of what does not begin as `start` does. */
  readonly outside: number;
  /** 4 words, most significant first. */
  readonly start: readonly number[];
}

export interface PrefixTables {
  readonly nodes: Table;
  readonly values: Table;
  /** prefixes4 or prefixes6. */
  readonly prefixes: Table;
}

/** Prefixes that are rather compared than given a node. */
const LIST = 3;
/** Shared bits from which a comparison is cheaper than the nodes that it saves. */
const SKIP = 6;
const WIDEST_ROOT = 20;
const { NODE_BITS, VALUE_NODE, VALUE_LIST, VALUE_OFFSET, VALUE_COUNT } = PrefixValue;
const { OWNER_NONE } = Owner;
const NODE = memberWords(PrefixNode);
const PREFIX4 = memberWords(Prefix4);
const PREFIX6 = memberWords(Prefix6);
const FANOUT = 2 ** NODE_BITS;
const NODES_MAX = 2 ** VALUE_OFFSET;
const ENTRIES_MAX = 2 ** VALUE_COUNT;
/** Bits of the BPF program's halves of an address, which a window must not cross. */
const HALF = 64;

/** @param prefixes sorted, none twice @throws RangeError where the table would need more than 2^24 nodes */
export function buildPrefixTrie(prefixes: PrefixColumns, tables: PrefixTables): PrefixTrie {
  return new TrieBuilder(prefixes, tables).build();
}

/** What one node (or the root) gives each of its children: the range of longer prefixes, and the owner around them. */
interface Level {
  readonly owner: Uint32Array;
  readonly from: Uint32Array;
  readonly to: Uint32Array;
}

function level(children: number): Level {
  return {
    owner: new Uint32Array(children),
    from: new Uint32Array(children),
    to: new Uint32Array(children),
  };
}

class TrieBuilder {
  readonly #set: PrefixColumns;
  readonly #tables: PrefixTables;
  /** Scratch, by depth of recursion. */
  readonly #levels: Level[] = [];
  #depth = 0;
  #list = 0;

  constructor(set: PrefixColumns, tables: PrefixTables) {
    this.#set = set;
    this.#tables = tables;
  }

  build(): PrefixTrie {
    const { count, words, wordsEach } = this.#set;
    let outside: number = OWNER_NONE;
    let first = 0;
    // The whole family's prefix is sorted first; it is what is left outside of all others.
    if (count > 0 && this.#set.length[0] === 0) {
      outside = this.#set.owner[0] as number;
      first = 1;
    }
    const none = { skip: 0, width: 0, outside, start: [0, 0, 0, 0] };
    if (count - first <= LIST) {
      const root = this.#value(first, count, 0, outside, 0);
      return { ...none, root, depth: this.#depth, list: this.#list };
    }
    const shared = this.#sharedBits(first, count);
    const width = this.#rootWidth(first, shared);
    const skip = Math.min(shared, windowStart(shared, width + NODE_BITS, wordsEach));
    const root =
      width === 0 ? this.#node(first, count, skip, outside, 1) : this.#root(first, skip, width, outside);
    const start = [0, 1, 2, 3].map((w) => (w < wordsEach ? (words[first * wordsEach + w] as number) : 0));
    return { root, skip, width, depth: this.#depth, list: this.#list, outside, start };
  }

  /** Leading bits that prefixes [from, to) share; sorted as they are, first and last differ soonest. */
  #sharedBits(from: number, to: number): number {
    const { words, wordsEach, length } = this.#set;
    let shared = commonBits(words, from, to - 1, wordsEach);
    for (let i = from; i < to; i++) shared = Math.min(shared, length[i] as number);
    return shared;
  }

  /** Wide enough for about four prefixes a node, or to end a node at the length that most prefixes have. */
  #rootWidth(first: number, shared: number): number {
    const { count, length } = this.#set;
    const byLength = new Uint32Array(129);
    for (let i = first; i < count; i++)
      byLength[length[i] as number] = (byLength[length[i] as number] as number) + 1;
    const usual = byLength.indexOf(Math.max(...byLength));
    const exact = usual - NODE_BITS - shared;
    if (exact > 0 && exact <= WIDEST_ROOT && 2 ** exact <= 8 * count) return exact;
    return Math.max(0, Math.min(WIDEST_ROOT, Math.floor(Math.log2(count)) - 2));
  }

  #root(first: number, skip: number, width: number, outside: number): number {
    const size = 2 ** width;
    const children = level(size);
    this.#split(children, first, this.#set.count, skip, width, outside);
    const base = this.#reserveNodes(size);
    for (let i = 0; i < size; i++)
      this.#fillNode(
        base + i,
        children.from[i] as number,
        children.to[i] as number,
        skip + width,
        children.owner[i] as number,
        1,
      );
    return nodeValue(base, skip + width);
  }

  #reserveNodes(count: number): number {
    const base = this.#tables.nodes.reserve(count);
    if (base + count > NODES_MAX) throw new RangeError(`the prefixes need more than ${NODES_MAX} nodes`);
    return base;
  }

  /** Value for prefixes [from, to), all of which begin with the `known` bits that led here, around which is `owner`. */
  #value(from: number, to: number, known: number, owner: number, depth: number): number {
    if (from === to) return owner;
    if (to - from <= LIST) return this.#comparedList(from, to, owner, depth);
    const shared = this.#sharedBits(from, to);
    if (shared >= known + SKIP) {
      const offset = windowStart(shared, NODE_BITS, this.#set.wordsEach);
      const inner = this.#node(from, to, offset, owner, depth + 2);
      const at = this.#reserveList(owner === OWNER_NONE ? 1 : 2);
      this.#writePrefix(at, from, offset, inner);
      if (owner !== OWNER_NONE) this.#writePrefix(at + 1, from, 0, owner);
      return this.#listValue(at, owner === OWNER_NONE ? 1 : 2);
    }
    return this.#node(from, to, windowStart(known, NODE_BITS, this.#set.wordsEach), owner, depth + 1);
  }

  #node(from: number, to: number, offset: number, owner: number, depth: number): number {
    const node = this.#reserveNodes(1);
    this.#fillNode(node, from, to, offset, owner, depth);
    return nodeValue(node, offset);
  }

  #fillNode(node: number, from: number, to: number, offset: number, owner: number, depth: number): void {
    let low = 0;
    let high = 0;
    let base = 0;
    this.#depth = Math.max(this.#depth, depth);
    if (from < to) {
      this.#levels[depth] ??= level(FANOUT);
      const children = this.#levels[depth] as Level;
      this.#split(children, from, to, offset, NODE_BITS, owner);
      let count = 0;
      for (let i = 0; i < FANOUT; i++) {
        if (children.owner[i] === owner && children.from[i] === children.to[i]) continue;
        if (i < 32) low |= 1 << i;
        else high |= 1 << (i - 32);
        count++;
      }
      const { values } = this.#tables;
      base = values.reserve(count);
      let at = base;
      for (let i = 0; i < FANOUT; i++) {
        if (!(((i < 32 ? low : high) >>> (i & 31)) & 1)) continue;
        const value = this.#value(
          children.from[i] as number,
          children.to[i] as number,
          offset + NODE_BITS,
          children.owner[i] as number,
          depth,
        );
        values.words[at++] = value;
      }
    }
    const out = this.#tables.nodes.words;
    const at = node * NODE.size;
    out[at + NODE.children] = low;
    out[at + NODE.children + 1] = high;
    out[at + NODE.values] = base;
    out[at + NODE.otherwise] = owner;
  }

  /** Which of prefixes [from, to) end within the window, and so own children, and which go on below each child. */
  #split(children: Level, from: number, to: number, offset: number, width: number, owner: number): void {
    const { words, wordsEach, length } = this.#set;
    const end = offset + width;
    children.owner.fill(owner);
    children.from.fill(0);
    children.to.fill(0);
    for (let i = from; i < to; i++) {
      const child = addressBits(words, i, wordsEach, offset, width);
      const bits = length[i] as number;
      if (bits <= end) {
        // Longer ones come later where prefixes nest.
        const owned = this.#set.owner[i] as number;
        for (let c = child; c < child + 2 ** Math.min(width, end - bits); c++) children.owner[c] = owned;
        continue;
      }
      if (children.from[child] === children.to[child]) children.from[child] = i;
      children.to[child] = i + 1;
    }
  }

  /** The prefixes themselves, longest first, and behind them what is around them. */
  #comparedList(from: number, to: number, owner: number, depth: number): number {
    const { length } = this.#set;
    const order: number[] = [];
    for (let i = from; i < to; i++) order.push(i);
    order.sort((a, b) => (length[b] as number) - (length[a] as number));
    const count = order.length + (owner === OWNER_NONE ? 0 : 1);
    const at = this.#reserveList(count);
    for (let k = 0; k < order.length; k++) {
      const i = order[k] as number;
      this.#writePrefix(at + k, i, length[i] as number, this.#set.owner[i] as number);
    }
    if (owner !== OWNER_NONE) this.#writePrefix(at + order.length, from, 0, owner);
    this.#depth = Math.max(this.#depth, depth + 1);
    return this.#listValue(at, count);
  }

  #reserveList(count: number): number {
    const at = this.#tables.prefixes.reserve(count);
    if (at + count > ENTRIES_MAX) throw new RangeError(`the prefixes need more than ${ENTRIES_MAX} entries`);
    return at;
  }

  #listValue(at: number, count: number): number {
    this.#list = Math.max(this.#list, count);
    return (at | (count << VALUE_COUNT) | (1 << VALUE_LIST)) >>> 0;
  }

  /** The first `length` bits of prefix `source` as an entry. */
  #writePrefix(index: number, source: number, length: number, value: number): void {
    const { words, wordsEach } = this.#set;
    const out = this.#tables.prefixes.words;
    if (wordsEach === 1) {
      const mask = length === 0 ? 0 : (-1 << (32 - length)) >>> 0;
      const at = index * PREFIX4.size;
      out[at + PREFIX4.addr] = ((words[source] as number) & mask) >>> 0;
      out[at + PREFIX4.mask] = mask;
      out[at + PREFIX4.value] = value;
      return;
    }
    const at = index * PREFIX6.size;
    // Two 64-bit words, low half first.
    for (let w = 0; w < 4; w++) out[at + PREFIX6.addr + (w ^ 1)] = words[4 * source + w] as number;
    out[at + PREFIX6.length] = length;
    out[at + PREFIX6.value] = value;
  }
}

function nodeValue(node: number, offset: number): number {
  return (node | (offset << VALUE_OFFSET) | (1 << VALUE_NODE)) >>> 0;
}

/** Where a window of `bits` bits that should begin at `offset` begins, so that it neither crosses a half nor ends behind the address. */
function windowStart(offset: number, bits: number, wordsEach: number): number {
  const end = 32 * wordsEach;
  if (wordsEach === 1) return Math.min(offset, end - bits);
  return offset < HALF ? Math.min(offset, HALF - bits) : Math.min(offset, end - bits);
}
