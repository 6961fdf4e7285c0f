/** Socket to TUN: receives ESP in UDP, opens it in place and writes framed packets. Runs as a worker thread. */
import { constants } from "node:os";
import { workerData } from "node:worker_threads";
import { write } from "../sys/libc.js";
import { Slab } from "../sys/slab.js";
import { ReceiveMessage } from "../sys/udp-message.js";
import { chooseBackend } from "./aead.js";
import { type InboundEntry, inboundTable } from "./database.js";
import { HEADROOM, Inbound, type InboundState } from "./inbound.js";
import type { InboundSpec, WorkerSetup } from "./messages.js";
import { replaceStates } from "./replace-states.js";
import { ReplayWindow } from "./replay.js";
import { COUNTER, Counters, Traffic } from "./statistics.js";
import { run } from "./worker-loop.js";

const { EAGAIN, EINTR } = constants.errno;
/** Packets taken from one socket before the next socket and the mailbox get their turn. */
const BATCH = 128;
const MAX_UDP_PAYLOAD = 65507;
/** Leaves HEADROOM and places the ESP payload on a 16-byte boundary. */
const PACKET = 64;

type Entries = ReadonlyMap<number, InboundEntry<InboundState>>;
const NO_STATES: Entries = new Map();

const setup = workerData as WorkerSetup;
const slab = new Slab(2 ** 17);
const counters = new Counters(setup.counters);
const backend = chooseBackend(setup.crypto);
const inbound = new Inbound(slab, counters);
const message = new ReceiveMessage(slab.base + PACKET, MAX_UDP_PAYLOAD);
let states = new Map<number, InboundState>();
/** By socket: the SAs of the address that it is bound to. */
let bySocket = new Map<number, Entries>();

function makeState(spec: InboundSpec, kept: InboundState | undefined): InboundState {
  const { ifId, spi, suite, keymat, local, remote, replayWindow } = spec;
  const path = { ifId, spi, local, remote };
  if (kept !== undefined) {
    const replay = kept.replay.size === replayWindow ? kept.replay : kept.replay.resized(replayWindow);
    return { ...kept, ...path, replay };
  }
  if (keymat === null) throw new Error(`the inbound SA ${spi} came without its key`);
  const opener = backend.opener(slab, suite, keymat);
  return { ...path, opener, traffic: new Traffic(spec.traffic), replay: new ReplayWindow(replayWindow) };
}

function serve(fd: number): void {
  const entries = bySocket.get(fd) ?? NO_STATES;
  for (let i = 0; i < BATCH; i++) {
    const length = message.receive(fd);
    if (length < 0) {
      if (length === -EINTR) continue;
      if (length !== -EAGAIN) counters.count(COUNTER.rxErrors);
      return;
    }
    const size = inbound.process(PACKET, length, entries, message.link);
    if (size !== 0 && write(setup.tunFd, slab.base + PACKET - HEADROOM, size) < 0)
      counters.count(COUNTER.rxDropped);
  }
}

run<InboundSpec>(setup, {
  apply(table) {
    states = replaceStates(states, table.states, makeState, (state) => state.opener.close());
    const byAddress = inboundTable(table.policies, [...states.values()]);
    bySocket = new Map(table.sockets.map(({ fd, local }) => [fd, byAddress.get(local) ?? NO_STATES]));
    return [...bySocket.keys()];
  },
  serve,
  close() {
    for (const state of states.values()) state.opener.close();
  },
});
