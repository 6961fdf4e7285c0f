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
  /** A frame without our shim in front: none of our programs let it out. */
  "txNoShim",
  /** A frame of an epoch that is over: its if_id may be another connection's now. */
  "txOtherEpoch",
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
