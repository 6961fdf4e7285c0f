import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { check, close, setsockopt } from "../sys/libc.js";
import { inNetns } from "../sys/netns.js";
import { Slab } from "../sys/slab.js";
import { parseAddress } from "../sys/sockaddr.js";
import { openUdpSocket, SOL_UDP, UDP_GRO } from "../sys/udp.js";

export type LoadRole =
  | { readonly kind: "receive" }
  | {
      readonly kind: "send";
      /** IPv4; sent to in turn. */
      readonly addresses: readonly string[];
      readonly port: number;
      /** Payload bytes of each datagram. */
      readonly size: number;
      /** Datagrams a second that are offered. */
      readonly rate: number;
      /** Datagrams under way at most. */
      readonly window: number;
      readonly seconds: number;
    };

const FIELDS = { sent: 0, received: 1, took: 2 } as const;

/** What both ends and the main thread share. */
export class LoadState {
  static readonly BYTES = 32;
  readonly #values: Float64Array;
  readonly #stop: Int32Array;

  constructor(memory: SharedArrayBuffer) {
    this.#values = new Float64Array(memory, 0, 3);
    this.#stop = new Int32Array(memory, 24, 2);
  }

  get sent(): number {
    return this.#values[FIELDS.sent] ?? 0;
  }
  set sent(value: number) {
    this.#values[FIELDS.sent] = value;
  }
  get received(): number {
    return this.#values[FIELDS.received] ?? 0;
  }
  set received(value: number) {
    this.#values[FIELDS.received] = value;
  }
  /** Seconds that sending took. */
  get took(): number {
    return this.#values[FIELDS.took] ?? 0;
  }
  set took(value: number) {
    this.#values[FIELDS.took] = value;
  }

  get stopped(): boolean {
    return Atomics.load(this.#stop, 0) !== 0;
  }

  stop(): void {
    Atomics.store(this.#stop, 0, 1);
  }

  /** Blocks the thread for so many milliseconds. */
  sleep(ms: number): void {
    Atomics.wait(this.#stop, 1, 0, ms);
  }
}

export interface UdpLoad {
  /** Network namespaces. */
  readonly left: string;
  readonly right: string;
  /** IPv4 addresses in the right one, sent to in turn. */
  readonly addresses: readonly string[];
  readonly size: number;
  readonly rate: number;
  readonly window: number;
  readonly seconds: number;
}

export interface UdpResult {
  readonly sent: number;
  readonly received: number;
  /** Seconds. */
  readonly took: number;
}

const PORT = 5202;
/** What is under way arrives within this after the last that did. */
const QUIET_MS = 100;

/** Sends single datagrams (no UDP_SEGMENT) from left to right and counts those that arrive. */
export async function udpLoad({ left, right, ...load }: UdpLoad): Promise<UdpResult> {
  const memory = new SharedArrayBuffer(LoadState.BYTES);
  const state = new LoadState(memory);
  const fds: number[] = [];
  const start = (netns: string, port: number, role: LoadRole) => {
    const fd = inNetns(netns, () => openUdpSocket(parseAddress("0.0.0.0"), port, 0));
    fds.push(fd);
    withoutGro(fd);
    const worker = new Worker(new URL("./udp-load-worker.js", import.meta.url), {
      workerData: { role, fd, memory },
    });
    const ended = once(worker, "exit");
    ended.catch(() => {});
    return ended;
  };
  try {
    const receiving = start(right, PORT, { kind: "receive" });
    try {
      await start(left, 0, { kind: "send", port: PORT, ...load });
      for (let before = -1; before !== state.received; await delay(QUIET_MS)) before = state.received;
    } finally {
      state.stop();
      await receiving;
    }
    const { sent, received, took } = state;
    return { sent, received, took };
  } finally {
    for (const fd of fds) close(fd);
  }
}

/** An application that knows nothing of it gets its datagrams one by one. */
function withoutGro(fd: number): void {
  const off = new Slab(4);
  check(setsockopt(fd, SOL_UDP, UDP_GRO, off.base, 4), "switching off UDP_GRO");
}
