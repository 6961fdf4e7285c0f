import { availableParallelism } from "node:os";
import { attachTc, type BpfObject, findClsact, type TcDirection, type TcLink } from "libbpf-ts";
import { compile, type Generation } from "../../compiler/compile.js";
import type { Policy } from "../../config/policy.js";
import { connectionOf, formatTarget } from "../../config/target.js";
import {
  type ConnectionConfig,
  type Datapath,
  type DatapathOptions,
  type DatapathStatistics,
  MAX_QUEUES,
  type Rekey,
  type SwitchOver,
  startDatapath,
  wipeKeys,
} from "../../esp/index.js";
import { loadSteering } from "../../program/load.js";
import { deferred } from "../../sys/deferred.js";
import { hostDevices } from "../../sys/devices.js";
import type { Tun } from "../../sys/tun.js";
import type { Applied, ConnectionStatus, Status } from "../backend.js";
import { addCounters, type Counters, NO_TRAFFIC, readCounters } from "../counters.js";
import { BackendError } from "../errors.js";
import { type FlowAnswer, type FlowRequest, serveFlows } from "../flow-requests.js";
import {
  changeLink,
  closeIpv6,
  ifindexOf,
  type LinkState,
  presentLinkState,
  setUpLink,
  wantedLinkState,
} from "../link-setup.js";
import { LIVE_FLOWS_MAX, LiveFlows } from "../live-flows.js";
import {
  guardingUnderlay,
  refreshUnderlay,
  removeUnderlay,
  underlayDrops,
  underlayStatus,
} from "../underlay/index.js";
import { EventLog, type RekeyRequest, type XfrmDatabases } from "./databases.js";
import { TunDevice } from "./device.js";
import type { DeviceRecord } from "./device-record.js";
import { Epochs } from "./epochs.js";
import type { ConnectionKeys } from "./keys.js";
import { type Refused, readRefused } from "./refused.js";

/** What is set for the data path by who makes it, and not by a policy. */
export type ServiceOptions = Pick<DatapathOptions, "offload" | "sequence">;

/** Each has two threads. A simulated device gives its answers to one thread of each direction. */
const queuesOf = ({ offload }: ServiceOptions): number =>
  offload ? 1 : Math.min(MAX_QUEUES, Math.max(1, Math.floor(availableParallelism() / 2)));

/** One generation at work. */
interface Running {
  readonly policy: Policy;
  readonly generation: Generation;
  readonly object: BpfObject;
  readonly link: LinkState;
  readonly applied: string;
  readonly number: number;
}

/** Place of our filters where clsact takes the part of tcx; the handle tells them from other people's. */
const CLSACT_PLACE = { priority: 1, handle: 0x7866 };

/**
 * A userspace interface: a TUN device, the steering programs on it and the ESP data path behind it. The device stays when
 * this process ends, in whatever way, and drops what is sent to it until another process takes it over or removes it.
 */
export class UserspaceService {
  readonly #name: string;
  readonly #options: ServiceOptions;
  readonly #device: TunDevice;
  /** Null until programs are attached: a frame without metadata is not to be read. */
  #tun: Tun | null = null;
  #links: { egress: TcLink; ingress: TcLink } | null = null;
  #datapath: Datapath | null = null;
  #running: Running | null = null;
  #ended = false;
  readonly #events = new EventLog();
  /** Counters of the generations before. */
  #carried: Counters | null = null;
  #refused: Refused | null = null;
  readonly #epochs = new Epochs();
  readonly #failed: (error: Error) => void;
  /** Rejects when the data path fails. */
  readonly failed: Promise<never>;

  /**
   * Makes the device, down and without addresses, or takes over the one that another process left.
   * @param record where the device is written down; null for one that nobody is to take over
   * @throws TunError
   */
  constructor(name: string, record: DeviceRecord | null, options: ServiceOptions = {}) {
    this.#name = name;
    this.#options = options;
    this.#device = TunDevice.claim(name, record);
    const failed = deferred<never>();
    this.failed = failed.promise;
    this.failed.catch(() => {});
    this.#failed = failed.reject;
  }

  /** Of the data path as it is; null before the first policy. */
  get statistics(): DatapathStatistics | null {
    return this.#datapath?.statistics() ?? null;
  }

