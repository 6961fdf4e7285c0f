import type { PacketSlab } from "../sys/packet-slab.js";
import type { Sealer } from "./aead.js";
import type { State } from "./database.js";
import * as framing from "./framing.js";
import * as esp from "./packet.js";
import { Segmenter } from "./segmentation.js";
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

/** Where ESP packets go. */
export interface EspSink<S> {
  /** Makes room for the next ESP packet. @returns where to seal it to, in the same Slab */
  reserve(size: number): number;
  /** Takes the ESP packet of `size` bytes that was sealed to the place last reserved. */
  commit(state: S, link: number, size: number): void;
}

/** Turns packets read from the TUN device into ESP packets: a GSO packet into one for each segment. Does no I/O. */
export class Outbound<S extends OutboundState> {
  /** The if_id lookup; replace it to change every SA and policy between two packets. */
  table: ReadonlyMap<number, S | null> = new Map();

  readonly #slab: PacketSlab;
  readonly #counters: Counters;
  readonly #sink: EspSink<S>;
  readonly #segmenter: Segmenter;

  constructor(slab: PacketSlab, counters: Counters, sink: EspSink<S>) {
    this.#slab = slab;
    this.#counters = counters;
    this.#sink = sink;
    this.#segmenter = new Segmenter(slab);
  }

  /**
   * Seals the framed packet of `length` bytes (framing.ts) at `frame` into the sink. The frame is used up, and 8 bytes
   * behind it must be there. What cannot be sealed is counted and dropped.
   */
  process(frame: number, length: number): void {
    const { view } = this.#slab;
    const nextHeader = this.#check(frame, length);
    if (nextHeader === 0) {
      this.#counters.count(COUNTER.XfrmOutError);
      return;
    }

    const state = this.table.get(view.getUint32(frame + framing.SHIM_IF_ID, true));
    if (state === undefined) {
      this.#counters.count(COUNTER.txCarrierErrors);
      return;
    }
    if (state === null) {
      // The kernel counts this twice as well: in xfrm_lookup_with_ifid and on the xfrm device.
      this.#counters.count(COUNTER.txCarrierErrors);
      this.#counters.count(COUNTER.XfrmOutNoStates);
      return;
    }
    const link = view.getInt32(frame + framing.SHIM_LINK, true);
    if (view.getUint8(frame + framing.VNET_GSO_TYPE) === framing.VIRTIO_NET_HDR_GSO_NONE) {
      const packet = frame + framing.FRAME_HEADER_SIZE;
      this.#seal(state, link, nextHeader, packet, length - framing.FRAME_HEADER_SIZE);
      return;
    }
    const segmenter = this.#segmenter;
    if (!segmenter.start(frame, length)) {
      this.#counters.count(COUNTER.XfrmOutError);
      return;
    }
    const before = segmenter.copied;
    for (let packet = segmenter.next(); packet >= 0; packet = segmenter.next()) {
      this.#seal(state, link, nextHeader, packet, segmenter.size);
    }
    this.#counters.add(COUNTER.copiedBytes, segmenter.copied - before);
  }

  #seal(state: S, link: number, nextHeader: number, packet: number, size: number): void {
    const { view, bytes } = this.#slab;
    if (state.sequence === LAST_SEQUENCE) {
      this.#counters.count(COUNTER.XfrmOutStateSeqError);
      return;
    }
    // The trailer goes over the first bytes of the next segment's payload, at most 5, which are put back afterwards.
    const end = packet + size;
    const next = view.getUint32(end);
    const nextByte = view.getUint8(end + 4);
    const text = size + esp.writeTrailer(bytes, end, size, nextHeader);
    const total = esp.ESP_PAYLOAD + text + esp.ICV_SIZE;
    const target = this.#sink.reserve(total);
    // The number is used up even if sealing fails: an IV must never meet two texts.
    state.sequence++;
    const ivLow = state.ivLow + state.sequence;
    view.setUint32(target + esp.ESP_SPI, state.spi);
    view.setUint32(target + esp.ESP_SEQUENCE, state.sequence);
    view.setUint32(target + esp.ESP_IV, state.ivHigh + (ivLow > 0xffffffff ? 1 : 0));
    view.setUint32(target + esp.ESP_IV + 4, ivLow);
    const sealed = state.sealer.seal(target, target + esp.ESP_IV, packet, text, target + esp.ESP_PAYLOAD);
    view.setUint32(end, next);
    view.setUint8(end + 4, nextByte);
    if (!sealed) {
      this.#counters.count(COUNTER.XfrmOutStateProtoError);
      return;
    }
    state.traffic.add(size);
    this.#counters.add(COUNTER.sealedBytes, text);
    this.#sink.commit(state, link, total);
  }

  /** Completes the checksum where asked. @returns the next header, or 0 for a frame that we cannot take */
  #check(frame: number, length: number): number {
    const { view } = this.#slab;
    if (length <= framing.FRAME_HEADER_SIZE) return 0;
    if ((view.getUint16(frame + framing.PI_FLAGS, true) & framing.TUN_PKT_STRIP) !== 0) return 0;
    const needsChecksum =
      (view.getUint8(frame + framing.VNET_FLAGS) & framing.VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0;
    const segmented = view.getUint8(frame + framing.VNET_GSO_TYPE) !== framing.VIRTIO_NET_HDR_GSO_NONE;
    if (needsChecksum && !segmented && !this.#completeChecksum(frame, length)) return 0;
    const protocol = view.getUint16(frame + framing.PI_PROTO);
    if (protocol === framing.ETH_P_IP) return esp.IPPROTO_IPIP;
    return protocol === framing.ETH_P_IPV6 ? esp.IPPROTO_IPV6 : 0;
  }

  /**
   * The field already holds the pseudo header's sum. A result of 0 becomes 0xffff, as in net/core/dev.c
   * (skb_checksum_help).
   */
  #completeChecksum(frame: number, length: number): boolean {
    const { view, sum } = this.#slab;
    const packet = frame + framing.FRAME_HEADER_SIZE;
    const size = length - framing.FRAME_HEADER_SIZE;
    const start = view.getUint16(frame + framing.VNET_CSUM_START, true) - framing.SHIM_SIZE;
    const field = start + view.getUint16(frame + framing.VNET_CSUM_OFFSET, true);
    if (start < 0 || field + 2 > size) return false;
    view.setUint16(packet + field, ~sum(packet + start, size - start, 0) & 0xffff || 0xffff, true);
    return true;
  }
}
