import type { Slab } from "../sys/slab.js";
import type { Opener } from "./aead.js";
import type { InboundEntry, State } from "./database.js";
import * as framing from "./framing.js";
import * as esp from "./packet.js";
import type { ReplayWindow } from "./replay.js";
import { COUNTER, type Counters, type Traffic } from "./statistics.js";

/** An inbound SA. Its cipher must work on the Slab that the packets are in. */
export interface InboundState extends State {
  readonly opener: Opener;
  readonly traffic: Traffic;
  readonly replay: ReplayWindow;
}

/** Bytes in front of a received ESP packet that the frame's header reaches back over. */
export const HEADROOM = framing.FRAME_HEADER_SIZE - esp.ESP_PAYLOAD;

/** RFC 3948 section 2.3. */
const NAT_KEEPALIVE = 0xff;
const NON_ESP_MARKER_SIZE = 4;
const MIN_IPV4_SIZE = 20;
const MIN_IPV6_SIZE = 40;

/**
 * Turns received UDP payloads into framed packets for the TUN device. Does no I/O. The order of the checks, and what
 * each failure counts as, follow net/xfrm/xfrm_input.c.
 */
export class Inbound {
  readonly #slab: Slab;
  readonly #counters: Counters;

  constructor(slab: Slab, counters: Counters) {
    this.#slab = slab;
    this.#counters = counters;
  }

  /**
   * Opens the UDP payload of `length` bytes at `packet` in place. On success the frame (framing.ts) starts HEADROOM
   * bytes before `packet`. Nothing of a packet that fails any check is to be released.
   * @param states the SAs of the address that the packet was sent to, by SPI
   * @param link ifindex on which the packet came in, 0 when unknown
   * @returns size of the frame, or 0 when dropped
   */
  process(
    packet: number,
    length: number,
    states: ReadonlyMap<number, InboundEntry<InboundState>>,
    link: number,
  ): number {
    const { view } = this.#slab;
    if (length === 1 && view.getUint8(packet) === NAT_KEEPALIVE) return this.#drop(COUNTER.keepalives);
    if (length < NON_ESP_MARKER_SIZE) return this.#drop(COUNTER.XfrmInHdrError);
    const spi = view.getUint32(packet + esp.ESP_SPI);
    if (spi === 0) return this.#drop(COUNTER.nonEspMarkers);
    if (length < esp.ESP_IV) return this.#drop(COUNTER.XfrmInHdrError);

    const entry = states.get(spi);
    if (entry === undefined) return this.#drop(COUNTER.XfrmInNoStates);
    const { state, verdict } = entry;
    const sequence = view.getUint32(packet + esp.ESP_SEQUENCE);
    if (!state.replay.check(sequence)) return this.#drop(COUNTER.XfrmInStateSeqError);

    const text = packet + esp.ESP_PAYLOAD;
    const textSize = length - esp.ESP_PAYLOAD - esp.ICV_SIZE;
    if (textSize <= esp.TRAILER_SIZE) return this.#drop(COUNTER.XfrmInStateProtoError);
    this.#counters.add(COUNTER.openedBytes, textSize);
    if (!state.opener.open(packet, packet + esp.ESP_IV, text, textSize, text)) {
      return this.#drop(COUNTER.XfrmInStateProtoError);
    }
    // net/ipv4/esp4.c, esp_remove_trailer: padding may not eat the whole payload.
    const size = textSize - esp.TRAILER_SIZE - view.getUint8(text + textSize - 2);
    if (size <= 0) return this.#drop(COUNTER.XfrmInStateProtoError);
    const nextHeader = view.getUint8(text + textSize - 1);

    state.replay.accept(sequence);
    if (nextHeader === esp.IPPROTO_NONE) return this.#drop(COUNTER.dummies);
    state.traffic.add(size);
    const protocol = innerProtocol(nextHeader, size, view.getUint8(text) >>> 4);
    if (protocol === 0) return this.#drop(COUNTER.XfrmInStateModeError);
    if (verdict !== "accept") {
      return this.#drop(verdict === "no-policy" ? COUNTER.XfrmInNoPols : COUNTER.XfrmInTmplMismatch);
    }
    this.#writeHeader(packet - HEADROOM, protocol, state.ifId, link);
    return framing.FRAME_HEADER_SIZE + size;
  }

  /** Over the SPI, sequence number and IV, which have served. */
  #writeHeader(frame: number, protocol: number, ifId: number, link: number): void {
    const { view } = this.#slab;
    view.setUint16(frame + framing.PI_FLAGS, 0, true);
    view.setUint16(frame + framing.PI_PROTO, protocol);
    // All fields of the struct virtio_net_hdr; fill() costs more than the rest of this.
    view.setUint32(frame + framing.VNET_HDR, 0);
    view.setUint32(frame + framing.VNET_HDR + 4, 0);
    view.setUint16(frame + framing.VNET_HDR + 8, 0);
    view.setUint32(frame + framing.SHIM_IF_ID, ifId, true);
    view.setInt32(frame + framing.SHIM_LINK, link, true);
  }

  #drop(counter: number): 0 {
    this.#counters.count(counter);
    return 0;
  }
}

/** @returns the EtherType of an inner packet, or 0 when tunnel mode cannot hold it: the TC program relies on this. */
function innerProtocol(nextHeader: number, size: number, version: number): number {
  if (nextHeader === esp.IPPROTO_IPIP) return size >= MIN_IPV4_SIZE && version === 4 ? framing.ETH_P_IP : 0;
  if (nextHeader === esp.IPPROTO_IPV6) return size >= MIN_IPV6_SIZE && version === 6 ? framing.ETH_P_IPV6 : 0;
  return 0;
}
