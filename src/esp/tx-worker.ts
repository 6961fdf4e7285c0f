/** TUN to socket: reads framed packets, seals them and sends them. Runs as a worker thread. */
import { randomBytes } from "node:crypto";
import { constants } from "node:os";
import { workerData } from "node:worker_threads";
import { errno, read, SystemError } from "../sys/libc.js";
import { PollSet } from "../sys/poll-set.js";
import { Slab } from "../sys/slab.js";
import { parseAddress } from "../sys/sockaddr.js";
import { TransmitMessage } from "../sys/udp-message.js";
import { chooseBackend } from "./aead.js";
import { outboundTable } from "./database.js";
import { FRAME_HEADER_SIZE } from "./framing.js";
import type { OutboundSpec, WorkerSetup } from "./messages.js";
import { Outbound, type OutboundState } from "./outbound.js";
import { replaceStates } from "./replace-states.js";
import { COUNTER, Counters, Traffic } from "./statistics.js";
import { run } from "./worker-loop.js";

const { EAGAIN, EINTR } = constants.errno;
/** Packets taken before the mailbox gets its turn. */
const BATCH = 128;
const MAX_IP_PACKET = 65535;
const FRAME_CAPACITY = FRAME_HEADER_SIZE + MAX_IP_PACKET;
/** Places the IP packet and the ESP payload on 16-byte boundaries. */
const FRAME = 10;
const ESP = 2 ** 17;
/** How long one full socket may hold up the others. */
const SEND_WAIT_MS = 10;

interface TxState extends OutboundState {
  readonly fd: number;
  readonly link: number;
  readonly message: TransmitMessage;
}

const setup = workerData as WorkerSetup;
const slab = new Slab(2 ** 18);
const counters = new Counters(setup.counters);
const backend = chooseBackend(setup.crypto);
const outbound = new Outbound<TxState>(slab, counters);
let states = new Map<number, TxState>();

function makeState(spec: OutboundSpec, kept: TxState | undefined): TxState {
  const { ifId, spi, suite, keymat, local, remote, remotePort, fd, link } = spec;
  const message = new TransmitMessage(parseAddress(local), parseAddress(remote), remotePort, link);
  const path = { ifId, spi, local, remote, fd, link, message };
  if (kept !== undefined) return { ...kept, ...path };
  if (keymat === null) throw new Error(`the outbound SA ${spi} came without its key`);
  const iv = randomBytes(8);
  return {
    ...path,
    sealer: backend.sealer(slab, suite, keymat),
    traffic: new Traffic(spec.traffic),
    sequence: 0,
    ivHigh: iv.readUInt32BE(0),
    ivLow: iv.readUInt32BE(4),
  };
}

/** A full socket is waited for, for a moment: that is how a slow link slows the senders behind the TUN device down. */
function send(state: TxState, length: number, link: number): void {
  const data = slab.base + ESP;
  let failure = state.message.send(state.fd, data, length, link);
  if (failure === EAGAIN) {
    PollSet.forWriting(setup.wakeFd, state.fd).wait(SEND_WAIT_MS);
    failure = state.message.send(state.fd, data, length, link);
  }
  if (failure !== 0) counters.count(COUNTER.txErrors);
}

function serve(tunFd: number): void {
  for (let i = 0; i < BATCH; i++) {
    const length = read(tunFd, slab.base + FRAME, FRAME_CAPACITY);
    if (length < 0) {
      const number = errno();
      if (number === EAGAIN) return;
      if (number === EINTR) continue;
      throw new SystemError("reading from the TUN device", number, "was the link deleted?");
    }
    if (length === 0) throw new Error("reading from the TUN device: it is closed");
    const size = outbound.process(FRAME, length, ESP);
    const { state, link } = outbound;
    if (size !== 0 && state !== null) send(state, size, link || state.link);
  }
}

run<OutboundSpec>(setup, {
  apply(table) {
    states = replaceStates(states, table.states, makeState, (state) => state.sealer.close());
    outbound.table = outboundTable(table.policies, [...states.values()]);
    return [setup.tunFd];
  },
  serve,
  close() {
    for (const state of states.values()) state.sealer.close();
  },
});
