/** A large and sparse table of values, of which only those are kept that differ from their neighbours: see enum prefix_block in bpf/tables.h. */
import { Owner, PrefixBlock, PrefixNode } from "../bpf/tables.bpf.js";
import { fullestFirst } from "./perfect-hash.js";
import { memberWords, type Table } from "./table.js";

/** Members of struct prefix_trie in bpf/prefixes.h. */
export interface Blocks {
  /** The first pilot and the first slot, in units; the blocks' rests and the values by number, in words. */
  readonly root: number;
  readonly block_slots: number;
  readonly rests: number;
  readonly numbered: number;
  /** Slots from one group's window to the next; 0: there are no blocks. */
  readonly spread: number;
  /** 1 where a slot has 32 bits, else it has 16. */
  readonly wide: number;
  readonly number_mask: number;
}

const { BLOCK_BITS, GROUP_BITS, WINDOW_BITS, CHECK_BITS, BLOCK_FAR } = PrefixBlock;
const CHILDREN = 2 ** BLOCK_BITS;
const WINDOW = 2 ** WINDOW_BITS;
/** Two windows at most may have a slot in common: a check has one bit to tell their groups apart. */
const LEAST_SPREAD = WINDOW / 2;
/** Slots that are taken: more of them, and too many blocks find no pilot. */
const LOAD = 0.7;
const { OWNER_BITS } = Owner;
const UNIT = memberWords(PrefixNode).size;

/**
 * Packs the values at the end of the table.
 *
 * @param values a multiple of 2^GROUP_BITS of them
 * @returns null where too many differ from their neighbours
 */
export function packBlocks(values: Uint32Array, table: Table): Blocks | null {
  const blocks = differences(values);
  const groups = values.length / 2 ** GROUP_BITS;
  const spread = Math.max(LEAST_SPREAD, Math.ceil(blocks.children.length / groups / LOAD));
  if (spread > WINDOW) return null;
  const { pilots, taken } = place(blocks, spread, groups);
  const numbers = numberValues(values, blocks);
  const bits = Math.ceil(Math.log2(numbers.values.length + 1));
  const wide = bits + CHECK_BITS > 16 ? 1 : 0;

  const root = reserveUnits(table, pilots.length);
  new Uint8Array(table.words.buffer).set(pilots, root * UNIT * 4);
  const block_slots = reserveUnits(table, taken.length * (wide ? 4 : 2));
  const slots = wide ? new Uint32Array(table.words.buffer) : new Uint16Array(table.words.buffer);
  const first = block_slots * UNIT * (wide ? 1 : 2);
  taken.forEach((childAndOne, slot) => {
    // A child whose check is that of an empty slot, and which the slot might be of, has the value that the rest of its block has.
    const inGroup = Math.floor(slot / spread) << GROUP_BITS;
    const child = childAndOne > 0 ? childAndOne - 1 : inGroup;
    const value =
      childAndOne > 0
        ? values[child]
        : blocks.rests[Math.min(inGroup >>> BLOCK_BITS, blocks.rests.length - 1)];
    slots[first + slot] = (numberOf(value as number, numbers) << CHECK_BITS) | checkOf(child);
  });
  const numbered = table.reserve(2 ** bits); // so that a mask bounds a number
  table.words.set(numbers.values, numbered);
  const rests = table.reserve(blocks.rests.length);
  table.words.set(blocks.rests, rests);
  pilots.forEach((pilot, block) => {
    if (pilot !== BLOCK_FAR) return;
    const far = table.reserve(CHILDREN);
    table.words.set(values.subarray(block * CHILDREN, (block + 1) * CHILDREN), far);
    table.words[rests + block] = far;
  });
  return { root, block_slots, rests, numbered, spread, wide, number_mask: 2 ** bits - 1 };
}

/** Of each block the usual value, and the children that have another one. */
interface Differences {
  readonly rests: Uint32Array;
  /** Those of block b are children[starts[b], starts[b + 1]). */
  readonly starts: Uint32Array;
  readonly children: Uint32Array;
}

function differences(values: Uint32Array): Differences {
  const count = values.length / CHILDREN;
  const rests = new Uint32Array(count);
  const starts = new Uint32Array(count + 1);
  const children = new Uint32Array(values.length);
  let used = 0;
  for (let block = 0; block < count; block++) {
    const from = block * CHILDREN;
    const rest = usual(values, from, from + CHILDREN);
    rests[block] = rest;
    for (let child = from; child < from + CHILDREN; child++)
      if (values[child] !== rest) children[used++] = child;
    starts[block + 1] = used;
  }
  return { rests, starts, children: children.subarray(0, used) };
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

/** Finds each block's pilot, the fullest first, or that it is BLOCK_FAR; by slot, a child's number and 1, or 0. */
function place({ starts, children }: Differences, spread: number, groups: number) {
  const pilots = new Uint8Array(starts.length - 1);
  const taken = new Uint32Array((groups - 1) * spread + WINDOW);
  for (const block of fullestFirst(pilots.length, (b) => (starts[b + 1] as number) - (starts[b] as number))) {
    let pilot = 0;
    while (pilot < BLOCK_FAR && !settle(pilot, starts[block] as number, starts[block + 1] as number)) pilot++;
    pilots[block] = pilot;
  }
  return { pilots, taken };

  /** Puts children [from, to) into their slots, or none of them where one is taken. */
  function settle(pilot: number, from: number, to: number): boolean {
    for (let i = from; i < to; i++) {
      const slot = slotOf(children[i] as number, pilot, spread);
      if (taken[slot] === 0) {
        taken[slot] = (children[i] as number) + 1;
        continue;
      }
      while (--i >= from) taken[slotOf(children[i] as number, pilot, spread)] = 0;
      return false;
    }
    return true;
  }
}

/** As block_value() in bpf/prefixes.h has it. */
export function slotOf(child: number, pilot: number, spread: number): number {
  const mixed = ((child ^ (pilot >>> 2)) & (CHILDREN - 1)) * (2 * pilot + 1);
  return (child >>> GROUP_BITS) * spread + ((mixed & (CHILDREN - 1)) >>> 1);
}

/** What tells a child from all others that might be in its slot: its last bit, its block in the group, and the group's last bit. */
export function checkOf(child: number): number {
  return (child & 1) | ((child >>> (BLOCK_BITS - 1)) & (2 ** CHECK_BITS - 2));
}

function reserveUnits(table: Table, bytes: number): number {
  table.reserve(-table.length & (UNIT - 1));
  return table.reserve(UNIT * Math.ceil(bytes / (4 * UNIT))) / UNIT;
}

/** Numbers of the values of slots. */
interface Numbers {
  /** By number. */
  readonly values: number[];
  /** A value's number and 1: of an owner, and of what leads on. */
  readonly owners: Uint32Array;
  readonly others: Map<number, number>;
}

function numberValues(values: Uint32Array, { children, rests }: Differences): Numbers {
  const numbers = { values: [], owners: new Uint32Array(2 ** OWNER_BITS), others: new Map<number, number>() };
  for (const child of children) addNumber(values[child] as number, numbers);
  for (const rest of rests) addNumber(rest, numbers);
  return numbers;
}

function addNumber(value: number, { values, owners, others }: Numbers): void {
  if (value >= owners.length) {
    if (!others.has(value)) others.set(value, values.push(value));
  } else if (owners[value] === 0) {
    owners[value] = values.push(value);
  }
}

function numberOf(value: number, { owners, others }: Numbers): number {
  return (value < owners.length ? (owners[value] as number) : (others.get(value) ?? 1)) - 1;
}
