import { IOV_BASE, IOV_LEN, IOVEC_SIZE } from "../sys/msghdr.js";
import { fold16, type PacketSlab } from "../sys/packet-slab.js";
import { Slab } from "../sys/slab.js";
import type { Burst } from "./burst.js";
import { Candidate } from "./candidate.js";
import * as framing from "./framing.js";
import * as ip from "./headers.js";

/** As UDP_GRO_CNT_MAX in net/ipv4/udp_offload.c; 64 of a usual size fill a packet anyway. */
const MAX_SEGMENTS = 64;
/** So that the IP length fits its 16 bits, and the packet with its shim is no longer than any other can be. */
const MAX_SIZE = 65535 - framing.SHIM_SIZE;

/** A run of packets of one flow that leave as one GSO packet. The payloads stay where they are. */
export class Train {
  /** Packets in it; 0 when it is free. */
  count = 0;
  readonly head: Candidate;
  /** Address of the struct iovec array, `count` of them. */
  readonly vector: number;
  readonly #slab: PacketSlab;
  readonly #iovecs = new Slab(MAX_SEGMENTS * IOVEC_SIZE);
  /** Length of the IP packet as it is to be. */
  #length = 0;
  /** As a signed number: all 32 bits of it are a small integer then. Only of TCP. */
  #nextSequence = 0;
  #fixedId = false;
  /** PSH and FIN of the last packet. */
  #ending = 0;

  constructor(slab: PacketSlab) {
    this.#slab = slab;
    this.head = new Candidate(slab);
    this.vector = this.#iovecs.base;
  }

  start(first: Candidate): void {
    const { view } = this.#slab;
    this.head.copyFrom(first);
    this.count = 1;
    this.#length = first.header + first.payload;
    this.#ending = 0;
    this.#fixedId = false;
    if (!first.udp) {
      this.#nextSequence =
        (view.getInt32(first.packet + first.transport + ip.TCP_SEQUENCE) + first.payload) | 0;
    }
    // The frame's header, the packet's and its payload lie next to each other.
    this.#setIovec(0, first.frame, framing.FRAME_HEADER_SIZE + this.#length);
  }

  /** Holds any one framed packet, which is to be written as it is. */
  hold(frame: number, size: number): void {
    this.#setIovec(0, frame, size);
  }

