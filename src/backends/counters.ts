import type { BpfMap } from "libbpf-ts";
import { Counter, CounterBlockSize, RxReason, TxReason } from "../bpf/tables.bpf.js";
import type { Generation } from "../compiler/compile.js";

const { BLOCK_COUNTERS } = CounterBlockSize;
/** 64-bit words of a counter. */
const COUNTER = {
  size: Counter.size / 8,
  packets: Counter.offsets.packets / 8,
  bytes: Counter.offsets.bytes / 8,
};

export interface Traffic {
  readonly packets: number;
  readonly bytes: number;
}

export const NO_TRAFFIC: Traffic = { packets: 0, bytes: 0 };

export function add(a: Traffic, b: Traffic): Traffic {
  return { packets: a.packets + b.packets, bytes: a.bytes + b.bytes };
}

/** Counters of the classifier under names, so that they can be carried over to a generation with other indexes. */
export interface Counters {
  readonly rules: ReadonlyMap<string, Traffic>;
  /** By connection: steered to it, accepted on receive, refused for their source. */
  readonly sent: ReadonlyMap<string, Traffic>;
  readonly received: ReadonlyMap<string, Traffic>;
  readonly badSource: ReadonlyMap<string, Traffic>;
  readonly default: Traffic;
  readonly malformed: Traffic;
  readonly unknownIfId: Traffic;
  /** In both directions. */
  readonly held: Traffic;
}

/**
 * Reads tx_counters and rx_counters, summed over CPUs.
 *
 * @param leads the connection that each rule leads to; null for one that leads to none, or to a group, whose packets
 * are counted with their connection too
 */
export function readCounters(
  { rules, connections }: Pick<Generation, "rules" | "connections">,
  leads: readonly (string | null)[],
  tx: BpfMap,
  rx: BpfMap,
): Counters {
  const sent = sumPerCpu(tx);
  const received = sumPerCpu(rx);
  const named = (names: readonly string[], from: readonly Traffic[], start: number) =>
    new Map(names.map((name, i) => [name, from[start + i] ?? NO_TRAFFIC]));
  const txReason = (reason: number) => sent[rules.length + connections.length + reason] ?? NO_TRAFFIC;
  const rxReason = (reason: number) => received[2 * connections.length + reason] ?? NO_TRAFFIC;
  const steered = named(connections, sent, rules.length);
  for (const [i, connection] of leads.entries())
    if (connection !== null)
      steered.set(connection, add(steered.get(connection) ?? NO_TRAFFIC, sent[i] ?? NO_TRAFFIC));
  return {
    rules: named(rules, sent, 0),
    sent: steered,
    received: named(connections, received, 0),
    badSource: named(connections, received, connections.length),
    default: txReason(TxReason.TX_DEFAULT),
    malformed: add(txReason(TxReason.TX_MALFORMED), rxReason(RxReason.RX_MALFORMED)),
    unknownIfId: rxReason(RxReason.RX_UNKNOWN_IF_ID),
    held: add(txReason(TxReason.TX_HELD), rxReason(RxReason.RX_HELD)),
  };
}

/** Adds up two generations' counters; a name that is only in one keeps its own. */
export function addCounters(a: Counters, b: Counters): Counters {
  const merged = (x: ReadonlyMap<string, Traffic>, y: ReadonlyMap<string, Traffic>) => {
    const sum = new Map(x);
    for (const [name, traffic] of y) sum.set(name, add(sum.get(name) ?? NO_TRAFFIC, traffic));
    return sum;
  };
  return {
    rules: merged(a.rules, b.rules),
    sent: merged(a.sent, b.sent),
    received: merged(a.received, b.received),
    badSource: merged(a.badSource, b.badSource),
    default: add(a.default, b.default),
    malformed: add(a.malformed, b.malformed),
    unknownIfId: add(a.unknownIfId, b.unknownIfId),
    held: add(a.held, b.held),
  };
}

/** An entry has a struct counter_block for each possible CPU. */
function sumPerCpu(map: BpfMap): Traffic[] {
  const { maxEntries, valueSize } = map.shape;
  const sums: Traffic[] = new Array(maxEntries * BLOCK_COUNTERS).fill(NO_TRAFFIC);
  const slice = valueSize / 8;
  for (const { keys, values, count } of map.lookupBatches(256)) {
    const index = new Uint32Array(keys.buffer, keys.byteOffset, count);
    const words = new BigUint64Array(values.buffer, values.byteOffset, values.byteLength / 8);
    const stride = words.length / count;
    for (let i = 0; i < count; i++)
      for (let c = 0; c < BLOCK_COUNTERS; c++) {
        let packets = 0n;
        let bytes = 0n;
        for (let w = i * stride + c * COUNTER.size; w < (i + 1) * stride; w += slice) {
          packets += words[w + COUNTER.packets] as bigint;
          bytes += words[w + COUNTER.bytes] as bigint;
        }
        if (packets > 0n)
          sums[(index[i] as number) * BLOCK_COUNTERS + c] = {
            packets: Number(packets),
            bytes: Number(bytes),
          };
      }
  }
  return sums;
}
