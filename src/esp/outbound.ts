import type { Slab } from "../sys/slab.js";
import type { Sealer } from "./aead.js";
import { completeChecksum } from "./checksum.js";
import type { State } from "./database.js";
import * as framing from "./framing.js";
import * as esp from "./packet.js";
import { COUNTER, type Counters, type Traffic } from "./statistics.js";

/** The last sequence number of an SA without extended sequence numbers (RFC 4303 section 3.3.3). */
const LAST_SEQUENCE = 0xffffffff;

/** An outbound SA. Its cipher must work on the Slab that the packets are in. */
export interface OutboundState extends State {
  readonly sealer: Sealer;
  readonly traffic: Traffic;
  /** Number of the last packet sent, 0 before the first. */
  sequence: number;
  /**
   * The explicit IV is this 64-bit number plus the sequence number. Random for each SA, so that manual keys which are
   * used again after a restart do not meet the same nonce again (RFC 4106 section 3.1 asks only for uniqueness).
   */
  readonly ivHigh: number;
  readonly ivLow: number;
}

/** Turns packets read from the TUN device into ESP packets. Does no I/O. */
export class Outbound<S extends OutboundState> {
  /** The if_id lookup; replace it to change every SA and policy between two packets. */
  table: ReadonlyMap<number, S | null> = new Map();
  /** The SA that the last packet was sealed under. */
  state: S | null = null;
  /** The link that the last packet's metadata named, 0 for none. */
  link = 0;

  readonly #slab: Slab;
  readonly #counters: Counters;

  constructor(slab: Slab, counters: Counters) {
    this.#slab = slab;
    this.#counters = counters;
  }

  /**
   * Seals the framed packet of `length` bytes (framing.ts) at `frame` into an ESP packet at `target`. Up to 5
   * bytes behind the frame are overwritten by padding and trailer. A packet that cannot be sealed is counted and dropped.
   * @returns size of the ESP packet, or 0 when dropped
   */
  process(frame: number, length: number, target: number): number {
    const { view, bytes } = this.#slab;
    this.state = null;
    const nextHeader = this.#check(frame, length);
    if (nextHeader === 0) return this.#drop(COUNTER.XfrmOutError);

    const state = this.table.get(view.getUint32(frame + framing.SHIM_IF_ID, true));
    if (state === undefined) return this.#drop(COUNTER.txCarrierErrors);
    if (state === null) {
      // The kernel counts this twice as well: in xfrm_lookup_with_ifid and on the xfrm device.
      this.#counters.count(COUNTER.txCarrierErrors);
      return this.#drop(COUNTER.XfrmOutNoStates);
    }
    if (state.sequence === LAST_SEQUENCE) return this.#drop(COUNTER.XfrmOutStateSeqError);

    const packet = frame + framing.FRAME_HEADER_SIZE;
    const size = length - framing.FRAME_HEADER_SIZE;
    // The number is used up even if sealing fails: an IV must never meet two texts.
    state.sequence++;
    const ivLow = state.ivLow + state.sequence;
    view.setUint32(target + esp.ESP_SPI, state.spi);
    view.setUint32(target + esp.ESP_SEQUENCE, state.sequence);
    view.setUint32(target + esp.ESP_IV, state.ivHigh + (ivLow > 0xffffffff ? 1 : 0));
    view.setUint32(target + esp.ESP_IV + 4, ivLow);
    const trailer = esp.writeTrailer(bytes, packet + size, size, nextHeader);
    const text = size + trailer;
    if (!state.sealer.seal(target, target + esp.ESP_IV, packet, text, target + esp.ESP_PAYLOAD)) {
      return this.#drop(COUNTER.XfrmOutStateProtoError);
    }
    state.traffic.add(size);
    this.state = state;
    this.link = view.getInt32(frame + framing.SHIM_LINK, true);
    return esp.ESP_PAYLOAD + text + esp.ICV_SIZE;
  }

  /** Completes the checksum where asked. @returns the next header, or 0 for a frame that we cannot take */
  #check(frame: number, length: number): number {
    const { view } = this.#slab;
    const packet = frame + framing.FRAME_HEADER_SIZE;
    if (length <= framing.FRAME_HEADER_SIZE) return 0;
    if ((view.getUint16(frame + framing.PI_FLAGS, true) & framing.TUN_PKT_STRIP) !== 0) return 0;
    // Segmentation is not offered to the kernel, so any GSO type here is an error.
    if (view.getUint8(frame + framing.VNET_GSO_TYPE) !== 0) return 0;
    if ((view.getUint8(frame + framing.VNET_FLAGS) & framing.VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0) {
      const start = view.getUint16(frame + framing.VNET_CSUM_START, true) - framing.SHIM_SIZE;
      const field = start + view.getUint16(frame + framing.VNET_CSUM_OFFSET, true);
      const size = length - framing.FRAME_HEADER_SIZE;
      if (start < 0 || field + 2 > size) return 0;
      completeChecksum(view, packet + start, packet + size, packet + field);
    }
    const protocol = view.getUint16(frame + framing.PI_PROTO);
    if (protocol === framing.ETH_P_IP) return esp.IPPROTO_IPIP;
    return protocol === framing.ETH_P_IPV6 ? esp.IPPROTO_IPV6 : 0;
  }

  #drop(counter: number): 0 {
    this.#counters.count(counter);
    return 0;
  }
}
