/** Names of /proc/net/xfrm_stat (net/xfrm/xfrm_proc.c; Documentation/networking/xfrm_proc.rst says what each means). */
export const XFRM_STATS = [
  "XfrmInError",
  "XfrmInBufferError",
  "XfrmInHdrError",
  "XfrmInNoStates",
  "XfrmInStateProtoError",
  "XfrmInStateModeError",
  "XfrmInStateSeqError",
  "XfrmInStateExpired",
  "XfrmInStateMismatch",
  "XfrmInStateInvalid",
  "XfrmInTmplMismatch",
  "XfrmInNoPols",
  "XfrmInPolBlock",
  "XfrmInPolError",
  "XfrmOutError",
  "XfrmOutBundleGenError",
  "XfrmOutBundleCheckError",
  "XfrmOutNoStates",
  "XfrmOutStateProtoError",
  "XfrmOutStateModeError",
  "XfrmOutStateSeqError",
  "XfrmOutStateExpired",
  "XfrmOutPolBlock",
  "XfrmOutPolDead",
  "XfrmOutPolError",
  "XfrmFwdHdrError",
  "XfrmOutStateInvalid",
  "XfrmAcquireError",
] as const;

/** What happens outside the transformation, where the kernel counts on the device or the socket. */
export const IO_COUNTERS = [
  /** No policy or no SA has the packet's if_id: the xfrm device's tx_carrier_errors (xfrm_interface_core.c, xfrmi_xmit2). */
  "txCarrierErrors",
  /** The socket did not take an ESP packet: no route, link down, buffers full. */
  "txErrors",
  /** Receiving from the socket failed. */
  "rxErrors",
  /** The TUN device did not take a decrypted packet: it is down. */
  "rxDropped",
  /** NAT keepalives (RFC 3948 section 2.3). */
  "keepalives",
  /** Datagrams with the non-ESP marker, which are IKE's (RFC 3948 section 2.2). */
  "nonEspMarkers",
  /** Dummy packets (RFC 4303 section 2.6). */
  "dummies",
] as const;

/** What the data path did, in its own terms. */
export const WORK_COUNTERS = [
  /** Bytes of packets that were moved from one place in memory to another other than by the cipher or a system call. */
  "copiedBytes",
  /** Bytes that the ciphers read and wrote: packets with their ESP trailers. */
  "sealedBytes",
  "openedBytes",
  /** System calls on the socket that carried packets. */
  "sends",
  "receives",
  /** Packets written to the TUN device, GSO packets counted once. */
  "tunWrites",
] as const;

export type XfrmStat = (typeof XFRM_STATS)[number];
export type IoCounter = (typeof IO_COUNTERS)[number];
export type WorkCounter = (typeof WORK_COUNTERS)[number];

const NAMES = [...XFRM_STATS, ...IO_COUNTERS, ...WORK_COUNTERS] as const;

/** Index of each counter in a Counters array. */
export const COUNTER = Object.fromEntries(NAMES.map((name, index) => [name, index])) as Record<
  (typeof NAMES)[number],
  number
>;

/**
 * Counters that one thread writes and another reads at any time. Doubles count exactly to 2^53, and unlike BigInts they
 * cost no allocation; aligned 8-byte stores are not torn on 64-bit machines.
 */
export class Counters {
  readonly values: Float64Array;

  constructor(memory: SharedArrayBuffer = Counters.allocate()) {
    this.values = new Float64Array(memory);
  }

  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer(NAMES.length * Float64Array.BYTES_PER_ELEMENT);
  }

  /** @param counter an index out of COUNTER */
  count(counter: number): void {
    this.add(counter, 1);
  }

  add(counter: number, amount: number): void {
    this.values[counter] = (this.values[counter] ?? 0) + amount;
  }

  get(name: XfrmStat | IoCounter | WorkCounter): number {
    return this.values[COUNTER[name]] ?? 0;
  }
}

/** An SA is refused from the packet on that finds one of these reached; Infinity for none. */
export interface HardLimits {
  readonly packets: number;
  readonly bytes: number;
}

const NO_LIMITS: HardLimits = { packets: Infinity, bytes: Infinity };
const PACKETS = 0;
const BYTES = 1;
const EXPIRED = 2;
const SEQUENCE = 3;

/**
 * Packets and bytes of one SA, shared as Counters are, and whether it may still be used. A byte is one of the inner
 * packet, in transport and BEET mode without its IP header.
 */
export class Traffic {
  readonly memory: SharedArrayBuffer;
  readonly #values: Float64Array;
  readonly #maxPackets: number;
  readonly #maxBytes: number;

  constructor(memory: SharedArrayBuffer = Traffic.allocate(), limits: HardLimits = NO_LIMITS) {
    this.memory = memory;
    this.#values = new Float64Array(memory);
    this.#maxPackets = limits.packets;
    this.#maxBytes = limits.bytes;
  }

  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer(4 * Float64Array.BYTES_PER_ELEMENT);
  }

  /** Counts packets. @param sequence the number last sent, or the highest accepted; exact below 2^53 */
  add(bytes: number, sequence: number, packets = 1): void {
    this.#values[PACKETS] = this.packets + packets;
    this.#values[BYTES] = this.bytes + bytes;
    this.#values[SEQUENCE] = sequence;
  }

  /** What a new SA goes on from, before a worker has it; see `add`. */
  startFrom(sequence: number): void {
    this.#values[SEQUENCE] = sequence;
  }

  get sequence(): number {
    return this.#values[SEQUENCE] ?? 0;
  }

  get packets(): number {
    return this.#values[PACKETS] ?? 0;
  }

  get bytes(): number {
    return this.#values[BYTES] ?? 0;
  }

  /** Whether a hard limit is reached (net/xfrm/xfrm_state.c, xfrm_state_check_expire). */
  get exhausted(): boolean {
    return this.expired || this.packets >= this.#maxPackets || this.bytes >= this.#maxBytes;
  }

  /** Whether no hard limit stands in the way of so many more packets, of so many bytes together. */
  allows(packets: number, bytes: number): boolean {
    return (
      !this.expired && this.packets + packets <= this.#maxPackets && this.bytes + bytes <= this.#maxBytes
    );
  }

  get expired(): boolean {
    return this.#values[EXPIRED] !== 0;
  }

  /** Ends the SA, from whichever thread: its time is over. */
  expire(): void {
    this.#values[EXPIRED] = 1;
  }
}
