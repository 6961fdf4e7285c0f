import { check, F_GETFL, F_SETFL, fcntl, O_NONBLOCK } from "../sys/libc.js";
import { modulePath } from "../sys/paths.js";
import type { AeadBackend } from "./aead.js";
import {
  type CheckedConnection,
  type ConnectionConfig,
  checkConnections,
  inboundKeys,
  wipeKeys,
} from "./connection.js";
import type { Policy } from "./database.js";
import type { InboundSpec, OutboundSpec, SocketSpec, Table } from "./messages.js";
import { type Sa, SaRegistry, type SaSet, stateSpec } from "./sa-registry.js";
import { SocketPool } from "./socket-pool.js";
import {
  IO_COUNTERS,
  type IoCounter,
  WORK_COUNTERS,
  type WorkCounter,
  XFRM_STATS,
  type XfrmStat,
} from "./statistics.js";
import { WorkerHandle } from "./worker-handle.js";

export interface DatapathOptions {
  /** A TUN device (or a packet socket in its place) whose frames are those of framing.ts. Stays the caller's to close. */
  readonly tunFd: number;
  readonly connections: readonly ConnectionConfig[];
  /** "auto" unless a test wants one of the two. */
  readonly crypto?: AeadBackend["name"] | "auto";
}

export interface SaStatistics {
  readonly spi: number;
  readonly packets: number;
  /** Of inner IP packets, without the encapsulation. */
  readonly bytes: number;
}

export interface DatapathStatistics {
  /** By if_id. */
  readonly connections: ReadonlyMap<number, { readonly out: SaStatistics; readonly in: SaStatistics }>;
  /** Packets dropped, under the names of /proc/net/xfrm_stat. */
  readonly errors: Readonly<Record<XfrmStat, number>>;
  readonly io: Readonly<Record<IoCounter, number>>;
  readonly work: Readonly<Record<WorkCounter, number>>;
}

const read = ({ spi, traffic }: Sa): SaStatistics => ({
  spi,
  packets: traffic.packets,
  bytes: traffic.bytes,
});

function policiesOf(connection: CheckedConnection): Policy[] {
  const { ifId, mode, localAddress, remoteAddress, policies } = connection;
  const template = { mode, local: localAddress.text, remote: remoteAddress.text };
  return policies.map(({ direction, selector, priority, action }) => ({
    ifId,
    direction,
    selector,
    priority,
    template: action === "allow" ? template : null,
  }));
}

/** The userspace ESP data path: one worker from TUN to socket, one from socket to TUN. Made by startDatapath. */
export class Datapath {
  /** Settles when the data path has ended: rejects when a worker failed, e.g. because the TUN device was deleted. */
  readonly ended: Promise<void>;

  readonly #tx: WorkerHandle<OutboundSpec>;
  readonly #rx: WorkerHandle<InboundSpec>;
  readonly #sockets = new SocketPool();
  readonly #registry = new SaRegistry();
  #sets = new Map<number, SaSet>();
  #inUse: readonly SocketSpec[] = [];
  #updating = false;

  /** @internal */
  constructor(tunFd: number, crypto: AeadBackend["name"] | "auto") {
    this.#tx = new WorkerHandle("esp-tx", modulePath("esp/tx-worker.js"), tunFd, crypto);
    this.#rx = new WorkerHandle("esp-rx", modulePath("esp/rx-worker.js"), tunFd, crypto);
    this.ended = this.#untilEnded();
    this.ended.catch(() => {});
  }

