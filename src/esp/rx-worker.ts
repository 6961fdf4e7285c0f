/** Socket to TUN: receives ESP, in UDP or bare, opens it in place and writes framed packets. Runs as a worker thread. */
import { constants } from "node:os";
import { workerData } from "node:worker_threads";
import { kernelAtLeast } from "../sys/kernel.js";
import { writev } from "../sys/libc.js";
import { NumberTable } from "../sys/number-table.js";
import { PacketSlab } from "../sys/packet-slab.js";
import { ReceiveVector } from "../sys/udp-receive.js";
import { chooseBackend } from "./aead.js";
import { Coalescer } from "./coalescer.js";
import { inboundTable, type StatesBySpi } from "./database.js";
import { Inbound } from "./inbound.js";
import type { InboundSpec, WorkerSetup } from "./messages.js";
import { OffloadCounters } from "./offload/counters.js";
import { loadHardware } from "./offload/load-hardware.js";
import { InboundOffload } from "./offload/receive.js";
import type { Encapsulation } from "./packet.js";
import { replaceStates } from "./replace-states.js";
import { type InboundState, makeInbound } from "./sa.js";
import { COUNTER, Counters } from "./statistics.js";
import { Traffic } from "./traffic.js";
import { run } from "./worker-loop.js";

const { EAGAIN, EINTR } = constants.errno;
/** Calls to one socket before the next socket and the mailbox get their turn. */
const ROUNDS = 8;
/** Messages taken in one call at most; each may be 64 datagrams (UDP_GRO). */
const MESSAGES = 64;
/** Bytes taken in one call, so that what the kernel has written is in the cache still when it is decrypted. */
const CALL_BYTES = 2 ** 17;
/** Distance of the places that messages are received to: the largest UDP payload and what is in front of it. */
const PLACE_SIZE = 2 ** 16 + 64;
/** Leaves the HEADROOM of inbound.ts and places the ESP payload of the first datagram on a 16-byte boundary. */
const PACKET = 64;
const MAX_UDP_PAYLOAD = 65535;

interface RxFields extends InboundState {
  readonly destination: string;
}

/** Of one shape, as TxState is. */
class RxState implements RxFields {
  readonly replay;
  readonly traffic;
  readonly opener;
  readonly offload;
  readonly layout;
  readonly addresses;
  readonly ifId;
  readonly spi;
  readonly mode;
  readonly local;
  readonly remote;
  readonly destination;

  constructor(fields: RxFields) {
    this.replay = fields.replay;
    this.traffic = fields.traffic;
    this.opener = fields.opener;
    this.offload = fields.offload;
    this.layout = fields.layout;
    this.addresses = fields.addresses;
    this.ifId = fields.ifId;
    this.spi = fields.spi;
    this.mode = fields.mode;
    this.local = fields.local;
    this.remote = fields.remote;
    this.destination = fields.destination;
  }
}

/** A socket's side of the SAD. */
interface Source {
  /** The SAs of the address that it is bound to and of its encapsulation, by SPI. */
  readonly entries: StatesBySpi<InboundState>;
  /** Whether packets come with their IPv4 header. */
  readonly withHeader: boolean;
}

const setup = workerData as WorkerSetup;
const slab = new PacketSlab(MESSAGES * PLACE_SIZE + PACKET);
const counters = new Counters(setup.counters);
const backend = chooseBackend(setup.crypto);
const inbound = new Inbound(slab, counters, () => coalescer.flush());
const places = Array.from({ length: MESSAGES }, (_, index) => index * PLACE_SIZE + PACKET);
const received = new ReceiveVector(
  places.map((place) => slab.base + place),
  MAX_UDP_PAYLOAD,
);
const coalescer = new Coalescer(
  slab,
  (vector, count) => {
    if (writev(setup.tunFd, vector, count) < 0) counters.add(COUNTER.rxDropped, count);
    else counters.count(COUNTER.tunWrites);
  },
  kernelAtLeast(6, 2),
);
/** Messages to ask for in the next call: few large ones, many small ones. */
let most = MESSAGES;
const hardware = await loadHardware(setup.offload);
let states = new Map<number, RxState>();
let sources = new Map<number, Source>();

function makeState(spec: InboundSpec, kept: RxState | undefined): RxState {
  const { spi, keymat, ifId, destination, replayWindow, limits } = spec;
  const traffic = new Traffic(spec.traffic, limits);
  if (kept !== undefined) {
    const replay = kept.replay.size === replayWindow ? kept.replay : kept.replay.resized(replayWindow);
    return new RxState({ ...kept, ifId, destination, traffic, replay });
  }
  if (keymat === null) throw new Error(`the inbound SA ${spi} came without its key`);
  return new RxState({
    ...makeInbound(slab, backend, spec, keymat, traffic),
    offload: makeOffload(spec, keymat),
    destination,
  });
}

function makeOffload({ offload, suite, esn }: InboundSpec, keymat: Uint8Array): InboundOffload | null {
  if (offload === null || hardware === null) return null;
  const device = hardware.rx(offload.context, slab, backend.opener(slab, { suite, esn, keymat }));
  return new InboundOffload(device, new OffloadCounters(offload.counters), counters);
}

function closeState({ opener, offload }: InboundState): void {
  opener.close();
  offload?.close();
}

function serve(fd: number): void {
  const source = sources.get(fd);
  if (source === undefined) return;
  for (let i = 0; i < ROUNDS; i++) {
    const asked = most;
    const count = received.receive(fd, asked);
    if (count < 0) {
      if (count === -EINTR) continue;
      if (count !== -EAGAIN) counters.count(COUNTER.rxErrors);
      return;
    }
    counters.count(COUNTER.receives);
    let bytes = 0;
    for (let index = 0; index < count; index++) bytes += takeAll(index, source);
    inbound.finish(coalescer);
    coalescer.flush();
    most = Math.min(MESSAGES, Math.ceil((CALL_BYTES * count) / Math.max(1, bytes)));
    if (count < asked) return;
  }
}

/** Takes each datagram of a message. @returns the message's bytes */
function takeAll(index: number, { entries, withHeader }: Source): number {
  received.look(index);
  const { bytes, size, link, tos } = received;
  const start = places[index] ?? PACKET;
  const header = withHeader ? (slab.view.getUint8(start) & 15) * 4 : 0;
  // Bare ESP comes one by one.
  inbound.takeMessage(start + header, bytes - header, size - header, entries, link, tos, coalescer);
  return bytes;
}

run<InboundSpec>(setup, {
  apply(table) {
    states = replaceStates(states, table.states, makeState, closeState);
    inbound.tag = table.tag;
    const served = (wanted: Encapsulation) =>
      inboundTable(
        table.policies,
        table.states.flatMap(({ id, encapsulation }) =>
          encapsulation === wanted ? [states.get(id)] : [],
        ) as RxState[],
        ({ destination }) => destination,
      );
    const tables = { udp: served("udp"), none: served("none") };
    sources = new Map(
      table.sockets.map(({ fd, local, encapsulation }) => [
        fd,
        {
          entries: tables[encapsulation].get(local) ?? new NumberTable(),
          withHeader: encapsulation === "none" && !local.includes(":"),
        },
      ]),
    );
    return [...sources.keys()];
  },
  retire() {},
  serve,
  close() {
    for (const state of states.values()) closeState(state);
  },
});
