/** A large and sparse table of values in cache lines of 256 each: see struct prefix_block in bpf/tables.h. */
import { Owner, PrefixBlock, PrefixBlockSize, PrefixNode } from "../bpf/tables.bpf.js";
import { memberWords, type Table } from "./table.js";

/** Members of struct prefix_trie in bpf/prefixes.h. */
export interface Blocks {
  /** The first block, in units. */
  readonly root: number;
  readonly value_bits: number;
  readonly numbered: number;
}

const { BLOCK_BITS, BLOCK_WORDS, BLOCK_BEFORE, BLOCK_FAR } = PrefixBlockSize;
const CHILDREN = 2 ** BLOCK_BITS;
const BLOCK = memberWords(PrefixBlock);
/** The 32-bit word of `values` that BLOCK_BEFORE and BLOCK_FAR are in. */
const LAST_WORD = 2 * BLOCK_WORDS - 1;
const [BEFORE, FAR] = [BLOCK_BEFORE & 31, BLOCK_FAR & 31];
const { OWNER_BITS } = Owner;
const UNIT = memberWords(PrefixNode).size;
/** Values whose numbers are longer than this are many, and none of them is where a packet's neighbour had it. */
const WIDEST_NUMBER = 16;

/** Packs the values into blocks at the end of the table; `values` has a multiple of 256 of them. */
export function packBlocks(values: Uint32Array, table: Table): Blocks {
  const numbers = numberValues(values);
  const bits = Math.max(1, Math.ceil(Math.log2(numbers.values.length)));
  const room = Math.floor((64 * (BLOCK_WORDS - 1) + BLOCK_BEFORE) / bits);
  table.reserve(-table.length & (BLOCK.size - 1));
  const first = table.reserve((values.length / CHILDREN) * BLOCK.size);
  const others = new Uint32Array(CHILDREN + 1);
  for (let block = 0; block < values.length / CHILDREN; block++) {
    const from = block * CHILDREN;
    const at = first + block * BLOCK.size;
    const { words } = table;
    const rest = usual(values, from, from + CHILDREN);
    let count = 0;
    let last = 0;
    for (let child = 0; child < CHILDREN; child += 32) {
      if (child > 0 && child % 64 === 0) last |= count << (BEFORE + (child >>> 3) - 8);
      let differ = 0;
      for (let i = 0; i < 32; i++) {
        const value = values[from + child + i] as number;
        if (value === rest) continue;
        differ |= 1 << i;
        others[count++] = value;
      }
      words[at + BLOCK.children + (child >>> 5)] = differ;
    }
    others[count] = rest;
    if (count < room && others.subarray(0, count + 1).every((value) => numberOf(value, numbers) >= 0)) {
      putNumber(words, at + BLOCK.values, 0, numberOf(rest, numbers));
      for (let i = 0; i < count; i++)
        putNumber(words, at + BLOCK.values, (i + 1) * bits, numberOf(others[i] as number, numbers));
    } else {
      const far = table.reserve(count + 1);
      table.words[far] = rest;
      table.words.set(others.subarray(0, count), far + 1);
      table.words[at + BLOCK.values] = far;
      last |= 1 << FAR;
    }
    putNumber(table.words, at + BLOCK.values, 32 * LAST_WORD, last >>> 0);
  }
  const numbered = table.reserve(2 ** bits); // so that a mask bounds a number
  table.words.set(numbers.values, numbered);
  return { root: first / UNIT, value_bits: bits, numbered };
}

/** Numbers of values in the order in which they are met; those that come too late have none. */
interface Numbers {
  /** By number. */
  readonly values: number[];
  /** A value's number and 1: of an owner, and of what leads on; 0 if it has none. */
  readonly owners: Uint32Array;
  readonly others: Map<number, number>;
}

function numberValues(values: Uint32Array): Numbers {
  const numbers = { values: [], owners: new Uint32Array(2 ** OWNER_BITS), others: new Map<number, number>() };
  for (let from = 0; from < values.length; from += CHILDREN) numberBlock(values, from, numbers);
  return numbers;
}

/** A function of its own: V8 compiles what is called often, and gives up on one loop over all of them. */
function numberBlock(values: Uint32Array, from: number, { values: numbered, owners, others }: Numbers): void {
  let before = -1;
  for (let i = from; i < from + CHILDREN && numbered.length < 2 ** WIDEST_NUMBER; i++) {
    const value = values[i] as number;
    if (value === before) continue;
    before = value;
    if (value >= owners.length) {
      if (!others.has(value)) others.set(value, numbered.push(value));
    } else if (owners[value] === 0) {
      owners[value] = numbered.push(value);
    }
  }
}

/** -1 if it has none. */
function numberOf(value: number, { owners, others }: Numbers): number {
  return (value < owners.length ? (owners[value] as number) : (others.get(value) ?? 0)) - 1;
}

/** The value of both ends of [from, to); else the one that more than half have, if there is one (Boyer and Moore 1991). */
function usual(values: Uint32Array, from: number, to: number): number {
  let candidate = values[from] as number;
  if (candidate === values[to - 1]) return candidate;
  let lead = 0;
  for (let i = from; i < to; i++) {
    const value = values[i] as number;
    if (lead === 0) candidate = value;
    lead += value === candidate ? 1 : -1;
  }
  return candidate;
}

/** Puts a number at a bit offset of the words from `at` on, which are still zero there. */
function putNumber(words: Uint32Array, at: number, offset: number, number: number): void {
  const word = at + (offset >>> 5);
  const shift = offset & 31;
  words[word] = ((words[word] as number) | (number << shift)) >>> 0;
  if (shift > 32 - WIDEST_NUMBER)
    words[word + 1] = ((words[word + 1] as number) | (number >>> (32 - shift))) >>> 0;
}
