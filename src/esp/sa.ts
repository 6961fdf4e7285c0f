import { randomBytes } from "node:crypto";
import type { Slab } from "../sys/slab.js";
import type { AeadBackend, Opener, Sealer } from "./aead.js";
import type { State } from "./database.js";
import { AddressPair } from "./ip-header.js";
import type { InboundOffload } from "./offload/receive.js";
import type { OutboundOffload } from "./offload/transmit.js";
import { ESP_IV } from "./packet.js";
import { ReplayWindow, sequenceNumber } from "./replay.js";
import { SUITE_NAMES, SUITES, type SuiteName } from "./suite.js";
import type { Traffic } from "./traffic.js";

/** No inner packet is longer. */
export const ANY_LENGTH = 65_535;

/** So many are not in the caches: what is needed of those of a batch is read ahead. */
export const MANY_SAS = 256;

/** What an SA is, its key left out. */
export interface SaParameters extends State {
  readonly suite: SuiteName;
  /** Extended sequence numbers (RFC 4303 section 2.2.1). */
  readonly esn: boolean;
  /** BEET: the inner packets' addresses, ours and the other end's; else null. */
  readonly inner: { readonly local: string; readonly remote: string } | null;
}

/**
 * What both directions' packet paths need, as plain numbers: the paths are the same code for all suites and modes. All SAs
 * of one suite and mode have one in common.
 */
export interface Layout {
  /** SPI, sequence number and IV. */
  readonly headerSize: number;
  readonly ivSize: number;
  readonly icvSize: number;
  readonly alignment: number;
  /** What a received ciphertext must be a multiple of: the cipher's block. */
  readonly blockSize: number;
  readonly beet: boolean;
}

interface Shared extends State {
  readonly layout: Layout;
  /** Null in tunnel mode. */
  readonly addresses: AddressPair | null;
}

/** An outbound SA. Its cipher must work on the Slab that the packets are in. */
export interface OutboundState extends Shared {
  readonly sealer: Sealer;
  /** Of an SA that a device has; null for all others. */
  readonly offload: OutboundOffload | null;
  readonly traffic: Traffic;
  readonly esn: boolean;
  /** Traffic flow confidentiality: inner packets are padded to this size in bytes, 0 for not at all (RFC 4303 section 2.7). */
  readonly padTo: number;
  /** Bytes of the longest inner packet that is not to be asked about: what the path takes, where that is known. */
  longest: number;
  /** Number of the last packet sent, 0 before the first. */
  sequenceHigh: number;
  sequence: number;
  /**
   * An 8-byte IV is this 64-bit number plus the sequence number. Random for each SA, so that manual keys which are
   * used again after a restart do not meet the same nonce again (RFC 4106 section 3.1 asks only for uniqueness).
   * Each half is below 2^31: V8 would keep a greater one in an object of its own.
   */
  readonly ivHigh: number;
  readonly ivLow: number;
}

/** An inbound SA. Its cipher must work on the Slab that the packets are in. */
export interface InboundState extends Shared {
  readonly opener: Opener;
  /** Of an SA that a device has; null for all others. */
  readonly offload: InboundOffload | null;
  readonly traffic: Traffic;
  readonly replay: ReplayWindow;
}

const LAYOUTS = Object.fromEntries(
  SUITE_NAMES.map((name) => {
    const { ivSize, icvSize, alignment } = SUITES[name];
    const blockSize = alignment > 4 ? alignment : 1;
    const sizes = { headerSize: ESP_IV + ivSize, ivSize, icvSize, alignment, blockSize };
    return [name, { beet: { ...sizes, beet: true }, other: { ...sizes, beet: false } }];
  }),
) as Record<SuiteName, Record<"beet" | "other", Layout>>;

function addressesOf({ mode, local, remote, inner }: SaParameters, outbound: boolean): AddressPair | null {
  const ends = mode === "tunnel" ? null : (inner ?? { local, remote });
  return (
    ends && (outbound ? new AddressPair(ends.local, ends.remote) : new AddressPair(ends.remote, ends.local))
  );
}

const shared = (parameters: SaParameters, outbound: boolean): Shared => {
  const { ifId, spi, suite, mode, local, remote } = parameters;
  return {
    layout: LAYOUTS[suite][mode === "beet" ? "beet" : "other"],
    addresses: addressesOf(parameters, outbound),
    spi,
    ifId,
    mode,
    local,
    remote,
  };
};

/**
 * @param keymat keymatSize(suite) bytes; the caller may wipe them
 * @param traffic its number is the last that was sent with the key
 */
export function makeOutbound(
  slab: Slab,
  backend: AeadBackend,
  parameters: SaParameters & { readonly padTo: number },
  keymat: Uint8Array,
  traffic: Traffic,
): OutboundState {
  const { suite, esn, padTo } = parameters;
  const iv = randomBytes(8);
  const { high, low } = sequenceNumber(traffic.sequence, esn);
  return {
    sequenceHigh: high,
    sequence: low,
    traffic,
    sealer: backend.sealer(slab, { suite, esn, keymat }),
    offload: null,
    padTo,
    longest: ANY_LENGTH,
    ivHigh: iv.readUInt32BE(0) >>> 1,
    ivLow: iv.readUInt32BE(4) >>> 1,
    esn,
    ...shared(parameters, true),
  };
}

/**
 * @param keymat keymatSize(suite) bytes; the caller may wipe them
 * @param replayWindow in packets
 * @param traffic its number is the highest that was accepted with the key
 */
export function makeInbound(
  slab: Slab,
  backend: AeadBackend,
  parameters: SaParameters & { readonly replayWindow: number },
  keymat: Uint8Array,
  traffic: Traffic,
): InboundState {
  const { suite, esn, replayWindow } = parameters;
  return {
    replay: new ReplayWindow(replayWindow, esn, sequenceNumber(traffic.sequence, esn)),
    traffic,
    opener: backend.opener(slab, { suite, esn, keymat }),
    offload: null,
    ...shared(parameters, false),
  };
}
