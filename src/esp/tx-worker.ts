/** TUN to socket: reads framed packets, seals them and sends them. Runs as a worker thread. */
import { constants } from "node:os";
import { workerData } from "node:worker_threads";
import { CallList } from "../sys/call-list.js";
import { functionAddress } from "../sys/dynamic-linking.js";
import { errno, SystemError } from "../sys/libc.js";
import { PacketSlab } from "../sys/packet-slab.js";
import { PollSet } from "../sys/poll-set.js";
import { parseAddress } from "../sys/sockaddr.js";
import { Destination } from "../sys/udp-send.js";
import { chooseBackend, type Sealer } from "./aead.js";
import { outboundTable } from "./database.js";
import { FRAME_HEADER_SIZE } from "./framing.js";
import type { OutboundSpec, WorkerSetup } from "./messages.js";
import { OffloadCounters } from "./offload/counters.js";
import { loadHardware } from "./offload/load-hardware.js";
import { OutboundOffload } from "./offload/transmit.js";
import { Outbound } from "./outbound.js";
import type { Wrapping } from "./packet.js";
import { PathMtu, type PathState } from "./path-mtu.js";
import { replaceStates } from "./replace-states.js";
import { ANY_LENGTH, makeOutbound, type OutboundState } from "./sa.js";
import { Counters } from "./statistics.js";
import { TooBig } from "./too-big.js";
import { Traffic } from "./traffic.js";
import { type Route, TransmitQueue } from "./transmit-queue.js";
import { run } from "./worker-loop.js";

const { EAGAIN, EINTR } = constants.errno;
/** Calls before the mailbox gets its turn. */
const ROUNDS = 4;
/** Packets read in one call at most. */
const FRAMES = 64;
/**
 * Bytes read in one call, about: some GSO packets, which are sent together; and little enough that what the kernel has
 * written is in the cache still when it is encrypted.
 */
const CALL_BYTES = 3 * 2 ** 16;
const MAX_IP_PACKET = 65535;
const FRAME_CAPACITY = FRAME_HEADER_SIZE + MAX_IP_PACKET;
/** Distance of the places that frames are read to: with room for a trailer, and of no power of 2, which caches dislike. */
const PLACE_SIZE = 2 ** 16 + 128;
/** Places the IP packet on a 16-byte boundary. */
const FRAME = 10;
/** Where ESP packets are sealed to: behind the last frame's place and its padding, room for two of Outbound's runs. */
const ESP = (FRAMES + 1) * PLACE_SIZE;
const ESP_END = ESP + 2 ** 18;
/** How long one full socket may hold up the others. */
const SEND_WAIT_MS = 10;

interface TxFields extends OutboundState, Route, PathState {
  readonly destination: Destination;
}

/**
 * All have one shape, whatever they are made from, and their fields are side by side, what each packet reads first: thousands
 * of SAs are not in the caches.
 */
class TxState implements TxFields {
  sequence;
  sequenceHigh;
  readonly traffic;
  readonly sealer;
  readonly offload;
  readonly layout;
  readonly addresses;
  readonly padTo;
  longest;
  readonly spi;
  readonly ivHigh;
  readonly ivLow;
  readonly fd;
  readonly destination;
  readonly link;
  readonly esn;
  readonly ifId;
  readonly mode;
  readonly local;
  readonly remote;
  readonly wrapping;

  constructor(fields: TxFields) {
    this.sequence = fields.sequence;
    this.sequenceHigh = fields.sequenceHigh;
    this.traffic = fields.traffic;
    this.sealer = fields.sealer;
    this.offload = fields.offload;
    this.layout = fields.layout;
    this.addresses = fields.addresses;
    this.padTo = fields.padTo;
    this.longest = fields.longest;
    this.spi = fields.spi;
    this.ivHigh = fields.ivHigh;
    this.ivLow = fields.ivLow;
    this.fd = fields.fd;
    this.destination = fields.destination;
    this.link = fields.link;
    this.esn = fields.esn;
    this.ifId = fields.ifId;
    this.mode = fields.mode;
    this.local = fields.local;
    this.remote = fields.remote;
    this.wrapping = fields.wrapping;
  }
}

