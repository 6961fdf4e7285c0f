/**
 * A trie for longest prefix match: six bits a node, of whose children only those are kept that differ from the rest,
 * and counted bits find them (the idea of poptrie, Asai and Ohara 2015). Few prefixes end in a short list that is
 * compared; bits that all prefixes below share are compared at once and skipped. See bpf/prefixes.h.
 */
import { Owner, Prefix4, Prefix6, Prefix6Long, PrefixNode, PrefixValue } from "../bpf/tables.bpf.js";
import { CompileError } from "./error.js";
import { buildPerfectHash, type PerfectHash } from "./perfect-hash.js";
import { type Blocks, packBlocks } from "./prefix-blocks.js";
import { groupsOf, hashedBits, hashPrefixes, shorterFirst } from "./prefix-hash.js";
import { addressBits, commonBits, type PrefixColumns } from "./prefix-set.js";
import { HALF, leading, rootWindow, windowStart } from "./prefix-window.js";
import { memberWords, Table, type TableName } from "./table.js";

/** Members of struct prefix_trie in bpf/prefixes.h. */
export interface PrefixTrie {
  readonly root: number;
  /** The bits of one half of the address, shifted right, that pick the root's value; 0: `root` is it. */
  readonly shift: number;
  readonly picked: number;
  /** 1 where the low half picks. */
  readonly by_low: number;
  /** Of blocks: see Blocks. */
  readonly spread: number;
  readonly wide: number;
  readonly block_slots: number;
  readonly rests: number;
  readonly numbered: number;
  readonly number_mask: number;
  /** Values on the longest path behind the root, prefixes in the longest list: bounds for the verifier. */
  readonly depth: number;
  readonly list: number;
  /** 0 where there are lists only. */
  readonly has_nodes: number;
  /** First unit of the lists, the last at which one may begin, and all units of the table. */
  readonly lists: number;
  readonly last_list: number;
  readonly units: number;
  /** Owner where no other prefix holds the address. */
  readonly outside: number;
  /** 1 where lists are of struct prefix6_long. */
  readonly is_long: number;
  /** Leading bits, in 2 words, by which long prefixes are hashed; 0: none are. Then the hash, and where it is in units. */
  readonly hashed: readonly number[];
  readonly buckets: number;
  readonly slots: number;
  readonly seed: number;
  readonly entries: number;
  readonly pilots: number;
  /** 4 words each, most significant first: bits that all prefixes begin with, and which bits those are. */
  readonly start: readonly number[];
  readonly shared: readonly number[];
}

/** Prefixes that are rather compared than given a node. */
const LIST = 6;
/** Shared bits from which a comparison is cheaper than the nodes that it saves. */
const SKIP = 6;
const WIDEST_ROOT = 20;
/** ... and of one that ends where the prefixes do; its values for each prefix. */
const WIDEST_DIRECT = 24;
const DIRECT = 32;
/** Such a root is one of blocks where its values would be more than stay in the caches, and most are as their neighbours. */
const CACHED_VALUES = 2 ** 19;
const { NODE_BITS, VALUE_NODE, VALUE_LIST, VALUE_OFFSET, VALUE_COUNT, LIST_AT_ONCE } = PrefixValue;
const { OWNER_NONE } = Owner;
const NODE = memberWords(PrefixNode);
const PREFIX4 = memberWords(Prefix4);
const PREFIX6 = memberWords(Prefix6);
const PREFIX6_LONG = memberWords(Prefix6Long);
/** 32-bit words of a unit of the table. */
const UNIT = NODE.size;
const FANOUT = 2 ** NODE_BITS;
const NODES_MAX = 2 ** VALUE_OFFSET;

/**
 * Fills an empty table with a trie over the prefixes.
 *
 * @param prefixes sorted, none twice
 * @param nodesMax units of the table in which nodes may be
 * @throws CompileError where a node would lie behind them, or the table would be too large
 */
