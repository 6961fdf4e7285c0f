/** Reads compiled tables the way bpf/classify.h does, so that the compiler can be tested without root. */
import {
  Extra,
  Flow,
  KeyProto,
  KeyWord,
  Lane,
  More,
  MoreLane,
  Owner,
  PrefixBlock,
  PrefixValue,
  RuleRest,
  Slot,
} from "../../src/bpf/tables.bpf.js";
import { FRAGMENT } from "../../src/compiler/alternatives.js";
import type { Generation } from "../../src/compiler/compile.js";
import type { PacketKey } from "../../src/compiler/packet.js";
import type { HashShape } from "../../src/compiler/perfect-hash.js";
import { slotOf as blockSlot, checkOf } from "../../src/compiler/prefix-blocks.js";
import type { PrefixTrie } from "../../src/compiler/prefix-table.js";
import { SlotHigh } from "../../src/compiler/tree.js";
import { PORT_PROTOCOLS } from "../../src/config/protocols.js";

const { INDEX_NONE } = Slot;
const { OWNER_NONE } = Owner;

const words = (bytes: Uint8Array) => new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
const quads = (bytes: Uint8Array) => new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8);

/** A packet's key: 16 words, and the same fields as lanes. */
export interface Key {
  readonly family: 4 | 6;
  readonly words: Uint32Array;
}

/** Counts what a walk reads: nodes and rules. */
export interface Steps {
  steps: number;
}

function descend(generation: Generation, root: number, key: Key, best: number, walked: Steps) {
  const slots = words(generation.tables.slots);
  let at = root;
  for (;;) {
    walked.steps++;
    const low = slots[2 * at] as number;
    const high = slots[2 * at + 1] as number;
    const first = (high >>> SlotHigh.first) & INDEX_NONE;
    if (high >>> SlotHigh.leaf || first >= best)
      return {
        start: low & (2 ** Slot.SLOT_BASE_BITS - 1),
        count: high >>> SlotHigh.leaf ? (high >>> SlotHigh.count) & Slot.SLOT_COUNT_MAX : 0,
        first,
      };
    const word = key.words[(high >>> SlotHigh.word) & 15] as number;
    const width = (high >>> SlotHigh.width) & 31;
    at =
      (low & (2 ** Slot.SLOT_BASE_BITS - 1)) +
      ((word >>> ((low >>> Slot.SLOT_SHIFT) & 31)) & (2 ** width - 1));
  }
}

/** A packet's key as bpf/packet.h builds it. */
export function keyOf(packet: PacketKey, ifindexOf: (name: string) => number): Key {
  const out = new Uint32Array(16);
  out.set(packet.src, KeyWord.KEY_SRC);
  out.set(packet.dst, KeyWord.KEY_DST);
  out[KeyWord.KEY_PORTS] = ((packet.sport ?? 0) << 16) | (packet.dport ?? 0);
  out[KeyWord.KEY_PROTO] = (packet.dscp << KeyProto.DSCP_SHIFT) | (packet.proto ?? KeyProto.PROTO_UNKNOWN);
  out[KeyWord.KEY_MARK] = packet.mark;
  out[KeyWord.KEY_IIF] = packet.iif === null ? 0 : ifindexOf(packet.iif);
  out[KeyWord.KEY_MORE] =
    Math.min(packet.length, More.LENGTH_MAX) |
    ((packet.icmpType ?? More.ICMP_NONE) << More.ICMP_SHIFT) |
    (packet.ecn << More.ECN_SHIFT) |
    (FRAGMENT[packet.fragment] << More.FRAGMENT_SHIFT);
  return { family: packet.family, words: out };
}

function moreLanes(key: Key): bigint {
  const more = key.words[KeyWord.KEY_MORE] as number;
  return (
    (BigInt(more & More.LENGTH_MAX) << BigInt(MoreLane.LANE_LENGTH)) |
    (BigInt((more >>> More.ICMP_SHIFT) & 511) << BigInt(MoreLane.LANE_ICMP)) |
    (BigInt((more >>> More.ECN_SHIFT) & 3) << BigInt(MoreLane.LANE_ECN)) |
    (BigInt((more >>> More.FRAGMENT_SHIFT) & 3) << BigInt(MoreLane.LANE_FRAGMENT))
  );
}

/** Connection of the generation's exact flow with the packet's 5-tuple, or null. */
export function matchFlow(generation: Generation, key: Key, packet: PacketKey): number | null {
  if (packet.proto === null || (PORT_PROTOCOLS.has(packet.proto) && packet.sport === null)) return null;
  const wide = key.family === 6;
  const { buckets, slots, seed } = wide ? generation.flowTable6 : generation.flowTable4;
  if (slots === 0) return null;
  const { tables } = generation;
  const size = wide ? 10 : 4;
  const ports = key.words[KeyWord.KEY_PORTS] as number;
  const addresses = [...packet.src, ...packet.dst];
  const stirred = [...addresses, ports, packet.proto << Flow.FLOW_PROTO];
  const pilots = wide ? tables.pilots6 : tables.pilots4;
  const at = slotOf({ buckets, slots, seed }, pilots, stirred) * size;
  const flow = words(wide ? tables.flows6 : tables.flows4).subarray(at, at + size);
  const wanted = wide ? [1, 0, 3, 2, 5, 4, 7, 6].map((i) => addresses[i]) : [addresses[1], addresses[0]];
  const low = flow[size - 2] as number;
  const same = wanted.every((word, w) => word === flow[w]);
  return same && low >>> Flow.FLOW_PROTO === packet.proto && flow[size - 1] === ports
    ? low & OWNER_NONE
    : null;
}

