import type { BpfMap, BpfObject } from "libbpf-ts";
import { Live, LiveFlow as LiveFlowKey } from "../bpf/tables.bpf.js";
import { memberWords } from "../compiler/table.js";
import { formatAddress } from "../config/address.js";
import type { ExactFlows, Family, Flows, Policy } from "../config/policy.js";
import { PORT_PROTOCOLS, protocolName } from "../config/protocols.js";
import { RowIndex } from "../config/row-index.js";
import { steeringPrefix } from "../program/load.js";
import { BackendError } from "./errors.js";

/** As many as a running program takes; the map is not allocated beforehand. */
export const LIVE_FLOWS_MAX = 2 ** 20;

const { LIVE_NO_FLOW } = Live;
const KEY = memberWords(LiveFlowKey);

/** The flows, and one entry that says whether there may be any. */
export interface LiveFlowMaps {
  readonly flows: BpfMap;
  readonly used: BpfMap;
}

export function liveFlowMaps(object: BpfObject, { program }: Policy): LiveFlowMaps {
  const prefix = steeringPrefix(program);
  return { flows: object.map(`${prefix}live_flows`), used: object.map(`${prefix}live_flows_used`) };
}

/** A flow that was added to, or taken out of, the running generation. */
export interface LiveFlow {
  readonly src: string;
  readonly dst: string;
  readonly proto: string;
  readonly sport: number | null;
  readonly dport: number | null;
  /** Null: one of the policy's own flows, which is gone. */
  readonly connection: string | null;
}

/** The exact flows of a running program that come and go without a new generation. */
export class LiveFlows {
  readonly #maps: LiveFlowMaps;
  readonly #policy: Policy;

  /** @param maps of an object that was loaded with `liveFlows: LIVE_FLOWS_MAX` from the policy's generation */
  constructor(maps: LiveFlowMaps, policy: Policy) {
    this.#maps = maps;
    this.#policy = policy;
  }

  static of(object: BpfObject, policy: Policy): LiveFlows {
    return new LiveFlows(liveFlowMaps(object, policy), policy);
  }

  /**
   * Adds flows, or leads those that are there to another connection: all of them or, where there are too many, none.
   *
   * @returns how many
   * @throws BackendError where they do not fit
   */
  add(flows: Flows): number {
    const keys = keysOf(flows);
    const connections = Uint32Array.from([...flows.exact4.connection, ...flows.exact6.connection]);
    const there = this.#count();
    if (there + connections.length > LIVE_FLOWS_MAX)
      throw new BackendError(
        `${there} live flows and ${connections.length} more; at most ${LIVE_FLOWS_MAX} fit: write them into a flows file and apply`,
      );
    this.#put(keys, connections);
    return connections.length;
  }

