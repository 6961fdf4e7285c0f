/** One end of a UDP load: sends or counts single datagrams, several in a system call. Runs as a worker thread. */
import { workerData } from "node:worker_threads";
import { MSG_DONTWAIT, recvmmsg, sendmmsg } from "../sys/libc.js";
import * as msg from "../sys/msghdr.js";
import { PollSet } from "../sys/poll-set.js";
import { Slab } from "../sys/slab.js";
import { parseAddress, SOCKADDR_IN_SIZE, writeSockaddr } from "../sys/sockaddr.js";
import { type LoadRole, LoadState } from "./udp-load.js";

const MESSAGES = 64;
const MAX_DATAGRAM = 2048;
/** How long to sleep between two looks at the clock, the other end's count or the end. */
const TICK_MS = 0.5;
const POLL_MS = 20;
/** A window that stays full for so long has lost what is in it. */
const STALL_MS = 20;

const { role, fd, memory } = workerData as { role: LoadRole; fd: number; memory: SharedArrayBuffer };
const state = new LoadState(memory);
if (role.kind === "receive") receive();
else send(role);

function receive(): void {
  const vector = new msg.MessageVector(MESSAGES);
  const places = new Slab(MESSAGES * MAX_DATAGRAM);
  for (let i = 0; i < MESSAGES; i++) setData(vector, i, places.base + i * MAX_DATAGRAM, MAX_DATAGRAM);
  const sleep = PollSet.forReading([fd]);
  while (!state.stopped) {
    sleep.wait(POLL_MS);
    for (;;) {
      const count = recvmmsg(fd, vector.base, MESSAGES, MSG_DONTWAIT, 0);
      if (count <= 0) break;
      state.received += count;
    }
  }
}

function send({ addresses, port, size, rate, window, seconds }: LoadRole & { kind: "send" }): void {
  const vector = new msg.MessageVector(MESSAGES);
  const data = new Slab(size);
  const names = new Slab(addresses.length * SOCKADDR_IN_SIZE);
  addresses.forEach((address, index) => {
    writeSockaddr(names, index * SOCKADDR_IN_SIZE, parseAddress(address), port, 0);
  });
  for (let i = 0; i < MESSAGES; i++) {
    setData(vector, i, data.base, size);
    vector.view.setUint32(i * msg.MMSGHDR_SIZE + msg.MSG_NAMELEN, SOCKADDR_IN_SIZE, true);
    vector.setPointer(i * msg.MMSGHDR_SIZE + msg.MSG_NAME, names.base);
  }
  let turn = 0;
  /** @returns how many of `count` datagrams the kernel took, each to the next address */
  const sendSome = (count: number): number => {
    if (addresses.length > 1) {
      for (let i = 0; i < count; i++) {
        vector.setPointer(i * msg.MMSGHDR_SIZE + msg.MSG_NAME, names.base + turn * SOCKADDR_IN_SIZE);
        turn = turn + 1 === addresses.length ? 0 : turn + 1;
      }
    }
    return Math.max(0, sendmmsg(fd, vector.base, count, 0));
  };
  const start = performance.now();
  let forgotten = 0;
  let progress = { at: start, received: state.received };
  for (let now = start; now < start + seconds * 1000; now = performance.now()) {
    const due = Math.floor(((now - start) / 1000) * rate) - state.sent;
    const { received } = state;
    if (received !== progress.received) progress = { at: now, received };
    else if (now - progress.at > STALL_MS) forgotten = state.sent - received;
    const room = window - (state.sent - forgotten - received);
    const count = Math.min(MESSAGES, due, room);
    if (count > 0) state.sent += sendSome(count);
    else state.sleep(TICK_MS);
  }
  state.took = (performance.now() - start) / 1000;
}

function setData(vector: msg.MessageVector, index: number, base: number, length: number): void {
  vector.setPointer(vector.iovec(index) + msg.IOV_BASE, base);
  vector.setPointer(vector.iovec(index) + msg.IOV_LEN, length);
  // No control messages: what is 0 is not looked at.
  vector.view.setUint32(index * msg.MMSGHDR_SIZE + msg.MSG_CONTROLLEN, 0, true);
}
