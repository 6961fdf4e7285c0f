import type { MessagePort } from "node:worker_threads";
import type { AeadBackend } from "./aead.js";
import type { Policy } from "./database.js";
import type { OffloadType } from "./offload/contract.js";
import type { Encapsulation } from "./packet.js";
import type { SaParameters } from "./sa.js";
import type { HardLimits, TrafficRow } from "./traffic.js";

/** What a worker is started with. Descriptors belong to the main thread, which closes them after the worker ended. */
export interface WorkerSetup {
  readonly tunFd: number;
  /** An eventfd: something is in the mailbox, or `stop` is set. */
  readonly wakeFd: number;
  /** One Int32: not 0 when the worker is to end. */
  readonly stop: SharedArrayBuffer;
  /** Memory of the worker's Counters. */
  readonly counters: SharedArrayBuffer;
  readonly crypto: AeadBackend["name"] | "auto";
  readonly mailbox: MessagePort;
  readonly offload: OffloadModule | null;
  /** Lower half of the number before a new outbound SA's first, as replay-oseq of `ip xfrm state`. */
  readonly sequence: number;
}

/** Where a worker finds the devices that its SAs are offloaded to: a module that exports createHardware(spec). */
export interface OffloadModule {
  readonly module: string;
  readonly spec: unknown;
}

/** An offloaded SA: what its device's createHardware() needs to know of it, and the memory of its OffloadCounters. */
export interface OffloadSpec {
  readonly type: OffloadType;
  readonly context: unknown;
  readonly counters: SharedArrayBuffer;
}

/** An SA on its way to a worker. One whose `id` the worker has already keeps its cipher, numbers and traffic. */
export interface StateSpec extends SaParameters {
  readonly id: number;
  /** Keying material, transferred and wiped by the worker; null for an SA that it has already. */
  readonly keymat: Uint8Array<ArrayBuffer> | null;
  /** Of the SA's Traffic. */
  readonly traffic: TrafficRow;
  readonly limits: HardLimits;
  /** Null where no device has the SA. Looked at together with `keymat`. */
  readonly offload: OffloadSpec | null;
}

export interface OutboundSpec extends StateSpec {
  readonly padTo: number;
  readonly fd: number;
  /** 0 for bare ESP. */
  readonly remotePort: number;
  /** ifindex, 0 for any. */
  readonly link: number;
}

export interface InboundSpec extends StateSpec {
  readonly encapsulation: Encapsulation;
  /** What its packets are sent to, as a socket's `local`. */
  readonly destination: string;
  readonly replayWindow: number;
}

export interface SocketSpec {
  readonly fd: number;
  /** The address that it is bound to (scopedText). */
  readonly local: string;
  /** Which socket it is: "none" stands for a raw one. */
  readonly encapsulation: Encapsulation;
}

/** Everything a worker works from. It takes the place of the table before, between two packets. */
export interface Table<S extends StateSpec> {
  /** tagOf the epoch that its if_ids are of. */
  readonly tag: number;
  /**
   * Of a sender: the table before, of another epoch, stays in use for its frames until the worker is told to retire it,
   * without these SAs. Null: nothing of it stays.
   */
  readonly stays: { readonly without: readonly number[] } | null;
  readonly policies: readonly Policy[];
  readonly states: readonly S[];
  readonly sockets: readonly SocketSpec[];
}

/** Tells a worker to serve what waits in its queue, and then to let go of the table before. */
export const RETIRE = "retire";

export type Message<S extends StateSpec> = Table<S> | typeof RETIRE;

/** A worker's answer to a message: null, or why it stayed with the one before. */
export type Answer = string | null;