  /** See Backend.apply. The keys are overwritten with zeros once the data path has them; otherwise by the caller. */
  apply(policy: Policy, keys: readonly ConnectionKeys[]): Promise<Applied> {
    return guardingUnderlay(this.#owner, policy, () => this.#apply(policy, keys));
  }

  async #apply(policy: Policy, keys: readonly ConnectionKeys[]): Promise<Applied> {
    const before = this.#running;
    const started = performance.now();
    const generation = compile(policy, hostDevices(), before ?? undefined);
    const compiled = performance.now();
    const { epoch, begin } = this.#epochs.for(policy.connections);
    const object = loadSteering("tun", generation, policy, {
      epoch,
      liveFlows: LIVE_FLOWS_MAX,
      ...(before ? { before } : {}),
    });
    try {
      if (before) LiveFlows.of(object, policy).carryOver(LiveFlows.of(before.object, before.policy));
      const loaded = performance.now();
      const link = wantedLinkState(policy);
      const connections = connectionConfigs(policy, keys);
      const number = (before?.number ?? 0) + 1;
      const next = { policy, generation, object, link, number };
      const run = () => {
        if (before) this.#swap(before, object);
        this.#running = { ...next, applied: new Date().toISOString() };
        begin();
      };
      try {
        if (before && this.#datapath)
          await this.#change(this.#datapath, before, connections, link, { epoch, run });
        else await this.#start(connections, object, link, { epoch, run });
      } finally {
        wipeKeys(connections); // the data path does this itself, if it comes to that
      }
      return {
        generation: number,
        created: before === null,
        compileMs: compiled - started,
        loadMs: loaded - compiled,
        tableBytes: Object.values(generation.tables).reduce((sum, { length }) => sum + length, 0),
      };
    } catch (error) {
      object.close();
      throw error;
    }
  }

  async #start(
    connections: ConnectionConfig[],
    object: BpfObject,
    link: LinkState,
    { epoch, run }: SwitchOver,
  ): Promise<void> {
    try {
      // Programs before the first queue is opened, as a device that was taken over is up: no packet without metadata
      // reaches the engine.
      this.#links = { egress: this.#attach("egress", object), ingress: this.#attach("ingress", object) };
      this.#tun = this.#device.open(queuesOf(this.#options));
      this.#datapath = await startDatapath({
        ...this.#options,
        tunFds: this.#tun.fds,
        connections,
        epoch,
        onExpire: (event) => this.#events.add(event),
      });
      this.#datapath.ended.catch(this.#failed);
      const { addresses } = this.#device;
      this.#device.keep([...addresses, ...link.addresses]);
      setUpLink(this.#name, link);
      changeLink(this.#name, presentLinkState(this.#name, addresses), link); // without those of a policy before
      this.#device.keep(link.addresses);
      run();
    } catch (error) {
      await this.#close();
      throw error;
    }
  }

  /** A filter of clsact, unlike a link, outlives the process that attached it. */
  #attach(direction: TcDirection, object: BpfObject): TcLink {
    const program = object.program(`tun_${direction}`);
    const place = { ifindex: this.#device.ifindex, direction, ...CLSACT_PLACE };
    const left = findClsact(place);
    left?.update(program);
    return left ?? attachTc({ ...place, program });
  }