  /**
   * Whether a mergeable packet of the flow continues this train so that cutting it again gives the same packets:
   * net/core/gro.c (inet_gro_flush), net/ipv4/tcp_offload.c (tcp_gro_receive) and net/ipv4/udp_offload.c
   * (udp_gro_receive_segment).
   */
  accepts(next: Candidate): boolean {
    const { head } = this;
    return (
      this.count < MAX_SEGMENTS &&
      this.#length + next.payload <= MAX_SIZE &&
      next.payload <= head.payload &&
      (head.v6 ? this.#sameIpv6(next) : this.#sameIpv4(next)) &&
      (head.udp || this.#continuesTcp(next))
    );
  }

  /**
   * Adds what of a burst continues this train as a sender's bursts do: as long as the first packet, and with its very
   * headers but for what counts up.
   * @returns how many joined
   */
  continueWith(burst: Burst): number {
    const { head, count } = this;
    if (count === 0 || this.full) return 0;
    const { payload } = head;
    const most = Math.min(MAX_SEGMENTS - count, Math.floor((MAX_SIZE - this.#length) / payload));
    const iovec = count * IOVEC_SIZE;
    const joined = burst.open(head, count, this.#fixedId, this.#nextSequence, this.#iovecs, iovec, most);
    this.count += joined;
    this.#length += joined * payload;
    this.#nextSequence = (this.#nextSequence + joined * payload) | 0;
    return joined;
  }

  get full(): boolean {
    return this.count === MAX_SEGMENTS;
  }

  /** Adds a packet that `accepts` took. @returns whether it must be the last */
  append(next: Candidate): boolean {
    const { view } = this.#slab;
    const { head } = this;
    if (this.count === 1 && !head.v6) {
      this.#fixedId = view.getUint16(next.packet + ip.IPV4_ID) === view.getUint16(head.packet + ip.IPV4_ID);
    }
    this.#setIovec(this.count++, next.packet + next.header, next.payload);
    this.#length += next.payload;
    if (!head.udp) {
      this.#nextSequence = (this.#nextSequence + next.payload) | 0;
      this.#ending = view.getUint8(next.packet + next.transport + ip.TCP_FLAGS) & (ip.TCP_PSH | ip.TCP_FIN);
    }
    return next.payload < head.payload || this.#ending !== 0 || this.count === MAX_SEGMENTS;
  }

  /** Makes the first packet's headers those of the GSO packet (virtio specification, 5.1.6.2). */
  finish(): void {
    if (this.count < 2) return;
    const { view } = this.#slab;
    const { frame, packet, transport, header, payload, v6, udp } = this.head;
    const at = packet + transport;
    const transportLength = this.#length - transport;
    if (v6) view.setUint16(packet + ip.IPV6_PAYLOAD_LENGTH, transportLength);
    else this.#finishIpv4(packet);
    const pseudo = fold16(this.head.pseudoSum(transportLength));
    if (udp) {
      view.setUint16(at + ip.UDP_LENGTH, transportLength);
    } else {
      view.setUint8(at + ip.TCP_FLAGS, view.getUint8(at + ip.TCP_FLAGS) | this.#ending);
    }
    const checksum = udp ? ip.UDP_CHECKSUM : ip.TCP_CHECKSUM;
    view.setUint16(at + checksum, pseudo, true);
    const tcp = v6 ? framing.VIRTIO_NET_HDR_GSO_TCPV6 : framing.VIRTIO_NET_HDR_GSO_TCPV4;
    view.setUint8(frame + framing.VNET_FLAGS, framing.VIRTIO_NET_HDR_F_NEEDS_CSUM);
    view.setUint8(frame + framing.VNET_GSO_TYPE, udp ? framing.VIRTIO_NET_HDR_GSO_UDP_L4 : tcp);
    view.setUint16(frame + framing.VNET_HDR_LEN, header + framing.SHIM_SIZE, true);
    view.setUint16(frame + framing.VNET_GSO_SIZE, payload, true);
    view.setUint16(frame + framing.VNET_CSUM_START, transport + framing.SHIM_SIZE, true);
    view.setUint16(frame + framing.VNET_CSUM_OFFSET, checksum, true);
  }

  #finishIpv4(packet: number): void {
    const { view, sum } = this.#slab;
    view.setUint16(packet + ip.IPV4_TOTAL_LENGTH, this.#length);
    view.setUint16(packet + ip.IPV4_CHECKSUM, 0);
    view.setUint16(packet + ip.IPV4_CHECKSUM, ~sum(packet, ip.IPV4_HEADER_SIZE, 0) & 0xffff, true);
  }

  #sameIpv4(next: Candidate): boolean {
    const { view } = this.#slab;
    const a = this.head.packet;
    const b = next.packet;
    const fragment = view.getUint16(a + ip.IPV4_FRAGMENT);
    if (
      view.getUint8(a + ip.IPV4_TOS) !== view.getUint8(b + ip.IPV4_TOS) ||
      view.getUint8(a + ip.IPV4_TTL) !== view.getUint8(b + ip.IPV4_TTL) ||
      fragment !== view.getUint16(b + ip.IPV4_FRAGMENT)
    ) {
      return false;
    }
    const step = (view.getUint16(b + ip.IPV4_ID) - view.getUint16(a + ip.IPV4_ID)) & 0xffff;
    // Identifiers count up; or stay the same where nothing can be fragmented (RFC 6864 section 4.1).
    const mayStay = (fragment & ip.IPV4_DF) !== 0 && (this.count === 1 || this.#fixedId);
    return (step === this.count && !this.#fixedId) || (step === 0 && mayStay);
  }

  /** Traffic class, flow label and hop limit. */
  #sameIpv6(next: Candidate): boolean {
    const { view } = this.#slab;
    const a = this.head.packet;
    const b = next.packet;
    return (
      view.getUint32(a) === view.getUint32(b) &&
      view.getUint8(a + ip.IPV6_HOP_LIMIT) === view.getUint8(b + ip.IPV6_HOP_LIMIT)
    );
  }

  #continuesTcp(next: Candidate): boolean {
    const { view } = this.#slab;
    const a = this.head.packet + this.head.transport;
    const b = next.packet + next.transport;
    // PSH and FIN may differ: they end the train. Byte 13 of the header is the word's second.
    const different = (view.getUint32(a + ip.TCP_FLAG_WORD) ^ view.getUint32(b + ip.TCP_FLAG_WORD)) >>> 0;
    return (
      (different & ~((ip.TCP_PSH | ip.TCP_FIN) << 16)) === 0 &&
      view.getInt32(b + ip.TCP_SEQUENCE) === this.#nextSequence &&
      view.getUint32(a + ip.TCP_ACKNOWLEDGMENT) === view.getUint32(b + ip.TCP_ACKNOWLEDGMENT) &&
      view.getUint16(a + ip.TCP_URGENT) === view.getUint16(b + ip.TCP_URGENT) &&
      this.head.sameOptions(next)
    );
  }

  #setIovec(index: number, offset: number, length: number): void {
    const at = index * IOVEC_SIZE;
    this.#iovecs.setAddress(at + IOV_BASE, this.#slab, offset);
    this.#iovecs.view.setUint32(at + IOV_LEN, length, true);
  }
}
