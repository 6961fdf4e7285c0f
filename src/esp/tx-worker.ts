/** TUN to socket: reads framed packets, seals them and sends them. Runs as a worker thread. */
import { constants } from "node:os";
import { workerData } from "node:worker_threads";
import { CallList } from "../sys/call-list.js";
import { functionAddress } from "../sys/dynamic-linking.js";
import { errno, SystemError } from "../sys/libc.js";
import { PacketSlab } from "../sys/packet-slab.js";
import { PollSet } from "../sys/poll-set.js";
import { parseAddress } from "../sys/sockaddr.js";
import { TX_QUEUE_LENGTH } from "../sys/tun.js";
import { Destination } from "../sys/udp-send.js";
import { chooseBackend, type Sealer } from "./aead.js";
import { outboundTable, withdrawAllBut } from "./database.js";
import { FRAME_HEADER_SIZE } from "./framing.js";
import type { OutboundSpec, WorkerSetup } from "./messages.js";
import { OffloadCounters } from "./offload/counters.js";
import { loadHardware } from "./offload/load-hardware.js";
import { OutboundOffload } from "./offload/transmit.js";
import { Outbound } from "./outbound.js";
import { OutboundStates } from "./outbound-states.js";
import type { Wrapping } from "./packet.js";
import { PathMtu, type PathState } from "./path-mtu.js";
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
const FRAME = 6;
/** Where ESP packets are sealed to: behind the last frame's place and its padding, room for two of Outbound's runs. */
const ESP = (FRAMES + 1) * PLACE_SIZE;
const ESP_END = ESP + 2 ** 18;
/** How long one full socket may hold up the others. */
const SEND_WAIT_MS = 10;

interface TxFields extends OutboundState, Route, PathState {
  readonly destination: Destination;
}

/** What of a state every table says anew. */
type Said = Pick<
  TxFields,
  "ifId" | "padTo" | "traffic" | "fd" | "link" | "destination" | "wrapping" | "longest"
>;

/**
 * All have one shape, whatever they are made from, and their fields are side by side, what each packet reads first: thousands
 * of SAs are not in the caches.
 */
class TxState implements TxFields {
  sequence;
  sequenceHigh;
  traffic;
  readonly sealer;
  readonly offload;
  readonly layout;
  readonly addresses;
  padTo;
  longest;
  readonly spi;
  readonly ivHigh;
  readonly ivLow;
  fd;
  destination;
  link;
  readonly esn;
  ifId;
  readonly mode;
  readonly local;
  readonly remote;
  wrapping;

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

  change({ ifId, padTo, traffic, fd, link, destination, wrapping, longest }: Said): void {
    this.ifId = ifId;
    this.padTo = padTo;
    this.traffic = traffic;
    this.fd = fd;
    this.link = link;
    this.destination = destination;
    this.wrapping = wrapping;
    this.longest = longest;
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
  (destination, link, size) => pathMtu.learn(states.current, destination, link, size),
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
const states = new OutboundStates<OutboundSpec, TxState, Said>({ fields, make, change, close: closeState });
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

function fields(spec: OutboundSpec): Said {
  const { fd, link, ifId, padTo, limits } = spec;
  const traffic = new Traffic(spec.traffic, limits);
  const path = {
    fd,
    link,
    destination: destinationOf(spec),
    wrapping: wrappingOf(spec),
    longest: ANY_LENGTH,
  };
  return { ifId, padTo, traffic, ...path };
}

function change(state: TxState, said: Said): void {
  state.change(said);
}

function make(spec: OutboundSpec, said: Said): TxState {
  const { spi, keymat } = spec;
  if (keymat === null) throw new Error(`the outbound SA ${spi} came without its key`);
  const state = makeOutbound(slab, backend, spec, keymat, said.traffic);
  if (said.traffic.sequence === 0) state.sequence = setup.sequence;
  const offload = makeOffload(spec, keymat, state.sealer);
  if (state.sequenceHigh > 0) offload?.advanceEsn(state.sequenceHigh);
  return new TxState({ ...state, offload, ...said });
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

/** Serves what waits: as many packets as the queue of the TUN device holds, unless it is empty before. */
function drain(): void {
  for (let frames = 0; frames < TX_QUEUE_LENGTH; frames += most) if (!readSome()) break;
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
  apply({ tag, stays, policies, states: specs }) {
    destinations = new Map();
    const gone = new Set(stays?.without);
    states.replace(specs, (id) => stays !== null && !gone.has(id));
    const next = outboundTable(policies, [...states.current]);
    if (stays === null) outbound.previous = null;
    else if (tag !== outbound.tag) outbound.previous = { tag: outbound.tag, table: outbound.table };
    if (gone.size > 0 && outbound.previous !== null) withdrawAllBut(outbound.previous.table, states.areOpen);
    outbound.table = next;
    outbound.tag = tag;
    return [setup.tunFd];
  },
  retire() {
    drain();
    outbound.previous = null;
    states.retire();
  },
  serve,
  close: () => states.close(),
});
