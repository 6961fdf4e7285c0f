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
  PrefixValue,
  Slot,
} from "../../src/bpf/tables.bpf.js";
import { FRAGMENT } from "../../src/compiler/alternatives.js";
import type { Generation } from "../../src/compiler/compile.js";
import { finish, mix, SEED } from "../../src/compiler/flow-hash.js";
import type { PacketKey } from "../../src/compiler/packet.js";
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

function descend(generation: Generation, root: number, key: Key, best: number) {
  const slots = words(generation.tables.slots);
  let at = root;
  for (;;) {
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
  const buckets = wide ? generation.flowBuckets6 : generation.flowBuckets4;
  const table = words(wide ? generation.tables.flows6 : generation.tables.flows4);
  const size = wide ? 10 : 4;
  const rest = [packet.proto, key.words[KeyWord.KEY_PORTS] as number];
  const wanted = wide
    ? [1, 0, 3, 2, 5, 4, 7, 6].map((i) => key.words[i] as number)
    : [key.words[KeyWord.KEY_DST] as number, key.words[KeyWord.KEY_SRC] as number];
  let h = SEED;
  for (const word of [...packet.src, ...packet.dst, rest[1] as number, packet.proto]) h = mix(h, word);
  for (const hash of buckets ? [finish(h), finish(mix(h, 1))] : [])
    for (let i = 0; i < Flow.FLOW_SLOTS; i++) {
      const at = (Math.floor((hash * buckets) / 2 ** 32) * Flow.FLOW_SLOTS + i) * size;
      const low = table[at + size - 2] as number;
      const same = wanted.every((word, w) => word === table[at + w]);
      if (same && low >>> Flow.FLOW_PROTO === rest[0] && table[at + size - 1] === rest[1])
        return low & OWNER_NONE;
    }
  return null;
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

/** Index of the first matching rule, or INDEX_NONE. */
export function matchRules(generation: Generation, key: Key, ported: boolean): number {
  const forest = key.family === 4 ? generation.ruleTrees4 : generation.ruleTrees6;
  const rules = quads(key.family === 4 ? generation.tables.rules4 : generation.tables.rules6);
  const extra = quads(key.family === 4 ? generation.tables.extra4 : generation.tables.extra6);
  const size = key.family === 4 ? 4 : 10;
  const word = (i: number) => BigInt(key.words[i] as number);
  const address =
    key.family === 4 ? [(word(0) << 32n) | word(4)] : [0, 2, 4, 6].map((i) => (word(i) << 32n) | word(i + 1));
  const k = lanes(key, ported);
  let best: number = INDEX_NONE;
  for (let t = 0; t < forest.count; t++) {
    const leaf = descend(generation, forest.root + t, key, best);
    for (let i = 0; i < leaf.count; i++) {
      const at = leaf.start + i;
      const q = (j: number) => rules[at * size + j] as bigint;
      const values = key.family === 4 ? [q(0)] : [q(0), q(1), q(4), q(5)];
      const masks = key.family === 4 ? [q(1)] : [q(2), q(3), q(6), q(7)];
      if (address.some((a, j) => ((a ^ (values[j] as bigint)) & (masks[j] as bigint)) !== 0n)) continue;
      const [lo, hi] = [q(size - 2), q(size - 1)];
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
      const index = Number(
        ((lo >> BigInt(Lane.LANE_INDEX)) << BigInt(Lane.INDEX_HALF_BITS)) | (hi >> BigInt(Lane.LANE_INDEX)),
      );
      best = Math.min(best, index);
      break;
    }
  }
  return best;
}

/** Owner of the longest prefix that holds the address at word `at` of the key, or null. */
export function ownerOf(generation: Generation, trie: PrefixTrie, key: Key, at: number): number | null {
  const wide = key.family === 6;
  const words32 = (from: Uint32Array, start: number) =>
    wide ? [...from.subarray(start, start + 4)] : [from[start] as number];
  const bits = (list: readonly number[]) => list.map((w) => w.toString(2).padStart(32, "0")).join("");
  const address = bits(words32(key.words, at));
  const { nodes, values, prefixes4, prefixes6 } = generation.tables;
  const prefixes = words(wide ? prefixes6 : prefixes4);
  const size = wide ? 6 : 3;
  if (!address.startsWith(bits(trie.start).slice(0, trie.skip))) return orNull(trie.outside);
  let value =
    trie.root + (trie.width ? Number.parseInt(address.slice(trie.skip, trie.skip + trie.width), 2) : 0);
  while (value >>> PrefixValue.VALUE_LIST) {
    if (value >>> PrefixValue.VALUE_NODE) {
      const offset = (value >>> PrefixValue.VALUE_OFFSET) & 127;
      const node = words(nodes).subarray(4 * (value & OWNER_NONE));
      const child = Number.parseInt(address.slice(offset, offset + PrefixValue.NODE_BITS), 2);
      const set = [...Array(64).keys()].filter((i) => ((node[i >> 5] as number) >>> (i & 31)) & 1);
      const rank = set.indexOf(child);
      value = (rank < 0 ? node[3] : words(values)[(node[2] as number) + rank]) as number;
      continue;
    }
    const start = value & (2 ** PrefixValue.VALUE_COUNT - 1);
    const entries = [...Array((value >>> PrefixValue.VALUE_COUNT) & 15).keys()].map((i) => {
      const entry = [...prefixes.slice((start + i) * size, (start + i + 1) * size)];
      const [a = 0, b = 0, c = 0, d = 0, length = 0, leads = 0] = entry;
      if (!wide) return { prefix: bits([a]).slice(0, 32 - Math.log2(2 ** 32 - b)), leads: c };
      return { prefix: bits([b, a, d, c]).slice(0, length), leads };
    });
    value = entries.find(({ prefix }) => address.startsWith(prefix))?.leads ?? OWNER_NONE;
  }
  return orNull(value);
}

const orNull = (owner: number) => (owner === OWNER_NONE ? null : owner);
