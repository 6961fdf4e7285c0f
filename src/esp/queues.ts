import { BpfObject } from "libbpf-ts";
import { bpfObjectPath } from "../sys/paths.js";
import type { Address } from "../sys/sockaddr.js";
import { steerTunQueues } from "../sys/tun.js";
import { type CheckedConnection, inboundKeys } from "./connection.js";
import { QueueMap } from "./queue-map.js";

/** Programs for so many are in bpf/esp_queues.bpf.c. */
export const MAX_QUEUES = 8;

/** The steps of a change of what leads to which queue. */
export interface Leads {
  lead(): void;
  forget(): void;
  revert(): void;
}

/**
 * The queues of a data path: each has a queue of the TUN device, sockets and workers of its own. All packets of an SA go
 * through one, so that its numbers and its replay window are in one place and its flows stay in order.
 */
export class Queues {
  readonly count: number;
  /** Null where there is only one. */
  readonly #steering: { object: BpfObject; ifIds: QueueMap; sas: QueueMap } | null;

  /**
   * @param tunFds of each queue of one TUN device
   * @throws RangeError, SystemError and the errors of libbpf-ts, with nothing left behind
   */
  constructor(tunFds: readonly number[]) {
    const [first = -1] = tunFds;
    this.count = tunFds.length;
    if (this.count < 1 || this.count > MAX_QUEUES)
      throw new RangeError(`${this.count} queues: a data path has 1 to ${MAX_QUEUES}`);
    if (this.count === 1) {
      this.#steering = null;
      return;
    }
    const object = BpfObject.open(bpfObjectPath("esp_queues"));
    try {
      object.load();
      steerTunQueues(first, object.program("tun_queue").fd);
    } catch (error) {
      object.close();
      throw error;
    }
    const [ifIds, sas] = [object.map("queue_of_if_id"), object.map("queue_of_sa")];
    this.#steering = { object, ifIds: new QueueMap(ifIds), sas: new QueueMap(sas) };
  }

  /** @returns the queue of a connection */
  of({ localAddress, remoteAddress }: CheckedConnection): number {
    return queueOf(localAddress, remoteAddress, this.count);
  }

  /** The program that chooses among a group of UDP sockets, one a queue. */
  get udpProgram(): number {
    return this.#program("udp_queue");
  }

  /** The program that takes from a raw socket what belongs to other queues. */
  rawProgram(queue: number): number {
    return this.#program(`raw_queue_${queue}`);
  }

  #program(name: string): number {
    if (this.#steering === null) throw new Error("a data path of one queue has no programs");
    return this.#steering.object.program(name).fd;
  }

  /**
   * Leads what is new to its queue; what is there stays where it is. Then `lead` leads the rest to where it belongs and
   * `forget` forgets what is gone, or `revert` takes back what was done.
   * @param tag of the frames in which the connections' if_ids are theirs
   * @throws BpfError, with nothing changed
   */
  prepare(connections: readonly CheckedConnection[], tag: number): Leads {
    if (this.#steering === null) return { lead: () => {}, forget: () => {}, revert: () => {} };
    const { ifIds, sas } = this.#steering;
    const outbound = new Map(
      connections.map((connection) => {
        const { ifId } = connection;
        return [`${tag} ${ifId}`, { key: txKey(tag, ifId), queue: this.of(connection) }] as const;
      }),
    );
    const inbound = new Map(
      connections.flatMap((connection) => {
        const { bytes, text } = connection.localAddress;
        const queue = this.of(connection);
        return inboundKeys(connection).map(
          ({ spi }) => [`${spi} ${text}`, { key: saKey(spi, bytes), queue }] as const,
        );
      }),
    );
    const undoOutbound = ifIds.add(outbound);
    let undoInbound: () => void;
    try {
      undoInbound = sas.add(inbound);
    } catch (error) {
      undoOutbound();
      throw error;
    }
    return {
      lead() {
        ifIds.lead(outbound);
        sas.lead(inbound);
      },
      forget() {
        ifIds.forget(outbound);
        sas.forget(inbound);
      },
      revert() {
        undoOutbound();
        undoInbound();
      },
    };
  }

  /** Idempotent. The programs stay where they are attached, for as long as that lives. */
  close(): void {
    this.#steering?.object.close();
  }
}

/**
 * By the outer addresses: an SA that has others is another SA (SaRegistry), so none ever comes to another queue. And
 * datagrams that the kernel puts together (UDP_GRO) have the same addresses.
 */
export function queueOf(local: Address, remote: Address, count: number): number {
  // FNV-1a, then the end of MurmurHash3: addresses often differ by a bit or two.
  let hash = 0x811c9dc5;
  for (const byte of [...local.bytes, ...remote.bytes]) hash = Math.imul(hash ^ byte, 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) % count;
}

/** struct tx_key. */
function txKey(tag: number, ifId: number): Uint8Array {
  const key = new Uint8Array(8);
  const view = new DataView(key.buffer);
  view.setInt32(0, tag);
  view.setUint32(4, ifId, true);
  return key;
}

/** struct sa_key. */
function saKey(spi: number, destination: Uint8Array): Uint8Array {
  const key = new Uint8Array(20);
  new DataView(key.buffer).setUint32(0, spi);
  key.set(destination, 4);
  return key;
}
