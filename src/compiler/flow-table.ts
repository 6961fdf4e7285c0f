import { Flow, Flow4, Flow6, Owner } from "../bpf/tables.bpf.js";
import type { ExactFlows, Family } from "../config/policy.js";
import { finish } from "./flow-hash.js";
import { memberWords, type Table } from "./table.js";

/** Members of struct flow_table in bpf/flows.h. */
export interface FlowTable {
  /** 0 where there are no flows. */
  readonly buckets: number;
  readonly slots: number;
  readonly seed: number;
}

/** Flows of a bucket on average, and slots that are taken: more of either and the last buckets find no pilot. */
const BUCKET = 3;
const LOAD = 0.8;
const PILOTS = 256;
/** Seeds to try, of which the first nearly always does. */
const SEEDS = 16;
const FLOW4 = memberWords(Flow4);
const FLOW6 = memberWords(Flow6);
const { FLOW_PROTO } = Flow;

/**
 * Fills a perfect hash table with the exact flows of one family, none of them twice (Belazzougui, Botelho and
 * Dietzfelbinger 2009; Pibiri and Trani 2021): a flow's hash picks a bucket, and with the bucket's pilot, which is
 * chosen so that no two flows meet, the one slot that can hold the flow. See bpf/flows.h.
 *
 * @throws RangeError where no seed leads to a table, as with two flows that are equal
 */
export function buildFlowTable(flows: ExactFlows, family: Family, slots: Table, pilots: Table): FlowTable {
  const count = flows.proto.length;
  if (count === 0) return { buckets: 0, slots: 0, seed: 0 };
  const shape = { buckets: Math.ceil(count / BUCKET), slots: Math.ceil(count / LOAD) };
  pilots.reserve(Math.ceil(shape.buckets / 4));
  for (let seed = 0; seed < SEEDS; seed++) {
    const table = { ...shape, seed };
    const placed = place(hashFlows(flows, family, seed), table, new Uint8Array(pilots.words.buffer));
    if (!placed) continue;
    writeFlows(flows, family, placed, slots);
    return table;
  }
  throw new RangeError(`${count} flows cannot be told apart by ${SEEDS} hashes; two of them are equal`);
}

/** Upper and lower halves of the flows' 64-bit hashes. */
interface Hashes {
  readonly high: Uint32Array;
  readonly low: Uint32Array;
}

function hashFlows({ src, dst, ports, proto }: ExactFlows, family: Family, seed: number): Hashes {
  const count = proto.length;
  const high = new Uint32Array(count);
  const low = new Uint32Array(count);
  const hash = new Hash64();
  for (let i = 0; i < count; i++) {
    hash.start(seed);
    if (family === 4) {
      hash.stir(src[i] as number, dst[i] as number);
    } else {
      for (let w = 4 * i; w < 4 * i + 4; w += 2) hash.stir(src[w] as number, src[w + 1] as number);
      for (let w = 4 * i; w < 4 * i + 4; w += 2) hash.stir(dst[w] as number, dst[w + 1] as number);
    }
    hash.stir(ports[i] as number, (proto[i] as number) << FLOW_PROTO);
    high[i] = hash.high;
    low[i] = hash.low;
  }
  return { high, low };
}

/** stir() of bpf/flows.h in halves: for 2^64 divided by the golden ratio, h = (h ^ word) * ratio; h ^= h >> 32. */
export class Hash64 {
  high = 0;
  low = 0;

  start(seed: number): void {
    this.high = 0;
    this.low = seed;
  }

  stir(wordHigh: number, wordLow: number): void {
    const high = this.high ^ wordHigh;
    const low = (this.low ^ wordLow) >>> 0;
    // low * 0x7f4a7c15 in full, by the halves of low: neither product is above 2^53.
    const first = (low & 0xffff) * 0x7f4a7c15;
    const second = (low >>> 16) * 0x7f4a7c15 + Math.floor(first / 0x10000);
    const productLow = (second << 16) | (first & 0xffff);
    const productHigh = Math.floor(second / 0x10000);
    this.high = (productHigh + Math.imul(high, 0x7f4a7c15) + Math.imul(low, 0x9e3779b9)) >>> 0;
    this.low = (productLow ^ this.high) >>> 0;
  }
}

/**
 * Finds a pilot for every bucket, the fullest first.
 *
 * @param pilots filled, one byte a bucket
 * @returns by slot, the number of its flow and 1, or 0; null where some bucket found no pilot
 */