/** The only slot of a perfect hash that can hold the key made of these words. */
function slotOf({ buckets, slots, seed }: HashShape, pilots: Uint8Array, key: readonly number[]): number {
  let hash = BigInt(seed);
  for (let w = 0; w < key.length; w += 2) {
    const word = (BigInt((key[w] as number) >>> 0) << 32n) | BigInt((key[w + 1] as number) >>> 0);
    hash = BigInt.asUintN(64, (hash ^ word) * 0x9e3779b97f4a7c15n);
    hash ^= hash >> 32n;
  }
  const pilot = pilots[Number(((hash >> 32n) * BigInt(buckets)) >> 32n)] as number;
  const mixed = Math.imul(Number(hash & 0xffffffffn) ^ Math.imul(pilot, 0x9e3779b9), 0xc2b2ae35) >>> 0;
  return Number((BigInt(mixed) * BigInt(slots)) >> 32n);
}

function lanes(key: Key, ported: boolean): bigint {
  const [ports, proto] = [key.words[8] as number, key.words[9] as number];
  return (
    (BigInt(ports >>> 16) << BigInt(Lane.LANE_SPORT)) |
    (BigInt(ports & 0xffff) << BigInt(Lane.LANE_DPORT)) |
    (BigInt(proto & 511) << BigInt(Lane.LANE_PROTO)) |
    (BigInt(proto >>> 9) << BigInt(Lane.LANE_DSCP)) |
    (BigInt(ported) << BigInt(Lane.LANE_PORTED))
  );
}

const MORE_GUARDS = (1n << 17n) | (1n << 27n) | (1n << 30n) | (1n << 33n);
const GUARDS = (1n << 16n) | (1n << 33n) | (1n << 43n) | (1n << 50n) | (1n << 52n);

/** Masks of the source and of the destination below it, from the shifts in struct rule4. */
function prefixMasks(rest: bigint): bigint {
  const half = (shift: bigint) => (0xffffffffn << (shift & 63n)) & 0xffffffffn;
  return (
    (half(rest >> BigInt(RuleRest.RULE_SRC_SHIFT)) << 32n) | half(rest >> BigInt(RuleRest.RULE_DST_SHIFT))
  );
}

/** Index of the first matching rule, of all or of those that name ICMP; or INDEX_NONE. */
export function matchRules(
  generation: Generation,
  key: Key,
  ported: boolean,
  walked: Steps = { steps: 0 },
  trees: "ruleTrees" | "icmpTrees" = "ruleTrees",
): number {
  const forest = generation[`${trees}${key.family}`];
  const rules = quads(key.family === 4 ? generation.tables.rules4 : generation.tables.rules6);
  const extra = quads(key.family === 4 ? generation.tables.extra4 : generation.tables.extra6);
  const ranges = quads(generation.tables.ranges);
  const size = key.family === 4 ? 2 : 9;
  const word = (i: number) => BigInt(key.words[i] as number);
  const address =
    key.family === 4 ? [(word(0) << 32n) | word(4)] : [0, 2, 4, 6].map((i) => (word(i) << 32n) | word(i + 1));
  const k = lanes(key, ported);
  let best: number = INDEX_NONE;
  for (let t = 0; t < forest.count; t++) {
    const leaf = descend(generation, forest.root + t, key, best, walked);
    for (let i = 0; i < leaf.count; i++) {
      const at = leaf.start + i;
      walked.steps++;
      const q = (j: number) => rules[at * size + j] as bigint;
      const rest = q(size - 1);
      const values = key.family === 4 ? [q(0)] : [q(0), q(1), q(4), q(5)];
      const masks = key.family === 4 ? [prefixMasks(rest)] : [q(2), q(3), q(6), q(7)];
      if (address.some((a, j) => ((a ^ (values[j] as bigint)) & (masks[j] as bigint)) !== 0n)) continue;
      const number = 2 * Number((rest >> BigInt(RuleRest.RULE_RANGES)) & 0x3fffffffn);
      const [lo, hi] = [ranges[number] as bigint, ranges[number + 1] as bigint];
      const low = BigInt.asUintN(64, (k | GUARDS) - lo);
      const high = BigInt.asUintN(64, (hi | GUARDS) - k);
      if ((low & high & GUARDS) !== GUARDS) continue;
      const e = (j: number) => extra[4 * at + j] as bigint;
      if (forest.extra & Extra.EXTRA_MARK_IIF && (((word(10) << 32n) | word(11)) ^ e(0)) & e(1)) continue;
      if (forest.extra & Extra.EXTRA_MORE) {
        const more = moreLanes(key);
        const above = BigInt.asUintN(64, (more | MORE_GUARDS) - e(2));
        const below = BigInt.asUintN(64, (e(3) | MORE_GUARDS) - more);
        if ((above & below & MORE_GUARDS) !== MORE_GUARDS) continue;
      }
      const index = Number(rest & BigInt(INDEX_NONE));
      best = Math.min(best, index);
      break;
    }
  }
  return best;
}