export function buildPrefixTrie(
  prefixes: PrefixColumns,
  table: Table,
  name: TableName,
  nodesMax: number = NODES_MAX,
): PrefixTrie {
  return new TrieBuilder(prefixes, table, name, nodesMax).build();
}

/** What a node gives each of its children: the range of longer prefixes, and the owner around them. */
interface Level {
  readonly owner: Uint32Array;
  readonly from: Uint32Array;
  readonly to: Uint32Array;
}

function level(): Level {
  return {
    owner: new Uint32Array(FANOUT),
    from: new Uint32Array(FANOUT),
    to: new Uint32Array(FANOUT),
  };
}

class TrieBuilder {
  #set: PrefixColumns;
  readonly #nodesMax: number;
  /** Words: nodes, each at a unit, and values. */
  readonly #table: Table;
  /** Words of the lists, which come behind. */
  readonly #lists: Table;
  readonly #isLong: boolean;
  /** Words of a list's entry. */
  readonly #entry: { readonly size: number; readonly value: number };
  /** Scratch, by depth of recursion. */
  readonly #levels: Level[] = [];
  #depth = 0;
  #list = 0;
  #hasNodes = 0;

  constructor(set: PrefixColumns, table: Table, name: TableName, nodesMax: number) {
    this.#set = set;
    this.#nodesMax = nodesMax;
    this.#table = table;
    this.#lists = new Table(name);
    this.#isLong = set.length.subarray(0, set.count).some((bits) => bits > HALF);
    this.#entry = set.wordsEach === 1 ? PREFIX4 : this.#isLong ? PREFIX6_LONG : PREFIX6;
  }

