import { check, F_GETFL, F_SETFL, fcntl, O_NONBLOCK } from "../sys/libc.js";
import { modulePath } from "../sys/paths.js";
import { scopedText } from "../sys/sockaddr.js";
import type { AeadBackend } from "./aead.js";
import {
  type CheckedConnection,
  type ConnectionConfig,
  ConnectionError,
  checkConnections,
  inboundKeys,
  type SaKeys,
  wipeKeys,
} from "./connection.js";
import type { Policy } from "./database.js";
import { tagOf } from "./framing.js";
import { ageOf, type ShownPolicy, type ShownState, showPolicies, showStates } from "./inventory.js";
import { type Lifetime, type Stage, stageOf } from "./lifetime.js";
import type { InboundSpec, OutboundSpec, StateSpec, Table } from "./messages.js";
import { OffloadCounters } from "./offload/counters.js";
import type { OffloadAnswer, OffloadProvider } from "./offload/provider.js";
import { type OffloadAnswers, SaOffloads } from "./offload/sa-offloads.js";
import { Queues } from "./queues.js";
import { type Rekey, rekeyed } from "./rekey.js";
import { type Clock, demandOwnKeys, type Sa, SaRegistry, type SaSet, stateSpec } from "./sa-registry.js";
import { type SocketGroup, SocketPool } from "./socket-pool.js";
import {
  IO_COUNTERS,
  type IoCounter,
  WORK_COUNTERS,
  type WorkCounter,
  XFRM_STATS,
  type XfrmStat,
} from "./statistics.js";
import { Succession } from "./succession.js";
import { WorkerHandle } from "./worker-handle.js";

export interface DatapathOptions {
  /**
   * The queues of a TUN device (or one packet socket in its place) whose frames are those of framing.ts: 1 to
   * MAX_QUEUES, each with two workers. They stay the caller's to close.
   */
  readonly tunFds: readonly number[];
  readonly connections: readonly ConnectionConfig[];
  /** "auto" unless a test wants one of the two. */
  readonly crypto?: AeadBackend["name"] | "auto";
  /** Is told once of each limit that an SA reaches, within LIFETIME_CHECK_MS. */
  readonly onExpire?: (event: ExpireEvent) => void;
  /** The devices that SAs may be offloaded to; none if left out. */
  readonly offload?: OffloadProvider | null;
  /** Of the first frames, as the programs on the device have it: xfrm_steer_tx_epoch and _rx_epoch; 0 if left out. */
  readonly epoch?: number;
  /** Lower half of the number before a new outbound SA's first, as replay-oseq of `ip xfrm state`; 0 if left out. */
  readonly sequence?: number;
  /** What SAs grow old by; that of the process if left out. Times that are shown are the wall clock's. */
  readonly clock?: Clock;
}

/** Programs that take the place of others on the device in the course of an update. */
export interface SwitchOver {
  /** What they give their frames: another than before wherever an if_id was that of another connection before. */
  readonly epoch: number;
  /** Puts them on the device, receive first. Where this fails, the data path ends. */
  run(): void;
}

/** An SA has reached its soft or its hard limits (XFRM_MSG_EXPIRE). */
export interface ExpireEvent {
  readonly ifId: number;
  readonly direction: "in" | "out";
  readonly spi: number;
  readonly limit: Exclude<Stage, "valid">;
}

/** How often time limits are looked at; the packet path keeps those in packets and bytes itself. */
const LIFETIME_CHECK_MS = 250;

export interface SaStatistics {
  readonly spi: number;
  readonly packets: number;
  /** Of inner IP packets, without the encapsulation. */
  readonly bytes: number;
  /** Of an SA whose connection asks for offload; else null. */
  readonly offload: OffloadStatus | null;
}

export interface OffloadStatus {
  readonly offloaded: boolean;
  /** Why it is not. */
  readonly reason: string;
  /** Who encrypted or decrypted each packet, and what was dropped for what the device is or said. */
  readonly hardwarePackets: number;
  readonly softwarePackets: number;
  readonly drops: number;
}