const setup = workerData as WorkerSetup;
const slab = new PacketSlab(ESP_END);
const counters = new Counters(setup.counters);
const backend = chooseBackend(setup.crypto);
const pathMtu = new PathMtu<TxState>(slab, new TooBig(slab, setup.tunFd));
const queue = new TransmitQueue<TxState>(
  slab,
  counters,
  ESP,
  ESP_END,
  (fd) => PollSet.forWriting(setup.wakeFd, fd).wait(SEND_WAIT_MS),
  (destination, link, size) => pathMtu.learn(states.values(), destination, link, size),
);
const hardware = await loadHardware(setup.offload);
/** A device that answers on its own time stands between the cipher and the socket. */
const ring = hardware?.sink(queue, slab) ?? null;
const outbound = new Outbound<TxState>(slab, counters, ring ?? queue, ring === null, (...packet) =>
  pathMtu.refuses(...packet),
);
const reads = new CallList(FRAMES);
const readAddress = functionAddress("libc.so.6", "read");
for (let i = 0; i < FRAMES; i++) {
  const call = reads.add(readAddress);
  reads.setArgument(call, 0, setup.tunFd);
  reads.setArgument(call, 1, slab.base + i * PLACE_SIZE + FRAME);
  reads.setArgument(call, 2, FRAME_CAPACITY);
}
/** Packets to read in the next call: few large ones, many small ones. */
let most = FRAMES;
let states = new Map<number, TxState>();
/** Of the table last taken over. */
let destinations = new Map<string, Destination>();

/** One for all SAs of a peer: what goes to one destination is sent together. */
function destinationOf({ local, remote, remotePort, link }: OutboundSpec): Destination {
  const name = `${local} ${remote} ${remotePort} ${link}`;
  const known = destinations.get(name);
  if (known !== undefined) return known;
  const destination = new Destination(parseAddress(local), parseAddress(remote), remotePort, link);
  destinations.set(name, destination);
  return destination;
}

function wrappingOf({ suite, mode, remotePort, remote, inner }: OutboundSpec): Wrapping {
  return {
    suite,
    mode,
    encapsulation: remotePort === 0 ? "none" : "udp",
    outerFamily: familyOf(remote),
    innerFamily: familyOf(inner?.remote ?? remote),
  };
}

const familyOf = (address: string): 4 | 6 => (address.includes(":") ? 6 : 4);

function makeState(spec: OutboundSpec, kept: TxState | undefined): TxState {
  const { spi, keymat, fd, link, ifId, padTo, limits } = spec;
  const destination = destinationOf(spec);
  const traffic = new Traffic(spec.traffic, limits);
  const path = { fd, link, destination, wrapping: wrappingOf(spec), longest: ANY_LENGTH };
  if (kept !== undefined) return new TxState({ ...kept, ifId, padTo, traffic, ...path });
  if (keymat === null) throw new Error(`the outbound SA ${spi} came without its key`);
  const state = makeOutbound(slab, backend, spec, keymat, traffic);
  if (traffic.sequence === 0) state.sequence = setup.sequence;
  const offload = makeOffload(spec, keymat, state.sealer);
  if (state.sequenceHigh > 0) offload?.advanceEsn(state.sequenceHigh);
  return new TxState({ ...state, offload, ...path });
}

function makeOffload(
  { offload, suite, esn }: OutboundSpec,
  keymat: Uint8Array,
  software: Sealer,
): OutboundOffload | null {
  if (offload === null || hardware === null) return null;
  const device = hardware.tx(offload.context, slab, backend.sealer(slab, { suite, esn, keymat }));
  const counted = new OffloadCounters(offload.counters);
  return new OutboundOffload(slab, software, device, offload.type, counted, counters);
}

function closeState({ sealer, offload }: TxState): void {
  sealer.close();
  offload?.close();
}

/** Seals what is there, within bounds. */
function serve(): void {
  for (let i = 0; i < ROUNDS && readSome(); i++);
  ring?.poll();
  queue.flush();
}

/** @returns whether there may be more */
function readSome(): boolean {
  reads.length = most;
  const count = reads.runUntilError();
  const number = count < reads.length ? errno() : 0;
  let bytes = 0;
  outbound.readAhead(FRAME, PLACE_SIZE, count);
  for (let i = 0; i < count; i++) {
    const length = reads.result(i);
    if (length === 0) throw new Error("reading from the TUN device: it is closed");
    outbound.process(i * PLACE_SIZE + FRAME, length);
    bytes += length;
    if (!queue.isLarge) continue;
    outbound.finish();
    queue.flush();
  }
  outbound.finish();
  most = Math.min(FRAMES, Math.ceil((CALL_BYTES * count) / Math.max(1, bytes)) || FRAMES);
  if (number !== 0 && number !== EAGAIN && number !== EINTR)
    throw new SystemError("reading from the TUN device", number, "was the link deleted?");
  return number !== EAGAIN;
}

run<OutboundSpec>(setup, {
  apply(table) {
    destinations = new Map();
    states = replaceStates(states, table.states, makeState, closeState);
    outbound.table = outboundTable(table.policies, [...states.values()]);
    return [setup.tunFd];
  },
  serve,
  close() {
    for (const state of states.values()) closeState(state);
  },
});