  /** Takes flows out, also those of the policy (until the next apply). @returns how many were there */
  delete(flows: Flows): number {
    const map = this.#maps.flows;
    const keys = keysOf(flows);
    const own = { 4: indexOf(this.#policy.flows.exact4, 1), 6: indexOf(this.#policy.flows.exact6, 4) };
    const gone = Uint32Array.of(LIVE_NO_FLOW);
    let found = 0;
    for (let at = 0; at < keys.length; at += KEY.size) {
      const key = keys.subarray(at, at + KEY.size);
      const size = familyOf(key) === 4 ? 1 : 4;
      const row = own[familyOf(key)].find([
        key.subarray(KEY.src, KEY.src + size),
        key.subarray(KEY.dst, KEY.dst + size),
        [(key[KEY.proto] as number) & 0xff],
        [key[KEY.ports] as number],
      ]);
      const before = map.lookup(key) as Uint8Array | undefined;
      if (row >= 0) {
        if (before === undefined || ownerIn(before) !== LIVE_NO_FLOW) found++;
        this.#put(key, gone);
      } else if (map.delete(key)) found++;
    }
    return found;
  }

  list(): LiveFlow[] {
    return [...this.#entries()].map(([key, owner]) => ({
      ...describe(key),
      connection: owner === LIVE_NO_FLOW ? null : (this.#policy.connections[owner]?.name ?? null),
    }));
  }

  get empty(): boolean {
    return this.#maps.flows.getNextKey() === undefined;
  }

  /**
   * Takes over the flows of the generation before, as far as the connections that they lead to are still there.
   *
   * @param samePolicy whether the policy's own flows that were taken out stay so: they come back with another policy
   */
  carryOver(before: LiveFlows, samePolicy = false): void {
    const indexes = new Map(this.#policy.connections.map(({ name }, index) => [name, index]));
    const keys: number[] = [];
    const owners: number[] = [];
    for (const [key, owner] of before.#entries()) {
      const gone = owner === LIVE_NO_FLOW && samePolicy;
      const index = gone ? LIVE_NO_FLOW : indexes.get(before.#policy.connections[owner]?.name ?? "");
      if (index === undefined) continue;
      keys.push(...key);
      owners.push(index);
    }
    this.#put(Uint32Array.from(keys), Uint32Array.from(owners));
  }

  #put(keys: Uint32Array, owners: Uint32Array): void {
    if (owners.length === 0) return;
    this.#maps.flows.updateBatch(keys, owners);
    this.#maps.used.update(0, Uint32Array.of(1));
  }

  #count(): number {
    let count = 0;
    for (const batch of this.#maps.flows.lookupBatches()) count += batch.count;
    return count;
  }

  *#entries(): Generator<readonly [key: Uint32Array, owner: number]> {
    for (const { keys, values, count } of this.#maps.flows.lookupBatches())
      for (let i = 0; i < count; i++) {
        const key = Uint32Array.from({ length: KEY.size }, (_, word) =>
          keys.readUInt32LE(4 * (i * KEY.size + word)),
        );
        yield [key, values.readUInt32LE(4 * i)];
      }
  }
}

function ownerIn(value: Uint8Array): number {
  return new DataView(value.buffer, value.byteOffset).getUint32(0, true);
}

function familyOf(key: Uint32Array): Family {
  return (key[KEY.proto] as number) >>> 8 === 4 ? 4 : 6;
}

function keysOf({ exact4, exact6 }: Flows): Uint32Array {
  const rows4 = exact4.proto.length;
  const keys = new Uint32Array(KEY.size * (rows4 + exact6.proto.length));
  fill(keys, 0, exact4, 4);
  fill(keys, rows4, exact6, 6);
  return keys;
}

function fill(
  keys: Uint32Array,
  first: number,
  { src, dst, proto, ports }: ExactFlows,
  family: Family,
): void {
  const size = family === 4 ? 1 : 4;
  for (let row = 0; row < proto.length; row++) {
    const at = (first + row) * KEY.size;
    keys.set(src.subarray(row * size, (row + 1) * size), at + KEY.src);
    keys.set(dst.subarray(row * size, (row + 1) * size), at + KEY.dst);
    keys[at + KEY.ports] = ports[row] as number;
    keys[at + KEY.proto] = (family << 8) | (proto[row] as number);
  }
}

function indexOf({ src, dst, proto, ports }: ExactFlows, size: 1 | 4): RowIndex {
  const index = new RowIndex(
    [
      { values: src, size },
      { values: dst, size },
      { values: proto, size: 1 },
      { values: ports, size: 1 },
    ],
    proto.length,
  );
  for (let row = 0; row < proto.length; row++) index.add(row);
  return index;
}

function describe(key: Uint32Array): Omit<LiveFlow, "connection"> {
  const family = familyOf(key);
  const address = (at: number) =>
    formatAddress({ family, words: [...key.subarray(at, at + (family === 4 ? 1 : 4))] });
  const proto = (key[KEY.proto] as number) & 0xff;
  const ports = key[KEY.ports] as number;
  const ported = PORT_PROTOCOLS.has(proto);
  return {
    src: address(KEY.src),
    dst: address(KEY.dst),
    proto: protocolName(proto),
    sport: ported ? ports >>> 16 : null,
    dport: ported ? ports & 0xffff : null,
  };
}
