/*
 *   application, UDP echo
 *     |
 *   ipsec0 (TUN) -- steering programs, ESP engine -- simulated device
 *                                                      | UDP or ESP sockets
 *                                                    wire0 (TUN) -- capture -- peers in software
 *
 * All of it in a network namespace of its own; the packets are real.
 */
import { randomBytes } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import { UserspaceService } from "../../backends/userspace/service.js";
import type { Policy } from "../../config/policy.js";
import type { DatapathStatistics, OffloadStatus } from "../../esp/index.js";
import { DEFAULT_KERNEL, type KernelVersion } from "../../esp/offload/stack.js";
import { ip, ipBatch } from "../../sys/ip.js";
import { withinNetns } from "../../sys/netns.js";
import { PollSet } from "../../sys/poll-set.js";
import { type Counted, FAULTS, type Fault, type FaultName } from "../faults.js";
import type { Profile } from "../profile.js";
import { SimulatedOffload } from "../provider.js";
import { type Line, linesOf } from "./ends.js";
import { SimulationError } from "./error.js";
import { hasStruck, strike } from "./fault-schedule.js";
import { Peer } from "./peer.js";
import { PACKETS_A_ROUND, Traffic } from "./traffic.js";
import { Wire } from "./wire.js";

export interface SimulationOptions {
  readonly policy: Policy;
  readonly profile: Profile;
  readonly kernel?: KernelVersion;
  readonly faults?: readonly FaultName[];
  /** Random if left out; the report has it. */
  readonly seed?: number;
}

/** One SA of the gateway. */
export interface SimulatedSa {
  readonly connection: string;
  readonly spi: number;
  readonly direction: "in" | "out";
  readonly offloaded: boolean;
  /** Why not. */
  readonly reason: string;
  readonly hardware_packets: number;
  readonly software_packets: number;
  readonly drops: number;
}

export interface SimulationReport {
  readonly pass: boolean;
  readonly profile: string;
  readonly kernel: string;
  readonly seed: number;
  readonly faults: readonly FaultName[];
  readonly sas: readonly SimulatedSa[];
  /** Packets sent through the connections, and how many of their answers came back. */
  readonly sent: number;
  readonly received: number;
  /** ESP packets on the wire, from the gateway. */
  readonly esp_packets: number;
  readonly plaintext_on_wire: number;
  /** /proc/net/xfrm_stat, as far as not 0, of the gateway and of its peers. */
  readonly xfrm_stat: { readonly gateway: Record<string, number>; readonly peer: Record<string, number> };
  /** What does not pass, in words. */
  readonly problems: readonly string[];
}

const WIRE = "wire0";
const WIRE_MTU = 1500;
/** Routing table of what is to leave by the wire. */
const WIRE_TABLE = "100";
const TUNNEL_MTU = 1300;
const ROUNDS = 4;
/** Connections whose packets are under way at a time: the devices' queues hold 500. */
const AT_A_TIME = 16;
/** A packet that is not back by then was dropped: where some are to be, and where none is. */
const PATIENCE_MS = { lossy: 300, lossless: 10_000 };
const TICK_MS = 2;
/** With "esn-wrap", packets before the lower half of the sequence number wraps. */
const BEFORE_WRAP = 15;

/**
 * Sends traffic through every connection of a policy, with simulated devices under the names that the connections ask
 * for, and the faults asked for. The policy's keys are not opened: the simulation makes its own.
 * @throws SimulationError, and the errors of the userspace backend
 */
export async function simulate(options: SimulationOptions): Promise<SimulationReport> {
  const { profile, faults = [] } = options;
  if (faults.includes("bond-failover") && !profile.bonded)
    throw new SimulationError(
      `bond-failover wants a bond, and ${profile.name} is none; take --profile bonding`,
    );
  const lines = linesOf(prepared(options));
  if (lines.length === 0)
    throw new SimulationError(
      "the policy has no connection with `esp` and an address to send to (`subnets`)",
    );
  const namespace = `xs-sim-${randomBytes(4).toString("hex")}`;
  ip("netns", "add", namespace);
  try {
    return await withinNetns(namespace, () => run(options, lines));
  } finally {
    ip("netns", "del", namespace);
  }
}