  build(): PrefixTrie {
    const { wordsEach } = this.#set;
    const direct = this.#directBits(0, this.#set.count);
    const bits = direct === null ? hashedBits(this.#set) : 0;
    const hashed = bits > 0 ? this.#hash(bits) : null;
    // What is hashed is not in the trie.
    const count = hashed ? hashed.from : this.#set.count;
    let outside: number = OWNER_NONE;
    let first = 0;
    // The whole family's prefix is sorted first; it is what is left outside of all others.
    if (count > 0 && this.#set.length[0] === 0) {
      outside = this.#set.owner[0] as number;
      first = 1;
    }
    let [root, skip, width] = [outside, 0, 0];
    let blocks: Blocks | null = null;
    if (count - first <= LIST) {
      root = this.#value(first, count, 0, outside, 0);
    } else {
      const shared = this.#sharedBits(first, count);
      width = this.#directBits(first, count) ?? Math.min(WIDEST_ROOT, Math.floor(Math.log2(count)));
      skip = Math.min(shared, windowStart(shared, width, wordsEach));
      const values = this.#rootValues(first, count, skip, width, outside);
      if (values.length > CACHED_VALUES) blocks = packBlocks(values, this.#table);
      if (!blocks) root = this.#putRoot(values);
    }
    const { words } = this.#set;
    return {
      ...{
        root,
        ...rootWindow(skip, width, wordsEach),
        ...(blocks ?? NO_BLOCKS),
        depth: this.#depth,
        list: this.#list,
        has_nodes: this.#hasNodes,
        outside,
      },
      ...{ ...this.#joinLists(), is_long: this.#isLong ? 1 : 0 },
      start: WORDS.map((w) => (w < wordsEach ? (words[first * wordsEach + w] ?? 0) : 0)),
      shared: WORDS.map((w) => leading(skip - 32 * w)),
      ...(hashed?.place ?? NOT_HASHED),
    };
  }

  /**
   * Takes the prefixes of at least `bits` bits into a hash over so many of their bits; those left are sorted before them.
   * @returns the first prefix that is hashed, and the hash's place; null where their hashes are too much alike
   */
  #hash(bits: number): { from: number; place: Pick<PrefixTrie, keyof typeof NOT_HASHED> } | null {
    const { set, from } = shorterFirst(this.#set, bits);
    const groups = groupsOf(set, from, bits);
    const built = buildPerfectHash(groups.length - 1, (seed) => hashPrefixes(set, groups, bits, seed));
    if (!built) return null;
    this.#set = set;
    const entries = this.#hashEntries(built, groups, bits);
    const pilots = this.#reserveUnits(Math.ceil(built.pilots.length / (4 * UNIT)));
    new Uint8Array(this.#table.words.buffer).set(built.pilots, pilots * UNIT * 4);
    return { from, place: { hashed: [leading(bits), leading(bits - 32)], ...built.shape, entries, pilots } };
  }

  /** Each with its group's one prefix, or with the bits that its group shares and what these lead to. */
  #hashEntries({ placed }: PerfectHash, groups: Uint32Array, bits: number): number {
    const entries = this.#reserveUnits(placed.length);
    const value = this.#set.wordsEach === 1 ? PREFIX4.value : PREFIX6.value;
    placed.forEach((groupAndOne, slot) => {
      const at = (entries + slot) * UNIT;
      if (groupAndOne === 0) {
        this.#table.words[at + value] = OWNER_NONE;
        return;
      }
      const from = groups[groupAndOne - 1] as number;
      const to = groups[groupAndOne] as number;
      const length = this.#set.length[from] as number;
      const alone = to === from + 1 && length <= HALF;
      const leads = alone ? (this.#set.owner[from] as number) : this.#value(from, to, bits, OWNER_NONE, 0);
      writeShort(this.#table.words, at, this.#set, from, alone ? length : bits, leads);
    });
    return entries;
  }

  /** Puts the lists behind nodes and values, and behind them entries that say that nothing holds the address. */
  #joinLists(): { lists: number; last_list: number; units: number } {
    const { size, value } = this.#entry;
    const read = Math.max(LIST_AT_ONCE, this.#list);
    const nothing = this.#reserveList(read) * UNIT;
    for (let k = 0; k < read; k++) this.#lists.words[nothing + k * size + value] = OWNER_NONE;
    const lists = this.#reserveUnits(this.#lists.length / UNIT);
    this.#table.words.set(this.#lists.words.subarray(0, this.#lists.length), lists * UNIT);
    const units = this.#table.length / UNIT;
    return { lists, last_list: units - (read * size) / UNIT, units };
  }

  /** Leading bits that prefixes [from, to) share; sorted as they are, first and last differ soonest. */
  #sharedBits(from: number, to: number): number {
    const { words, wordsEach, length } = this.#set;
    let shared = commonBits(words, from, to - 1, wordsEach);
    for (let i = from; i < to; i++) shared = Math.min(shared, length[i] as number);
    return shared;
  }

  /**
   * Bits that pick the root's value where it is worth the memory to go up to where most prefixes end (DIR-24-8, Gupta,
   * Lin and McKeown 1998); else null: as many bits are enough as give one prefix to a value.
   */
  #directBits(first: number, count: number): number | null {
    if (count <= LIST) return null;
    const { length } = this.#set;
    const byLength = new Uint32Array(129);
    for (let i = first; i < count; i++)
      byLength[length[i] as number] = (byLength[length[i] as number] as number) + 1;
    const usual = byLength.indexOf(Math.max(...byLength));
    const direct = usual - this.#sharedBits(first, count);
    if (2 * (byLength[usual] as number) > count && direct <= WIDEST_DIRECT && 2 ** direct <= DIRECT * count)
      return direct;
    return null;
  }

  /** The values of the 2^width children behind `skip` bits. */
  #rootValues(first: number, count: number, skip: number, width: number, outside: number): Uint32Array {
    const { words, wordsEach, length, owner } = this.#set;
    const values = new Uint32Array(2 ** width).fill(outside);
    const end = skip + width;
    for (let i = first; i < count; ) {
      const child = addressBits(words, i, wordsEach, skip, width);
      let to = i;
      while (
        to < count &&
        (length[to] as number) > end &&
        addressBits(words, to, wordsEach, skip, width) === child
      )
        to++;
      if (to > i) {
        // What is around them all has come before: shorter prefixes are sorted first.
        values[child] = this.#value(i, to, end, values[child] as number, 0);
        i = to;
      } else {
        // Not fill(): mostly it is one child, and there are a million of them.
        const last = child + 2 ** (end - (length[i] as number));
        for (let c = child; c < last; c++) values[c] = owner[i] as number;
        i++;
      }
    }
    return values;
  }

  #putRoot(values: Uint32Array): number {
    const root = this.#table.reserve(values.length);
    this.#table.words.set(values, root);
    return root;
  }

  /** Reserves whole units, and returns the number of the first. */
  #reserveUnits(count: number): number {
    const table = this.#table;
    table.reserve(-table.length & (UNIT - 1));
    return table.reserve(count * UNIT) / UNIT;
  }

