import { Flow, Flow4, Flow6, Owner } from "../bpf/tables.bpf.js";
import type { ExactFlows, Family } from "../config/policy.js";
import { finish, mix, SEED } from "./flow-hash.js";
import { memberWords, type Table } from "./table.js";

/** Slots of a flow table that stay empty, so that every flow finds a place in one of its two buckets. */
const LOAD = 0.85;
/** Flows moved for one insertion before the table is thought too full. */
const MOVES = 500;
const FLOW4 = memberWords(Flow4);
const FLOW6 = memberWords(Flow6);
const { FLOW_SLOTS, FLOW_PROTO } = Flow;

/**
 * Fills a cuckoo hash table with the exact flows of one family (Pagh and Rodler 2001; buckets: Dietzfelbinger and
 * Weidling 2007). Lookups read two buckets at most, whatever the keys: see bpf/flows.h.
 *
 * @returns the number of buckets, 0 for no flows
 */
export function buildFlowTable(flows: ExactFlows, family: Family, table: Table): number {
  const count = flows.proto.length;
  if (count === 0) return 0;
  const builder = new FlowTable(flows, family);
  let buckets = Math.ceil(count / LOAD / FLOW_SLOTS) + 1;
  while (!builder.fill(buckets)) buckets = Math.ceil(buckets * 1.1);
  builder.write(table);
  return buckets;
}

class FlowTable {
  readonly #flows: ExactFlows;
  readonly #family: Family;
  readonly #count: number;
  /** The two buckets of each flow, as 32-bit hashes; a flow in each slot, as its number and 1. */
  readonly #first: Uint32Array;
  readonly #second: Uint32Array;
  #slots = new Uint32Array(0);

  constructor(flows: ExactFlows, family: Family) {
    this.#flows = flows;
    this.#family = family;
    this.#count = flows.proto.length;
    this.#first = new Uint32Array(this.#count);
    this.#second = new Uint32Array(this.#count);
    const words = family === 4 ? 1 : 4;
    for (let i = 0; i < this.#count; i++) {
      let h = SEED;
      for (let w = i * words; w < (i + 1) * words; w++) h = mix(h, flows.src[w] as number);
      for (let w = i * words; w < (i + 1) * words; w++) h = mix(h, flows.dst[w] as number);
      h = mix(mix(h, flows.ports[i] as number), flows.proto[i] as number);
      this.#first[i] = finish(h);
      this.#second[i] = finish(mix(h, 1));
    }
  }

  /** @returns false where some flow found no place */
  fill(buckets: number): boolean {
    this.#slots = new Uint32Array(buckets * FLOW_SLOTS);
    let seed = 1;
    for (let i = 0; i < this.#count; i++) {
      let flow = i;
      let bucket = bucketOf(this.#first[flow] as number, buckets);
      for (let moves = 0; ; moves++) {
        if (this.#put(bucket, flow) || this.#put(this.#other(flow, bucket, buckets), flow)) break;
        if (moves === MOVES) return false;
        // Take the place of one of the four, which then goes to its other bucket.
        seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
        const at = bucket * FLOW_SLOTS + (seed >>> 30);
        const evicted = (this.#slots[at] as number) - 1;
        this.#slots[at] = flow + 1;
        flow = evicted;
        bucket = this.#other(flow, bucket, buckets);
      }
    }
    return true;
  }

  #put(bucket: number, flow: number): boolean {
    for (let at = bucket * FLOW_SLOTS; at < (bucket + 1) * FLOW_SLOTS; at++) {
      if (this.#slots[at] !== 0) continue;
      this.#slots[at] = flow + 1;
      return true;
    }
    return false;
  }

  #other(flow: number, bucket: number, buckets: number): number {
    const first = bucketOf(this.#first[flow] as number, buckets);
    return bucket === first ? bucketOf(this.#second[flow] as number, buckets) : first;
  }

  /** struct flow4 or flow6, 64-bit words with the low half first. */
  write(table: Table): void {
    const { size, rest: restAt } = this.#family === 4 ? FLOW4 : FLOW6;
    const { src, dst, ports, proto, connection } = this.#flows;
    table.reserve(this.#slots.length);
    const out = table.words;
    for (let slot = 0; slot < this.#slots.length; slot++) {
      const flow = (this.#slots[slot] as number) - 1;
      const at = slot * size;
      const rest = at + restAt;
      if (flow < 0) {
        // Protocol 255 with ports: a packet of it has none, so that no key equals an empty slot.
        out[rest] = ((255 << FLOW_PROTO) | Owner.OWNER_NONE) >>> 0;
        out[rest + 1] = 0xffffffff;
        continue;
      }
      if (this.#family === 4) {
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
    }
  }
}

/** As bucket_of() in bpf/flows.h. */
function bucketOf(hash: number, buckets: number): number {
  return Math.floor((hash * buckets) / 2 ** 32);
}