/** The policy as it is run: every outer packet leaves by the wire, also where the inner one has its addresses. */
function prepared({ policy, faults = [] }: SimulationOptions): Policy {
  const esn = faults.includes("esn-wrap");
  return {
    ...policy,
    backend: "userspace",
    interface: { ...policy.interface, mtu: TUNNEL_MTU },
    connections: policy.connections.map((connection) => ({
      ...connection,
      link: WIRE,
      esp: connection.esp && { ...connection.esp, esn: connection.esp.esn || esn },
    })),
  };
}

async function run(options: SimulationOptions, lines: readonly Line[]): Promise<SimulationReport> {
  const { profile, kernel = DEFAULT_KERNEL, faults = [] } = options;
  const seed = options.seed ?? randomBytes(4).readUInt32BE();
  const policy = prepared(options);
  const devices = [...new Set(lines.flatMap(({ esp }) => esp.offload?.device ?? []))];
  const offload = new SimulatedOffload({ profile, devices, kernel, faults, seed });
  const sequence = faults.includes("esn-wrap") ? 2 ** 32 - 1 - BEFORE_WRAP : 0;
  const peer = new Peer(lines, sequence);
  const undo: (() => void | Promise<void>)[] = [() => peer.close()];
  try {
    const wire = new Wire(WIRE, peer);
    undo.push(() => wire.tun.close());
    setUpWire(lines);
    const service = new UserspaceService(policy.interface.name, null, { offload, sequence });
    undo.push(() => service.remove());
    await service.apply(
      policy,
      lines.map(({ keys }) => keys),
    );
    setUpRoutes(policy.interface.name, lines);
    const traffic = new Traffic(lines);
    undo.push(() => traffic.close());
    const losing = faults.filter((fault) => expectation(fault, isPacketMode(lines))?.where === "gateway");
    for (let round = 0; round < ROUNDS; round++) {
      strike(round, faults, offload);
      const lossy = losing.some((fault) => hasStruck(fault, round));
      await sendRound(lines, traffic, wire, PATIENCE_MS[lossy ? "lossy" : "lossless"]);
    }
    const statistics = service.statistics;
    if (statistics === null) throw new SimulationError("the data path has ended");
    return report({ options, kernel, seed, lines, statistics, traffic, wire, peer, offload });
  } finally {
    for (const step of undo.reverse()) await step();
  }
}

function setUpWire(lines: readonly Line[]): void {
  const locals = [...new Set(lines.map(({ esp }) => esp.local))];
  ipBatch([
    "link set dev lo up",
    `link set dev ${WIRE} addrgenmode none`,
    `link set dev ${WIRE} mtu ${WIRE_MTU} txqueuelen 10000 up`,
    ...locals.map(
      (address) => `addr add ${host(address)} dev ${WIRE}${address.includes(":") ? " nodad" : ""}`,
    ),
    ...["0.0.0.0/0", "::/0"].map((any) => `route add ${any} dev ${WIRE}`),
    `route add ::/0 dev ${WIRE} table ${WIRE_TABLE}`,
  ]);
  // A packet with a source address may leave by another interface than its flowi6_oif (net/ipv6/route.c,
  // ip6_route_output_flags_noref): the outer one of a transport SA has the same route as the inner one without this.
  ip("-6", "rule", "add", "oif", WIRE, "lookup", WIRE_TABLE);
}

/** What is to be steered is routed to the interface. */
function setUpRoutes(name: string, lines: readonly Line[]): void {
  const has = new Set(lines.map(({ esp }) => esp.local));
  const sources = [...new Set(lines.map(({ source }) => source))].filter((source) => !has.has(source));
  const destinations = [...new Set(lines.map(({ destination }) => destination))];
  ipBatch([
    `link set dev ${name} txqueuelen 10000`,
    ...sources.map(
      (address) => `addr replace ${host(address)} dev ${name}${address.includes(":") ? " nodad" : ""}`,
    ),
    ...destinations.map((address) => `route replace ${host(address)} dev ${name}`),
  ]);
}

const host = (address: string): string => `${address}/${address.includes(":") ? 128 : 32}`;