  /** Value for prefixes [from, to), all of which begin with the `known` bits that led here, around which is `owner`. */
  #value(from: number, to: number, known: number, owner: number, depth: number): number {
    if (from === to) return owner;
    if (to - from <= LIST) return this.#comparedList(from, to, known, owner, depth);
    const shared = this.#sharedBits(from, to);
    if (shared >= known + SKIP) {
      const offset = windowStart(shared, NODE_BITS, this.#set.wordsEach);
      const inner = this.#node(from, to, offset, owner, depth + 1);
      return this.#writeList([[from, offset, inner]], known, from, owner, depth);
    }
    return this.#node(from, to, windowStart(known, NODE_BITS, this.#set.wordsEach), owner, depth);
  }

  #node(from: number, to: number, offset: number, owner: number, depth: number): number {
    const node = this.#reserveUnits(1);
    this.#hasNodes = 1;
    if (node >= this.#nodesMax)
      throw new CompileError({
        message:
          `the ${this.#set.count} subnets do not fit: nodes of the trie over them would lie behind the first ` +
          `${(this.#nodesMax * UNIT * 4) / 2 ** 20} MiB`,
        hint: "use fewer of them",
      });
    this.#fillNode(node, from, to, offset, owner, depth + 1);
    return nodeValue(node, offset);
  }