export interface DatapathStatistics {
  /** By if_id. */
  readonly connections: ReadonlyMap<number, { readonly out: SaStatistics; readonly in: SaStatistics }>;
  /** Packets dropped, under the names of /proc/net/xfrm_stat. */
  readonly errors: Readonly<Record<XfrmStat, number>>;
  readonly io: Readonly<Record<IoCounter, number>>;
  readonly work: Readonly<Record<WorkCounter, number>>;
}

const read = ({ id, spi, traffic }: Sa, offloads: OffloadAnswers): SaStatistics => {
  const { packets, bytes } = traffic;
  const answer = offloads.get(id);
  return { spi, packets, bytes, offload: answer === undefined ? null : offloadStatus(answer, packets) };
};

function offloadStatus({ spec, reason }: OffloadAnswer, packets: number): OffloadStatus {
  if (spec === null)
    return { offloaded: false, reason, hardwarePackets: 0, softwarePackets: packets, drops: 0 };
  const { hardware, software, drops } = new OffloadCounters(spec.counters);
  return { offloaded: true, reason, hardwarePackets: hardware, softwarePackets: software, drops };
}

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

/** Of one queue. */
interface Tables {
  readonly rx: Table<InboundSpec>;
  readonly tx: Table<OutboundSpec>;
}

/** The userspace ESP data path: for each queue one worker from TUN to socket, one from socket to TUN. Made by startDatapath. */
export class Datapath {
  /** Settles when the data path has ended: rejects when a worker failed, e.g. because the TUN device was deleted. */
  readonly ended: Promise<void>;

  readonly #queues: Queues;
  /** By queue. */
  readonly #tx: readonly WorkerHandle<OutboundSpec>[];
  readonly #rx: readonly WorkerHandle<InboundSpec>[];
  readonly #sockets: SocketPool;
  readonly #clock: Clock;
  readonly #registry: SaRegistry;
  readonly #onExpire: (event: ExpireEvent) => void;
  readonly #lifetimes: NodeJS.Timeout;
  /** By if_id, their keys wiped. */
  #connections = new Map<number, CheckedConnection>();
  readonly #offloads: SaOffloads;
  #sets = new Map<number, SaSet>();
  /** The connections whose SAs grow old. */
  #limited: readonly { readonly ifId: number; readonly lifetime: Lifetime; readonly set: SaSet }[] = [];
  #inUse: readonly SocketGroup[] = [];
  #epoch: number;
  #updating = false;

  /** @internal */
  constructor({
    tunFds,
    crypto = "auto",
    onExpire = () => {},
    offload = null,
    sequence = 0,
    epoch = 0,
    clock = () => performance.now(),
  }: Omit<DatapathOptions, "connections">) {
    this.#onExpire = onExpire;
    this.#epoch = epoch;
    this.#clock = clock;
    this.#registry = new SaRegistry(clock);
    this.#queues = new Queues(tunFds);
    this.#sockets = new SocketPool(this.#queues);
    this.#lifetimes = setInterval(() => this.#checkLifetimes(), LIFETIME_CHECK_MS).unref();
    const shared = { crypto, offload: offload?.module ?? null, sequence };
    this.#offloads = new SaOffloads(offload);
    const start = <S extends StateSpec>(direction: "tx" | "rx") =>
      tunFds.map(
        (tunFd) =>
          new WorkerHandle<S>(`esp-${direction}`, modulePath(`esp/${direction}-worker.js`), {
            ...shared,
            tunFd,
          }),
      );
    this.#tx = start<OutboundSpec>("tx");
    this.#rx = start<InboundSpec>("rx");
    this.ended = this.#untilEnded();
    this.ended.catch(() => {});
  }

