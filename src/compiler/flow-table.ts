import { Flow, Flow4, Flow6, Owner } from "../bpf/tables.bpf.js";
import type { ExactFlows, Family } from "../config/policy.js";
import { buildPerfectHash, Hash64, type Hashes, type HashShape } from "./perfect-hash.js";
import { memberWords, type Table } from "./table.js";

/** Members of struct flow_table in bpf/flows.h; without flows, 0. */
export type FlowTable = HashShape;

const FLOW4 = memberWords(Flow4);
const FLOW6 = memberWords(Flow6);
const { FLOW_PROTO } = Flow;

/**
 * Fills a perfect hash table with the exact flows of one family, none of them twice. See bpf/flows.h.
 *
 * @throws RangeError where no seed leads to a table, as with two flows that are equal
 */
export function buildFlowTable(flows: ExactFlows, family: Family, slots: Table, pilots: Table): FlowTable {
  const count = flows.proto.length;
  if (count === 0) return { buckets: 0, slots: 0, seed: 0 };
  const built = buildPerfectHash(count, (seed) => hashFlows(flows, family, seed));
  if (!built)
    throw new RangeError(`${count} flows cannot be told apart by their hashes; two of them are equal`);
  pilots.reserve(Math.ceil(built.pilots.length / 4));
  new Uint8Array(pilots.words.buffer).set(built.pilots);
  writeFlows(flows, family, built.placed, slots);
  return built.shape;
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