  #fillNode(node: number, from: number, to: number, offset: number, owner: number, depth: number): void {
    let low = 0;
    let high = 0;
    let base = 0;
    this.#depth = Math.max(this.#depth, depth);
    if (from < to) {
      this.#levels[depth] ??= level();
      const children = this.#levels[depth] as Level;
      this.#split(children, from, to, offset, owner);
      let count = 0;
      for (let i = 0; i < FANOUT; i++) {
        if (children.owner[i] === owner && children.from[i] === children.to[i]) continue;
        if (i < 32) low |= 1 << i;
        else high |= 1 << (i - 32);
        count++;
      }
      base = this.#table.reserve(count);
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
        this.#table.words[at++] = value;
      }
    }
    const out = this.#table.words;
    const at = node * UNIT;
    out[at + NODE.children] = low;
    out[at + NODE.children + 1] = high;
    out[at + NODE.values] = base;
    out[at + NODE.otherwise] = owner;
  }

  /** Which of prefixes [from, to) end within the window, and so own children, and which go on below each child. */
  #split(children: Level, from: number, to: number, offset: number, owner: number): void {
    const { words, wordsEach, length } = this.#set;
    const end = offset + NODE_BITS;
    children.owner.fill(owner);
    children.from.fill(0);
    children.to.fill(0);
    for (let i = from; i < to; i++) {
      const child = addressBits(words, i, wordsEach, offset, NODE_BITS);
      const bits = length[i] as number;
      if (bits <= end) {
        // Longer ones come later where prefixes nest.
        const owned = this.#set.owner[i] as number;
        for (let c = child; c < child + 2 ** Math.min(NODE_BITS, end - bits); c++) children.owner[c] = owned;
        continue;
      }
      if (children.from[child] === children.to[child]) children.from[child] = i;
      children.to[child] = i + 1;
    }
  }

  /** The prefixes themselves, longest first, and behind them what is around them. */
  #comparedList(from: number, to: number, known: number, owner: number, depth: number): number {
    const { length } = this.#set;
    const order: number[] = [];
    for (let i = from; i < to; i++) order.push(i);
    order.sort((a, b) => (length[b] as number) - (length[a] as number));
    const entries = order.map((i): Entry => [i, length[i] as number, this.#set.owner[i] as number]);
    return this.#writeList(entries, known, from, owner, depth);
  }

  /** A list of entries, and of the `known` bits of prefix `around` that all addresses here begin with. */
  #writeList(entries: readonly Entry[], known: number, around: number, owner: number, depth: number): number {
    // Around the prefixes of the first list is what is outside of all.
    const all: readonly Entry[] =
      owner === OWNER_NONE || known === 0 ? entries : [...entries, [around, known, owner]];
    // At most 2^25, as a table has no more units: VALUE_COUNT bits are enough.
    const at = this.#reserveList(all.length);
    all.forEach(([source, length, value], k) => {
      this.#writePrefix(at, k, source, length, value);
    });
    this.#depth = Math.max(this.#depth, depth + 1);
    this.#list = Math.max(this.#list, all.length);
    return (at | (all.length << VALUE_COUNT) | (1 << VALUE_LIST)) >>> 0;
  }

  /** @returns the first unit, counted from the first list */
  #reserveList(count: number): number {
    return this.#lists.reserve(count * this.#entry.size) / UNIT;
  }

  /** The first `length` bits of prefix `source` as entry `k` of the list in unit `list`. */
  #writePrefix(list: number, k: number, source: number, length: number, value: number): void {
    const out = this.#lists.words;
    const at = list * UNIT + k * this.#entry.size;
    if (!this.#isLong) {
      writeShort(out, at, this.#set, source, length, value);
      return;
    }
    const { words } = this.#set;
    for (const w of WORDS) out[at + PREFIX6_LONG.addr + (w ^ 1)] = words[4 * source + w] as number;
    out[at + PREFIX6_LONG.length] = length;
    out[at + PREFIX6_LONG.value] = value;
  }
}

/** The first `length` bits (at most 64) of prefix `source` as struct prefix4 or prefix6, from word `at` on. */
function writeShort(
  out: Uint32Array,
  at: number,
  { words, wordsEach }: PrefixColumns,
  source: number,
  length: number,
  value: number,
): void {
  if (wordsEach === 1) {
    const mask = (-1 << (32 - length)) >>> 0;
    out[at + PREFIX4.addr] = ((words[source] as number) & mask) >>> 0;
    out[at + PREFIX4.mask] = mask;
    out[at + PREFIX4.value] = value;
    return;
  }
  // A 64-bit word, low half first; what is behind the length is shifted out.
  out[at + PREFIX6.high] = words[4 * source + 1] as number;
  out[at + PREFIX6.high + 1] = words[4 * source] as number;
  out[at + PREFIX6.shift] = HALF - length;
  out[at + PREFIX6.value] = value;
}

const NO_BLOCKS = { spread: 0, wide: 0, block_slots: 0, rests: 0, numbered: 0, number_mask: 0 };
const NOT_HASHED = { hashed: [0, 0], buckets: 0, slots: 0, seed: 0, entries: 0, pilots: 0 };

/** The first `length` bits of prefix number `source`, and the value of addresses that begin with them. */
type Entry = readonly [source: number, length: number, value: number];

const WORDS = [0, 1, 2, 3];

function nodeValue(node: number, offset: number): number {
  return (node | (offset << VALUE_OFFSET) | (1 << VALUE_NODE)) >>> 0;
}