/** Owner of the longest prefix that holds the address at word `at` of the key, or null. */
export function ownerOf(
  generation: Generation,
  name: "trie4" | "trie6" | "trie_ids",
  trie: PrefixTrie,
  key: Key,
  at: number,
): number | null {
  const table = words(generation.tables[name]);
  const size = name === "trie6" ? 4 : 1;
  const bits = (list: readonly number[]) => list.map((w) => w.toString(2).padStart(32, "0")).join("");
  const address = bits([...key.words.subarray(at, at + size)]);
  if (trie.slots > 0) {
    const pilots = new Uint8Array(table.buffer, table.byteOffset + 16 * trie.pilots);
    const masked = [0, 1].map(
      (w) => (w < size ? (key.words[at + w] as number) : 0) & (trie.hashed[w] as number),
    );
    const { prefix, leads } = entryOf(table, trie.entries + slotOf(trie, pilots, masked), false);
    const owner = address.startsWith(prefix) ? follow(leads) : OWNER_NONE;
    if (owner !== OWNER_NONE) return owner;
  }
  const inside = trie.start.every(
    (word, w) => (((w < size ? (key.words[at + w] as number) : 0) ^ word) & (trie.shared[w] as number)) === 0,
  );
  if (!inside) return orNull(trie.outside);
  const half = address.padEnd(128, "0").slice(trie.by_low ? 64 : 0, trie.by_low ? 128 : 64);
  const index = Number((BigInt(`0b${half}`) >> BigInt(trie.shift)) & BigInt(trie.picked));
  const first = trie.spread ? ofBlock(index) : (table[trie.root + index] as number);
  const value = follow(trie.picked ? first : trie.root);
  return orNull(value === OWNER_NONE ? trie.outside : value);

  /** The owner that a value leads to. */
  function follow(first: number): number {
    let value = first;
    while (value >>> PrefixValue.VALUE_LIST) {
      if (value >>> PrefixValue.VALUE_NODE) {
        value = child(value & OWNER_NONE, (value >>> PrefixValue.VALUE_OFFSET) & 127);
        continue;
      }
      const start = trie.lists + (value & (2 ** PrefixValue.VALUE_COUNT - 1));
      const isLong = trie.is_long === 1;
      const entries = [...Array((value >>> PrefixValue.VALUE_COUNT) & 15).keys()].map((i) =>
        entryOf(table, start + i * (isLong ? 2 : 1), isLong),
      );
      value = entries.find(({ prefix }) => address.startsWith(prefix))?.leads ?? OWNER_NONE;
    }
    return value;
  }

  /** The value of a child, by its number among those of all blocks. */
  function ofBlock(index: number): number {
    const bytes = new Uint8Array(table.buffer, table.byteOffset);
    const block = index >>> PrefixBlock.BLOCK_BITS;
    const pilot = bytes[16 * trie.root + block] as number;
    const rest = table[trie.rests + block] as number;
    if (pilot === PrefixBlock.BLOCK_FAR) return table[rest + (index & 63)] as number;
    const slots = trie.wide ? table : new Uint16Array(table.buffer, table.byteOffset);
    const first = trie.block_slots * (trie.wide ? 4 : 8);
    const slot = slots[first + blockSlot(index, pilot, trie.spread)] as number;
    if (slot % 2 ** PrefixBlock.CHECK_BITS !== checkOf(index)) return rest;
    return table[trie.numbered + (slot >>> PrefixBlock.CHECK_BITS)] as number;
  }

  function child(node: number, offset: number) {
    const [low = 0, high = 0, values = 0, otherwise = 0] = table.subarray(4 * node, 4 * node + 4);
    const window = Number.parseInt(address.slice(offset, offset + PrefixValue.NODE_BITS), 2);
    const set = [...Array(64).keys()].filter((i) => ((i < 32 ? low : high) >>> (i & 31)) & 1);
    const rank = set.indexOf(window);
    return (rank < 0 ? otherwise : table[values + rank]) as number;
  }

  /** The leading bits in a unit of a list, and the value that they lead to. */
  function entryOf(all: Uint32Array, unit: number, isLong: boolean) {
    const [a = 0, b = 0, c = 0, d = 0, length = 0, leads = 0] = all.subarray(4 * unit, 4 * unit + 6);
    if (size === 1) return { prefix: bits([a]).slice(0, 32 - Math.log2(2 ** 32 - b)), leads: c };
    if (isLong) return { prefix: bits([b, a, d, c]).slice(0, length), leads };
    return { prefix: bits([b, a]).slice(0, 64 - c), leads: d };
  }
}

const orNull = (owner: number) => (owner === OWNER_NONE ? null : owner);