  /**
   * Puts other connections in force. Each packet sees either all of the old or all of the new ones of its direction. SAs
   * with the same SPI, key, suite, mode and addresses as before keep their sequence numbers, replay windows and statistics.
   * New sockets are opened before this returns its promise, in the calling thread's network namespace.
   *
   * The `key` buffers are overwritten with zeros once the workers have them, or when the update fails. After a failure
   * the connections from before stay in force, unless the data path has ended.
   * @throws ConnectionError, SystemError
   */
  async update(connections: readonly ConnectionConfig[]): Promise<void> {
    if (this.#updating) throw new Error("an update of the data path is under way; await it first");
    this.#updating = true;
    try {
      const checked = checkConnections(connections);
      const sockets = this.#sockets.resolve(checked);
      await this.#install(checked, sockets);
      this.#inUse = sockets;
    } finally {
      this.#sockets.retain(this.#inUse);
      wipeKeys(connections);
      this.#updating = false;
    }
  }

  /** Reads all counters; cheap, and safe at any time, also after the end. */
  statistics(): DatapathStatistics {
    const sum = (name: XfrmStat | IoCounter | WorkCounter): number =>
      this.#tx.counters.get(name) + this.#rx.counters.get(name);
    return {
      connections: new Map(
        [...this.#sets].map(([ifId, set]) => [ifId, { out: read(set.out), in: read(set.in[0]) }] as const),
      ),
      errors: Object.fromEntries(XFRM_STATS.map((name) => [name, sum(name)])) as Record<XfrmStat, number>,
      io: Object.fromEntries(IO_COUNTERS.map((name) => [name, sum(name)])) as Record<IoCounter, number>,
      work: Object.fromEntries(WORK_COUNTERS.map((name) => [name, sum(name)])) as Record<WorkCounter, number>,
    };
  }

  /** Ends both workers and closes the sockets. The TUN device stays. @throws what a worker had failed with */
  async stop(): Promise<void> {
    await Promise.allSettled([this.#tx.stop(), this.#rx.stop()]);
    await this.ended;
  }

  async #untilEnded(): Promise<void> {
    // A direction alone is of no use: when one ends, in whatever way, so does the other.
    await Promise.race([this.#tx.ended, this.#rx.ended]).catch(() => {});
    const results = await Promise.allSettled([this.#tx.stop(), this.#rx.stop()]);
    this.#inUse = [];
    this.#sockets.retain([]);
    const failed = results.find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }

  async #install(connections: readonly CheckedConnection[], sockets: readonly SocketSpec[]): Promise<void> {
    const { sets, commit } = this.#registry.resolve(connections);
    const rx: InboundSpec[] = [];
    const tx: OutboundSpec[] = [];
    connections.forEach((connection, index) => {
      const set = sets[index];
      const socket = sockets[index];
      if (set === undefined || socket === undefined) return;
      const { replayWindow, remotePort, link, padTo } = connection;
      inboundKeys(connection).forEach((keys, each) => {
        rx.push({ ...stateSpec(connection, keys, set.in[each] as Sa), replayWindow });
      });
      tx.push({ ...stateSpec(connection, connection.out, set.out), padTo, remotePort, link, fd: socket.fd });
    });
    try {
      await this.#handOver(connections.flatMap(policiesOf), sockets, rx, tx);
    } finally {
      // What was handed over is detached, and wiped by the worker; this is for what was not.
      for (const { keymat } of [...rx, ...tx]) if (keymat?.length) keymat.fill(0);
    }
    for (const set of sets) for (const sa of [set.out, ...set.in]) sa.installed = true;
    commit();
    this.#sets = new Map(connections.map(({ ifId }, index) => [ifId, sets[index] as SaSet]));
  }

  async #handOver(
    policies: readonly Policy[],
    sockets: readonly SocketSpec[],
    rx: readonly InboundSpec[],
    tx: readonly OutboundSpec[],
  ): Promise<void> {
    // Receive first: a peer may answer the first packet that we send.
    const table = <S>(states: readonly S[]) => ({ policies, states, sockets: [...new Set(sockets)] });
    await this.#rx.replace(table(rx) satisfies Table<InboundSpec>);
    try {
      await this.#tx.replace(table(tx) satisfies Table<OutboundSpec>);
    } catch (error) {
      // The receiver has given up the old SAs, and its replay windows with them: no way back.
      await this.stop();
      throw error;
    }
  }
}

/**
 * Starts the data path and resolves once it takes packets. UDP sockets are opened before this returns its promise, in
 * the calling thread's network namespace. The `key` buffers are overwritten with zeros in any case.
 * @throws ConnectionError when a connection is wrong, SystemError when a socket cannot be opened
 */
export async function startDatapath({
  tunFd,
  connections,
  crypto = "auto",
}: DatapathOptions): Promise<Datapath> {
  let datapath: Datapath | null = null;
  try {
    // A blocking read could not be interrupted, see worker-loop.ts.
    const flags = check(fcntl(tunFd, F_GETFL, 0), "reading the flags of the TUN descriptor");
    check(fcntl(tunFd, F_SETFL, flags | O_NONBLOCK), "making the TUN descriptor non-blocking");
    datapath = new Datapath(tunFd, crypto);
    await datapath.update(connections);
    return datapath;
  } catch (error) {
    wipeKeys(connections);
    await datapath?.stop().catch(() => {});
    throw error;
  }
}