  async #change(
    datapath: Datapath,
    before: Running,
    connections: ConnectionConfig[],
    link: LinkState,
    switchOver: SwitchOver,
  ): Promise<void> {
    this.#device.keep([...before.link.addresses, ...link.addresses]);
    // Not as it was left: an MTU below 1280, set by hand and taken back, has cost it its IPv6.
    const now = presentLinkState(this.#name, before.link.addresses);
    changeLink(this.#name, now, link);
    closeIpv6(this.#name, link.addresses);
    try {
      await datapath.update(connections, switchOver);
    } catch (error) {
      changeLink(this.#name, link, now);
      throw error;
    }
    this.#device.keep(link.addresses);
  }

  #swap(before: Running, object: BpfObject): void {
    this.#links?.ingress.update(object.program("tun_ingress"));
    this.#links?.egress.update(object.program("tun_egress"));
    this.#carried = this.#counters(before);
    this.#refused = readRefused(before.object.map("xfrm_steer_refused"), this.#refused);
    before.object.close();
  }

  #counters({ policy, generation, object }: Running): Counters {
    const leads = policy.rules.map(({ to }) => connectionOf(to));
    const own = readCounters(generation, leads, object.map("tx_counters"), object.map("rx_counters"));
    return this.#carried ? addCounters(this.#carried, own) : own;
  }

  /** After a change of routing or devices. */
  async networkChanged(): Promise<void> {
    if (this.#running) await refreshUnderlay(this.#owner, this.#running.policy);
  }

  get #owner() {
    return { backend: "userspace", name: this.#name } as const;
  }

  /** The running one. */
  get policy(): Policy | null {
    return this.#running?.policy ?? null;
  }

  /** Changes or lists the flows that come and go without a new generation. @throws BackendError */
  flows(request: FlowRequest): FlowAnswer {
    if (this.#running === null) throw new BackendError(`${this.#name} has no policy yet`);
    const { object, policy } = this.#running;
    return serveFlows(LiveFlows.of(object, policy), policy, request);
  }

  /** SAD, SPD and events. */
  databases(): XfrmDatabases {
    if (this.#datapath === null || this.#running === null)
      throw new BackendError(`${this.#name} has no policy yet`);
    const names = new Map(this.#running.policy.connections.map(({ ifId, name }) => [ifId, name]));
    const named = <T extends { readonly ifId: number }>(each: T) => ({
      connection: names.get(each.ifId) ?? "",
      ...each,
    });
    return {
      states: this.#datapath.states().map(named),
      policies: this.#datapath.policies().map(named),
      events: this.#events.events.map(named),
    };
  }

  /** One step towards another key of a connection; the next apply brings back what the policy says. */
  async rekey({ connection, step, spi }: RekeyRequest, key: Uint8Array): Promise<void> {
    const found = this.#running?.policy.connections.find(({ name }) => name === connection);
    if (found === undefined || this.#datapath === null)
      throw new BackendError(`${this.#name} has no connection ${connection}`);
    if (step !== "remove") demandNotWiped(key, connection);
    const change: Rekey = step === "remove" ? { step, spi } : { step, sa: { spi, key } };
    await this.#datapath.rekey(found.ifId, change);
  }

  /** Null before the first policy. */
  status(): Status | null {
    const running = this.#running;
    if (running === null || this.#datapath === null) return null;
    const { policy } = running;
    const counters = this.#counters(running);
    const statistics = this.#datapath.statistics();
    const refused = readRefused(running.object.map("xfrm_steer_refused"), this.#refused);
    const underlay = underlayStatus(this.#owner);
    const matched = (name: string) => counters.rules.get(name) ?? NO_TRAFFIC;
    const connections = policy.connections.map(({ name, ifId, link }): ConnectionStatus => {
      const sa = statistics.connections.get(ifId);
      return {
        name,
        ifId,
        link,
        sent: counters.sent.get(name) ?? NO_TRAFFIC,
        received: counters.received.get(name) ?? NO_TRAFFIC,
        badSource: counters.badSource.get(name) ?? NO_TRAFFIC,
        sa: sa
          ? {
              spiOut: sa.out.spi,
              spiIn: sa.in.spi,
              encrypted: { packets: sa.out.packets, bytes: sa.out.bytes },
              decrypted: { packets: sa.in.packets, bytes: sa.in.bytes },
            }
          : null,
      };
    });
    return {
      backend: "userspace",
      interface: this.#name,
      ifindex: this.#device.ifindex,
      generation: running.number,
      applied: running.applied,
      connections,
      rules: policy.rules.map(({ name, to }) => ({
        name,
        to: formatTarget(to),
        matched: matched(name),
      })),
      default: { action: policy.default, matched: counters.default },
      held: [],
      underlay,
      drops: {
        malformed: counters.malformed.packets,
        unknownIfId: counters.unknownIfId.packets,
        ...underlayDrops(underlay),
        ...nonZero({ ...statistics.errors, ...statistics.io, ...refused }),
      },
    };
  }

  /**
   * Ends the data path. The device stays, but for one that was made for a first policy that failed; what is sent to it is
   * dropped. Idempotent.
   */
  async stop(): Promise<void> {
    const served = this.#running !== null || !this.#device.made;
    await this.#end(() => (served ? this.#device.leave() : this.#device.remove()));
  }

  /** Ends the data path and removes the device. Idempotent. */
  async remove(): Promise<void> {
    await this.#end(() => this.#device.remove());
    await removeUnderlay(this.#owner);
  }

  async #end(release: () => void): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await this.#close();
    release();
    this.#running?.object.close();
    this.#running = null;
  }

  /** Programs last: as long as there are queues, no frame without metadata is to be read from them. */
  async #close(): Promise<void> {
    const [datapath, tun, links] = [this.#datapath, this.#tun, this.#links];
    this.#datapath = null;
    this.#tun = null;
    this.#links = null;
    await datapath?.stop().catch(() => {});
    tun?.close();
    for (const link of Object.values(links ?? {})) link.close();
  }
}

/** Connections that the engine has SAs for. What is steered to another is dropped there and counted, as in the kernel. */
function connectionConfigs(policy: Policy, keys: readonly ConnectionKeys[]): ConnectionConfig[] {
  const byName = new Map(keys.map((key) => [key.connection, key]));
  for (const { connection, out, in: inbound, alsoIn } of keys)
    for (const key of [out, inbound, ...alsoIn]) demandNotWiped(key, connection);
  const keyed = policy.connections.flatMap(({ name, ifId, link, esp }) => {
    const key = byName.get(name);
    return esp && key ? [{ esp, key, ifId, link: link === null ? 0 : ifindexOf(link) }] : [];
  });
  // Only now, as nobody would wipe them if a link were not there.
  return keyed.map(({ esp, key, ifId, link }) => ({
    ...esp,
    ifId,
    link,
    out: { spi: esp.out.spi, key: key.out },
    in: { spi: esp.in.spi, key: key.in },
    alsoIn: esp.alsoIn.map(({ spi }, index) => ({ spi, key: key.alsoIn[index] ?? new Uint8Array(0) })),
  }));
}

/** @throws BackendError for a key of zeros: one that was overwritten too early would protect nothing */
function demandNotWiped(key: Uint8Array, connection: string): void {
  if (key.every((byte) => byte === 0))
    throw new BackendError(`a key of ${connection} is all zeros; make it of random bytes`);
}

function nonZero(counters: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(counters).filter(([, count]) => count > 0));
}