function place(hashes: Hashes, table: FlowTable, pilots: Uint8Array): Uint32Array | null {
  const { high, low } = hashes;
  const { starts, flows } = byBucket(high, table.buckets);
  const slots = new Uint32Array(table.slots);
  const size = (bucket: number) => (starts[bucket + 1] as number) - (starts[bucket] as number);
  for (const bucket of fullestFirst(table.buckets, size)) {
    const from = starts[bucket] as number;
    const to = starts[bucket + 1] as number;
    let pilot = 0;
    while (pilot < PILOTS && !settle(pilot, from, to)) pilot++;
    if (pilot === PILOTS) return null;
    pilots[bucket] = pilot;
  }
  return slots;

  /** Puts flows [from, to) into their slots, or none of them where one is taken. */
  function settle(pilot: number, from: number, to: number): boolean {
    for (let i = from; i < to; i++) {
      const slot = slotOf(low[flows[i] as number] as number, pilot, table.slots);
      if (slots[slot] === 0) {
        slots[slot] = (flows[i] as number) + 1;
        continue;
      }
      while (--i >= from) slots[slotOf(low[flows[i] as number] as number, pilot, table.slots)] = 0;
      return false;
    }
    return true;
  }
}

/** The flows in order of their buckets: those of bucket b are flows[starts[b], starts[b + 1]). */
function byBucket(high: Uint32Array, buckets: number): { starts: Uint32Array; flows: Uint32Array } {
  const starts = new Uint32Array(buckets + 1);
  for (const hash of high) {
    const next = scale(hash, buckets) + 1;
    starts[next] = (starts[next] as number) + 1;
  }
  for (let b = 0; b < buckets; b++) starts[b + 1] = (starts[b + 1] as number) + (starts[b] as number);
  const next = starts.slice();
  const flows = new Uint32Array(high.length);
  high.forEach((hash, flow) => {
    const bucket = scale(hash, buckets);
    flows[next[bucket] as number] = flow;
    next[bucket] = (next[bucket] as number) + 1;
  });
  return { starts, flows };
}

function fullestFirst(buckets: number, size: (bucket: number) => number): Uint32Array {
  const bySize: number[] = [];
  for (let b = 0; b < buckets; b++) bySize[size(b)] = (bySize[size(b)] ?? 0) + 1;
  const next: number[] = [];
  let at = 0;
  for (let s = bySize.length - 1; s >= 0; s--) {
    next[s] = at;
    at += bySize[s] ?? 0;
  }
  const order = new Uint32Array(buckets);
  for (let b = 0; b < buckets; b++) {
    const s = size(b);
    order[next[s] as number] = b;
    next[s] = (next[s] as number) + 1;
  }
  return order;
}

/** scale() in bpf/flows.h: from a 32-bit hash to one of n. */
export function scale(hash: number, n: number): number {
  return Math.floor((hash * n) / 2 ** 32);
}

/** slot_of() in bpf/flows.h. */
export function slotOf(low: number, pilot: number, slots: number): number {
  return scale(finish((low ^ Math.imul(pilot, 0x9e3779b9)) >>> 0), slots);
}

/** struct flow4 or flow6, 64-bit words with the low half first. */
function writeFlows(flows: ExactFlows, family: Family, placed: Uint32Array, table: Table): void {
  const { size, rest: restAt } = family === 4 ? FLOW4 : FLOW6;
  const { src, dst, ports, proto, connection } = flows;
  table.reserve(placed.length);
  const out = table.words;
  placed.forEach((flowAndOne, slot) => {
    const flow = flowAndOne - 1;
    const at = slot * size;
    const rest = at + restAt;
    if (flow < 0) {
      // Protocol 255 with ports: a packet of it has none, so that no key equals an empty slot.
      out[rest] = ((255 << FLOW_PROTO) | Owner.OWNER_NONE) >>> 0;
      out[rest + 1] = 0xffffffff;
      return;
    }
    if (family === 4) {
      out[at + FLOW4.addr] = dst[flow] as number;
      out[at + FLOW4.addr + 1] = src[flow] as number;
    } else {
      for (let w = 0; w < 4; w++) {
        out[at + FLOW6.src + (w ^ 1)] = src[4 * flow + w] as number;
        out[at + FLOW6.dst + (w ^ 1)] = dst[4 * flow + w] as number;
      }
    }
    out[rest] = (((proto[flow] as number) << FLOW_PROTO) | (connection[flow] as number)) >>> 0;
    out[rest + 1] = ports[flow] as number;
  });
}