  /**
   * Puts other connections in force. Each packet sees either all of the old or all of the new ones of its direction. SAs
   * with the same SPI, key, suite, mode and addresses as before keep their sequence numbers, replay windows and statistics;
   * others whose key was used before go on from its last number, and lose what is under way if it is used yet.
   *
   * Frames of another epoch than that of `switchOver` are sent as before, as long as such are in the queue when its
   * programs are in place; frames that are written from then on are of its epoch.
   * New sockets are opened before this returns its promise, in the calling thread's network namespace.
   *
   * The `key` buffers are overwritten with zeros once the workers have them, or when the update fails or is refused. After a failure
   * the connections from before stay in force, unless the data path has ended.
   * @throws ConnectionError, SystemError
   */
  async update(
    connections: readonly ConnectionConfig[],
    switchOver: SwitchOver | null = null,
  ): Promise<void> {
    try {
      await this.#alone(async () => {
        const checked = checkConnections(connections);
        const { sets, commit } = this.#registry.resolve(checked);
        demandOwnKeys(checked.map(({ ifId }, index) => [ifId, sets[index] as SaSet]));
        await this.#install(checked, sets, switchOver);
        commit();
      });
    } finally {
      wipeKeys(connections);
    }
  }

  /**
   * Changes the SAs of one connection, so that a new key comes into use without the loss of a packet. The key is
   * overwritten with zeros in any case.
   * @throws ConnectionError
   */
  async rekey(ifId: number, change: Rekey): Promise<void> {
    try {
      await this.#alone(async () => {
        const connection = this.#connections.get(ifId);
        const set = this.#sets.get(ifId);
        if (connection === undefined || set === undefined)
          throw new ConnectionError(ifId, "there is no such connection with keys");
        const changed = rekeyed(connection, change);
        const all = new Map(this.#connections).set(ifId, changed);
        const checked = checkConnections([...all.values()]);
        const sets = new Map(this.#sets).set(ifId, this.#rekeyedSet(changed, set, change));
        try {
          demandOwnKeys([...this.#sets, ...sets]); // also of the one that it replaces: a new SA takes a new key
          await this.#install(checked, [...sets.values()]);
        } finally {
          this.#forgetUnused();
        }
      });
    } finally {
      if (change.step !== "remove") change.sa.key.fill(0);
    }
  }

  async #alone(work: () => Promise<void>): Promise<void> {
    if (this.#updating) throw new Error("an update of the data path is under way; await it first");
    this.#updating = true;
    try {
      await work();
    } finally {
      this.#updating = false;
    }
  }

  #rekeyedSet(connection: CheckedConnection, set: SaSet, change: Rekey): SaSet {
    if (change.step === "switch") return { ...set, out: this.#registry.add(connection, "out", change.sa) };
    const inbound =
      change.step === "add"
        ? [...set.in, this.#registry.add(connection, "in", change.sa)]
        : set.in.filter(({ spi }) => spi !== change.spi);
    return { ...set, in: inbound as [Sa, ...Sa[]] };
  }

  #forgetUnused(): void {
    this.#registry.retain(new Set([...this.#sets.values()].flatMap((set) => [set.out, ...set.in])));
  }

  /** The SAD: what `ip xfrm state` shows, without keys. */
  states(): ShownState[] {
    const now = this.#clock();
    return [...this.#connections].flatMap(([ifId, connection]) => {
      const set = this.#sets.get(ifId);
      return set === undefined ? [] : showStates(connection, set, now);
    });
  }

  /** The SPD: what `ip xfrm policy` shows. */
  policies(): ShownPolicy[] {
    return [...this.#connections.values()].flatMap(showPolicies);
  }

  #checkLifetimes(): void {
    const now = this.#clock();
    for (const { ifId, lifetime, set } of this.#limited) {
      for (const sa of [set.out, ...set.in]) {
        const limit = stageOf(lifetime, sa.traffic, ageOf(sa, now));
        if (limit === sa.stage) continue;
        sa.stage = limit;
        const direction = sa === set.out ? "out" : "in";
        if (limit !== "valid") this.#onExpire({ ifId, direction, spi: sa.spi, limit });
      }
    }
  }

  /** Reads all counters; cheap, and safe at any time, also after the end. */
  statistics(): DatapathStatistics {
    const sum = (name: XfrmStat | IoCounter | WorkCounter): number =>
      this.#workers.reduce((total, { counters }) => total + counters.get(name), 0);
    const { answers } = this.#offloads;
    return {
      connections: new Map(
        [...this.#sets].map(
          ([ifId, set]) => [ifId, { out: read(set.out, answers), in: read(set.in[0], answers) }] as const,
        ),
      ),
      errors: Object.fromEntries(XFRM_STATS.map((name) => [name, sum(name)])) as Record<XfrmStat, number>,
      io: Object.fromEntries(IO_COUNTERS.map((name) => [name, sum(name)])) as Record<IoCounter, number>,
      work: Object.fromEntries(WORK_COUNTERS.map((name) => [name, sum(name)])) as Record<WorkCounter, number>,
    };
  }

  get #workers(): readonly WorkerHandle<never>[] {
    return [...this.#rx, ...this.#tx];
  }

  /** Ends the workers and closes the sockets. The TUN device stays. @throws what a worker had failed with */
  async stop(): Promise<void> {
    await Promise.allSettled(this.#workers.map((worker) => worker.stop()));
    await this.ended;
  }

  async #untilEnded(): Promise<void> {
    // One alone is of no use: when one ends, in whatever way, so do the others.
    await Promise.race(this.#workers.map(({ ended }) => ended)).catch(() => {});
    clearInterval(this.#lifetimes);
    const results = await Promise.allSettled(this.#workers.map((worker) => worker.stop()));
    this.#inUse = [];
    this.#sockets.retain([]);
    this.#queues.close();
    const failed = results.find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }

  /** @param sets the SAs of each connection, in order; the keys of those that are new stand in the connections */
  async #install(
    connections: readonly CheckedConnection[],
    sets: readonly SaSet[],
    switchOver: SwitchOver | null = null,
  ): Promise<void> {
    try {
      const sockets = this.#sockets.resolve(connections);
      await this.#replaceTables(connections, sets, sockets, switchOver);
      this.#inUse = sockets;
    } finally {
      this.#sockets.retain(this.#inUse);
    }
  }

  #adopt(connections: readonly CheckedConnection[], sets: readonly SaSet[]): void {
    this.#connections = new Map(connections.map((connection) => [connection.ifId, connection]));
    this.#sets = new Map(connections.map(({ ifId }, index) => [ifId, sets[index] as SaSet]));
    this.#limited = connections.flatMap(({ ifId, lifetime }, index) =>
      lifetime.soft || lifetime.hard ? [{ ifId, lifetime, set: sets[index] as SaSet }] : [],
    );
  }

  async #replaceTables(
    connections: readonly CheckedConnection[],
    sets: readonly SaSet[],
    sockets: readonly SocketGroup[],
    switchOver: SwitchOver | null,
  ): Promise<void> {
    const epoch = switchOver?.epoch ?? this.#epoch;
    const offloads = this.#offloads.offer(connections, sets);
    const spec = (keys: SaKeys, sa: Sa, connection: CheckedConnection) => ({
      ...stateSpec(connection, keys, sa),
      offload: offloads.get(sa.id)?.spec ?? null,
    });
    const groups = [...new Set(sockets)];
    const tables = this.#tx.map((_, queue) => {
      const own = groups.flatMap((group) => group[queue] ?? []);
      const table = <S extends StateSpec>() => ({
        tag: tagOf(epoch),
        stays: epoch === this.#epoch ? null : { without: [] },
        policies: [] as Policy[],
        states: [] as S[],
        sockets: own,
      });
      return { rx: table<InboundSpec>(), tx: table<OutboundSpec>() };
    });
    connections.forEach((connection, index) => {
      const queue = this.#queues.of(connection);
      const set = sets[index];
      const socket = sockets[index]?.[queue];
      const table = tables[queue];
      if (set === undefined || socket === undefined || table === undefined) return;
      const { rx, tx } = table;
      const policies = policiesOf(connection);
      rx.policies.push(...policies);
      tx.policies.push(...policies);
      const { replayWindow, link, padTo, encapsulation } = connection;
      const destination = scopedText(connection.localAddress, link);
      const remotePort = encapsulation === "udp" ? connection.remotePort : 0;
      inboundKeys(connection).forEach((keys, each) => {
        const state = spec(keys, set.in[each] as Sa, connection);
        rx.states.push({ ...state, replayWindow, encapsulation, destination });
      });
      tx.states.push({
        ...spec(connection.out, set.out, connection),
        padTo,
        remotePort,
        link,
        fd: socket.fd,
      });
    });
    try {
      await this.#handOver(connections, tables, new Succession(this.#sets.values(), sets), epoch, () => {
        this.#epoch = epoch;
        this.#adopt(connections, sets);
        switchOver?.run();
      });
    } catch (error) {
      this.#offloads.drop(offloads);
      throw error;
    } finally {
      // What was handed over is detached, and wiped by the worker; this is for what was not.
      for (const { rx, tx } of tables)
        for (const { keymat } of [...rx.states, ...tx.states]) if (keymat?.length) keymat.fill(0);
    }
    for (const set of sets) for (const sa of [set.out, ...set.in]) sa.installed = true;
    this.#offloads.keep(offloads);
  }

  /**
   * @param tables of each queue
   * @param adopt once the workers have the tables: frames of the epoch may come
   */
  async #handOver(
    connections: readonly CheckedConnection[],
    tables: readonly Tables[],
    succession: Succession,
    epoch: number,
    adopt: () => void,
  ): Promise<void> {
    const leads = this.#queues.prepare(connections, tagOf(epoch));
    const isNew = epoch !== this.#epoch;
    const replacing = (these: readonly Tables[]) => this.#replacing(these, isNew);
    const first = tables.map(({ rx, tx }) => ({ rx: succession.without(rx), tx: succession.without(tx) }));
    const second = tables.map(({ rx, tx }) => ({ rx: succession.complete(rx), tx: succession.complete(tx) }));
    const steps = [
      ...(succession.isEmpty
        ? replacing(tables)
        : [...replacing(first), () => succession.inherit(), ...replacing(second)]),
      () => leads.lead(),
      adopt,
      ...(isNew ? this.#tx.map((worker) => () => worker.retire()) : []),
      () => leads.forget(),
    ];
    for (const [index, step] of steps.entries()) {
      try {
        await step();
      } catch (error) {
        // Those before have given up the old SAs, and their replay windows with them: no way back.
        if (index > 0) await this.stop();
        else leads.revert();
        throw error;
      }
    }
  }

  /**
   * The steps that hand over tables of each queue. Receive first: a peer may answer the first packet that we send. But those
   * of a new epoch come into use for sending with its programs, which take no frames from the receiving workers before: these
   * come last, so that little is lost.
   */
  #replacing(tables: readonly Tables[], isNew: boolean): (() => Promise<void> | undefined)[] {
    const receive = tables.map(
      ({ rx }, queue) =>
        () =>
          this.#rx[queue]?.replace(rx),
    );
    const send = tables.map(
      ({ tx }, queue) =>
        () =>
          this.#tx[queue]?.replace(tx),
    );
    return isNew ? [...send, ...receive] : [...receive, ...send];
  }
}

/**
 * Starts the data path and resolves once it takes packets. UDP sockets are opened before this returns its promise, in
 * the calling thread's network namespace. The `key` buffers are overwritten with zeros in any case.
 * @throws ConnectionError when a connection is wrong, SystemError when a socket cannot be opened
 */
export async function startDatapath({ connections, ...options }: DatapathOptions): Promise<Datapath> {
  let datapath: Datapath | null = null;
  try {
    // A blocking read could not be interrupted, see worker-loop.ts.
    for (const tunFd of options.tunFds) {
      const flags = check(fcntl(tunFd, F_GETFL, 0), "reading the flags of the TUN descriptor");
      check(fcntl(tunFd, F_SETFL, flags | O_NONBLOCK), "making the TUN descriptor non-blocking");
    }
    datapath = new Datapath(options);
    await datapath.update(connections);
    return datapath;
  } catch (error) {
    wipeKeys(connections);
    await datapath?.stop().catch(() => {});
    throw error;
  }
}
