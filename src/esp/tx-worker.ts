/** TUN to socket: reads framed packets, seals them and sends them. Runs as a worker thread. */
import { constants } from "node:os";
import { workerData } from "node:worker_threads";
import { errno, read, SystemError } from "../sys/libc.js";
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
import { replaceStates } from "./replace-states.js";
import { makeOutbound, type OutboundState } from "./sa.js";
import { Counters, Traffic } from "./statistics.js";
import { type Route, TransmitQueue } from "./transmit-queue.js";
import { run } from "./worker-loop.js";

const { EAGAIN, EINTR } = constants.errno;
/** Packets taken before the mailbox gets its turn. */
const BATCH = 128;
const MAX_IP_PACKET = 65535;
const FRAME_CAPACITY = FRAME_HEADER_SIZE + MAX_IP_PACKET;
/** Places the IP packet on a 16-byte boundary. */
const FRAME = 10;
/** Where ESP packets are sealed to: room for two of the largest at least. */
const ESP = 2 ** 17;
const ESP_END = ESP + 2 ** 18;
/** How long one full socket may hold up the others. */
const SEND_WAIT_MS = 10;

interface TxState extends OutboundState, Route {}

const setup = workerData as WorkerSetup;
const slab = new PacketSlab(ESP_END);
const counters = new Counters(setup.counters);
const backend = chooseBackend(setup.crypto);
const queue = new TransmitQueue<TxState>(slab, counters, ESP, ESP_END, (fd) =>
  PollSet.forWriting(setup.wakeFd, fd).wait(SEND_WAIT_MS),
);
const hardware = await loadHardware(setup.offload);
/** A device that answers on its own time stands between the cipher and the socket. */
const ring = hardware?.sink(queue, slab) ?? null;
const outbound = new Outbound<TxState>(slab, counters, ring ?? queue);
let states = new Map<number, TxState>();

function makeState(spec: OutboundSpec, kept: TxState | undefined): TxState {
  const { spi, keymat, local, remote, remotePort, fd, link, ifId, padTo, limits } = spec;
  const destination = new Destination(parseAddress(local), parseAddress(remote), remotePort, link);
  const traffic = new Traffic(spec.traffic, limits);
  const path = { fd, link, destination };
  if (kept !== undefined) return { ...kept, ifId, padTo, traffic, ...path };
  if (keymat === null) throw new Error(`the outbound SA ${spi} came without its key`);
  const state = makeOutbound(slab, backend, spec, keymat, traffic);
  state.sequence = setup.sequence;
  return { ...state, offload: makeOffload(spec, keymat, state.sealer), ...path };
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

function serve(tunFd: number): void {
  readAll(tunFd);
  ring?.poll();
  queue.flush();
}

/** Seals what is there, within bounds. */
function readAll(tunFd: number): void {
  for (let i = 0; i < BATCH; i++) {
    const length = read(tunFd, slab.base + FRAME, FRAME_CAPACITY);
    if (length < 0) {
      const number = errno();
      if (number === EAGAIN) return;
      if (number === EINTR) continue;
      throw new SystemError("reading from the TUN device", number, "was the link deleted?");
    }
    if (length === 0) throw new Error("reading from the TUN device: it is closed");
    outbound.process(FRAME, length);
    queue.flushIfLarge();
  }
}

run<OutboundSpec>(setup, {
  apply(table) {
    states = replaceStates(states, table.states, makeState, closeState);
    outbound.table = outboundTable(table.policies, [...states.values()]);
    return [setup.tunFd];
  },
  serve,
  close() {
    for (const state of states.values()) closeState(state);
  },
});