/** One round through every line, a few lines at a time; waits until all are back, or none comes any more. */
async function sendRound(
  lines: readonly Line[],
  traffic: Traffic,
  wire: Wire,
  patienceMs: number,
): Promise<void> {
  const readable = PollSet.forReading([wire.tun.fd, ...traffic.fds]);
  for (let first = 0; first < lines.length; first += AT_A_TIME) {
    const last = Math.min(first + AT_A_TIME, lines.length);
    for (let index = first; index < last; index++) traffic.send(index);
    let missing = (last - first) * PACKETS_A_ROUND;
    let deadline = Date.now() + patienceMs;
    while (missing > 0 && Date.now() < deadline) {
      readable.wait(TICK_MS);
      const seen = wire.serve();
      const back = traffic.serve();
      missing -= back;
      if (seen + back > 0) deadline = Date.now() + patienceMs;
      await turn();
    }
  }
}

interface Outcome {
  readonly options: SimulationOptions;
  readonly kernel: KernelVersion;
  readonly seed: number;
  readonly lines: readonly Line[];
  readonly statistics: DatapathStatistics;
  readonly traffic: Traffic;
  readonly wire: Wire;
  readonly peer: Peer;
  readonly offload: SimulatedOffload;
}

function report(outcome: Outcome): SimulationReport {
  const { options, kernel, seed, lines, statistics, traffic, wire, peer } = outcome;
  const sas = lines.flatMap((line) => sasOf(line, statistics));
  const gateway = Object.fromEntries(Object.entries(statistics.errors).filter(([, value]) => value > 0));
  const sent = sum(traffic.sent);
  const received = sum(traffic.received);
  const result = {
    profile: options.profile.name,
    kernel: kernel.join("."),
    seed,
    faults: options.faults ?? [],
    sas,
    sent,
    received,
    esp_packets: wire.packets,
    plaintext_on_wire: wire.plaintext,
    xfrm_stat: { gateway, peer: peer.statistics },
  };
  const problems = problemsOf(result, outcome);
  return { pass: problems.length === 0, ...result, problems };
}

function sasOf({ connection, esp }: Line, { connections }: DatapathStatistics): SimulatedSa[] {
  const pair = connections.get(connection.ifId);
  return (["out", "in"] as const).map((direction) => {
    const { spi } = esp[direction];
    const { packets = 0, offload = null } = pair?.[direction] ?? {};
    const status: OffloadStatus = offload ?? {
      offloaded: false,
      reason: "the connection does not ask for offload",
      hardwarePackets: 0,
      softwarePackets: packets,
      drops: 0,
    };
    return {
      connection: connection.name,
      spi,
      direction,
      offloaded: status.offloaded,
      reason: status.reason,
      hardware_packets: status.hardwarePackets,
      software_packets: status.softwarePackets,
      drops: status.drops,
    };
  });
}

type Result = Omit<SimulationReport, "pass" | "problems">;

/** What a simulation has to show, whatever the fault: nothing in the clear, and each loss under its counter. */
function problemsOf(result: Result, { offload, lines }: Outcome): string[] {
  const { faults, sas, sent, received, plaintext_on_wire, xfrm_stat } = result;
  const problems: string[] = [];
  if (plaintext_on_wire > 0) problems.push(`${plaintext_on_wire} packets crossed the wire in the clear`);
  const offloaded = sas.some((sa) => sa.offloaded);
  const expected = faults.flatMap((fault) => expectation(fault, isPacketMode(lines)) ?? []);
  if (!offloaded || expected.length === 0) {
    if (received < sent) problems.push(`${sent - received} of ${sent} packets did not come back`);
  }
  for (const { where, counter } of offloaded ? expected : []) {
    if ((xfrm_stat[where][counter] ?? 0) === 0) problems.push(`${counter} of the ${where} did not go up`);
  }
  for (const [name, device] of offload.devices) {
    if (!device.up && device.references > 0)
      problems.push(`${name} is down and ${device.references} references to it are left`);
  }
  return problems;
}

const isPacketMode = (lines: readonly Line[]): boolean =>
  lines.some(({ esp }) => esp.offload?.type === "packet");

function expectation(fault: FaultName, packetMode: boolean): Counted | null {
  const { crypto, packet = crypto }: Fault = FAULTS[fault];
  return packetMode ? packet : crypto;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);
