import type { BpfObject } from "libbpf-ts";
import { LIVE_NO_FLOW } from "../compiler/layout.js";
import type { Family } from "../config/policy.js";
import { PORT_PROTOCOLS } from "../config/protocols.js";

/** A 5-tuple. Words as in `Prefix`; ports are 0 where the protocol has none. */
export interface FlowTuple {
  readonly family: Family;
  readonly src: readonly number[];
  readonly dst: readonly number[];
  readonly proto: number;
  readonly sport: number;
  readonly dport: number;
}

export interface LiveFlow extends FlowTuple {
  /** Index of the connection in the running generation; null: the generation's own flow is taken out. */
  readonly connection: number | null;
}

/** struct live_flow in bpf/tables.h, as 32-bit words. */
const KEY_WORDS = 10;
const DST = 4;
const PORTS = 8;
const PROTO = 9;

/**
 * Exact flows of a running generation that come and go without a new one. They decide before the generation's own. The
 * object must have been loaded with `liveFlows`; the map is the generation's, so whoever swaps adds them again.
 */
export class LiveFlows {
  readonly #object: BpfObject;

  constructor(object: BpfObject) {
    this.#object = object;
  }

  /** Adds flows, or changes them, in one batch. @throws BpfError E2BIG where more are added than `liveFlows` allows */
  set(flows: readonly LiveFlow[]): void {
    if (flows.length === 0) return;
    const values = Uint32Array.from(flows, ({ connection }) => connection ?? LIVE_NO_FLOW);
    // Before the flows: a packet in between finds an empty map, not flows that it does not look for.
    this.#object.map("live_flows_used").update(0, Uint32Array.of(1));
    this.#object.map("live_flows").updateBatch(keysOf(flows), values);
  }

  /** @returns whether it was there */
  delete(flow: FlowTuple): boolean {
    return this.#object.map("live_flows").delete(keysOf([flow]));
  }

  *list(): Generator<LiveFlow> {
    for (const { keys, values, count } of this.#object.map("live_flows").lookupBatches()) {
      const words = new Uint32Array(keys.buffer, keys.byteOffset, count * KEY_WORDS);
      const owners = new Uint32Array(values.buffer, values.byteOffset, count);
      for (let i = 0; i < count; i++)
        yield flowOf(words.subarray(i * KEY_WORDS, (i + 1) * KEY_WORDS), owners[i] as number);
    }
  }
}

function keysOf(flows: readonly FlowTuple[]): Uint32Array {
  const words = new Uint32Array(flows.length * KEY_WORDS);
  flows.forEach(({ family, src, dst, proto, sport, dport }, i) => {
    words.set(src, i * KEY_WORDS);
    words.set(dst, i * KEY_WORDS + DST);
    words[i * KEY_WORDS + PORTS] = PORT_PROTOCOLS.has(proto) ? ((sport << 16) | dport) >>> 0 : 0;
    words[i * KEY_WORDS + PROTO] = (family << 8) | proto;
  });
  return words;
}

function flowOf(words: Uint32Array, owner: number): LiveFlow {
  const packed = words[PROTO] as number;
  const ports = words[PORTS] as number;
  const family: Family = packed >>> 8 === 4 ? 4 : 6;
  const size = family === 4 ? 1 : 4;
  return {
    family,
    src: [...words.subarray(0, size)],
    dst: [...words.subarray(DST, DST + size)],
    proto: packed & 0xff,
    sport: ports >>> 16,
    dport: ports & 0xffff,
    connection: owner === LIVE_NO_FLOW ? null : owner,
  };
}
