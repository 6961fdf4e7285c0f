import { fold16, type PacketSlab, swap16 } from "../sys/packet-slab.js";
import * as framing from "./framing.js";
import * as ip from "./headers.js";

/** IPv4 and TCP with all options take 120 bytes; the rest is for IPv6 extension headers. */
export const MAX_HEADERS = 1024;

/** Copies `size` bytes, a multiple of 4: where there are so few, copyWithin() takes longer. */
export function copyWords(target: DataView, to: number, source: DataView, from: number, size: number): void {
  for (let i = 0; i < size; i += 4) target.setUint32(to + i, source.getUint32(from + i));
}

/**
 * Cuts a GSO packet read from the TUN device into the segments that the kernel would have sent (net/ipv4/tcp_offload.c,
 * tcp_gso_segment; net/ipv4/udp_offload.c, __udp_gso_segment; net/ipv4/af_inet.c, inet_gso_segment). The payload stays
 * where it is: each segment's headers go in front of its payload, over the end of the segment before it, which has been
 * encrypted elsewhere by then.
 */
export class Segmenter {
  /** Bytes of the segment that `write` last returned. */
  size = 0;
  /** Bytes of headers written again so far; the only bytes that are copied. */
  copied = 0;

  readonly #slab: PacketSlab;
  /** The first segment's headers, whose place later ones may be written over. */
  readonly #headers = new DataView(new ArrayBuffer(MAX_HEADERS));
  #packet = 0;
  /** Length of all headers, and of those before the transport header. */
  #header = 0;
  #transport = 0;
  #payload = 0;
  #segmentSize = 0;
  #v6 = false;
  #udp = false;
  #id = 0;
  #sequence = 0;
  #flags = 0;
  /**
   * Sums over what every segment shares: the pseudo header with the transport header, and an IPv4 header, all without what
   * is a segment's own.
   */
  #shared = 0;
  #ipv4 = 0;

  constructor(slab: PacketSlab) {
    this.#slab = slab;
  }

  /**
   * Takes the framed GSO packet of `length` bytes at `frame`.
   * @returns false when it is of a type that we did not offer, or its headers do not hold together
   */
  start(frame: number, length: number): boolean {
    const { view } = this.#slab;
    const packet = frame + framing.FRAME_HEADER_SIZE;
    const size = length - framing.FRAME_HEADER_SIZE;
    const type = view.getUint8(frame + framing.VNET_GSO_TYPE) & ~framing.VIRTIO_NET_HDR_GSO_ECN;
    const transport = view.getUint16(frame + framing.VNET_CSUM_START, true) - framing.SHIM_SIZE;
    const checksum = view.getUint16(frame + framing.VNET_CSUM_OFFSET, true);
    const v6 = view.getUint16(frame + framing.PI_PROTO) === framing.ETH_P_IPV6;
    const udp = type === framing.VIRTIO_NET_HDR_GSO_UDP_L4;
    if (!udp && type !== (v6 ? framing.VIRTIO_NET_HDR_GSO_TCPV6 : framing.VIRTIO_NET_HDR_GSO_TCPV4))
      return false;
    if (!(view.getUint8(frame + framing.VNET_FLAGS) & framing.VIRTIO_NET_HDR_F_NEEDS_CSUM)) return false;
    if (checksum !== (udp ? ip.UDP_CHECKSUM : ip.TCP_CHECKSUM)) return false;
    if (transport + (udp ? ip.UDP_HEADER_SIZE : ip.TCP_HEADER_SIZE) > size) return false;
    if (v6 ? transport < ip.IPV6_HEADER_SIZE : transport < ip.IPV4_HEADER_SIZE) return false;
    if (!v6 && transport !== (view.getUint8(packet) & 15) * 4) return false;
    const transportSize = udp
      ? ip.UDP_HEADER_SIZE
      : (view.getUint8(packet + transport + ip.TCP_FLAG_WORD) >>> 4) * 4;
    if (!udp && transportSize < ip.TCP_HEADER_SIZE) return false;
    this.#packet = packet;
    this.#transport = transport;
    this.#header = transport + transportSize;
    this.#payload = size - this.#header;
    this.#segmentSize = view.getUint16(frame + framing.VNET_GSO_SIZE, true);
    this.#v6 = v6;
    this.#udp = udp;
    if (this.#payload <= 0 || this.#segmentSize === 0 || this.#header > MAX_HEADERS) return false;
    this.#remember(size - transport, checksum);
    copyWords(this.#headers, 0, view, packet, this.#header);
    return true;
  }

  /** How many segments there are. */
  get segments(): number {
    return Math.ceil(this.#payload / this.#segmentSize);
  }

  /** Bytes of each segment's payload, but for a shorter last one. */
  get segmentSize(): number {
    return this.#segmentSize;
  }

  /** Bytes of headers in front of each segment's payload. */
  get headers(): number {
    return this.#header;
  }

  /**
   * Looks at a segment, whose `size` is known then.
   * @returns the place of its first byte, which is the segment's before it as long as its headers are not written
   */
  locate(index: number): number {
    const done = index * this.#segmentSize;
    this.size = this.#header + Math.min(this.#payload - done, this.#segmentSize);
    return this.#packet + done;
  }

  /**
   * Writes the headers of a segment in front of its payload, over the end of the segment before.
   * @returns the segment's first byte
   */
  write(index: number): number {
    const segment = this.locate(index);
    this.writeHeaders(this.#slab.view, segment, index);
    this.copied += this.#header;
    return segment;
  }

  /** Writes the headers of the segment that `locate` was last asked for to another place. */
  writeHeaders(view: DataView, at: number, index: number): void {
    copyWords(view, at, this.#headers, 0, this.#header);
    if (this.#v6) view.setUint16(at + ip.IPV6_PAYLOAD_LENGTH, this.size - ip.IPV6_HEADER_SIZE);
    else this.#writeIpv4(view, at, (this.#id + index) & 0xffff);
    if (this.#udp) this.#writeUdp(view, at + this.#transport, index);
    else this.#writeTcp(view, at + this.#transport, index);
  }

  /** Takes what is a segment's own out of the headers, and sums the rest. */
  #remember(transportLength: number, checksum: number): void {
    const { view, sum } = this.#slab;
    const packet = this.#packet;
    const transport = packet + this.#transport;
    // The field holds the sum of the pseudo header with the whole length: take that out (ones' complement subtraction).
    const pseudo = view.getUint16(transport + checksum, true) + (~swap16(transportLength) & 0xffff);
    view.setUint16(transport + checksum, 0);
    if (this.#udp) {
      view.setUint16(transport + ip.UDP_LENGTH, 0);
    } else {
      this.#sequence = view.getUint32(transport + ip.TCP_SEQUENCE);
      this.#flags = view.getUint8(transport + ip.TCP_FLAGS);
      view.setUint32(transport + ip.TCP_SEQUENCE, 0);
      view.setUint8(transport + ip.TCP_FLAGS, 0);
    }
    this.#shared = sum(transport, this.#header - this.#transport, pseudo);
    if (this.#v6) return;
    this.#id = view.getUint16(packet + ip.IPV4_ID);
    view.setUint16(packet + ip.IPV4_TOTAL_LENGTH, 0);
    view.setUint16(packet + ip.IPV4_ID, 0);
    view.setUint16(packet + ip.IPV4_CHECKSUM, 0);
    this.#ipv4 = sum(packet, this.#transport, 0);
  }

  #writeIpv4(view: DataView, at: number, id: number): void {
    view.setUint16(at + ip.IPV4_TOTAL_LENGTH, this.size);
    view.setUint16(at + ip.IPV4_ID, id);
    const sum = fold16(this.#ipv4 + swap16(this.size) + swap16(id));
    view.setUint16(at + ip.IPV4_CHECKSUM, ~sum & 0xffff, true);
  }

  #writeTcp(view: DataView, at: number, index: number): void {
    const done = index * this.#segmentSize;
    const sequence = (this.#sequence + done) >>> 0;
    let flags = this.#flags;
    // Only the last segment ends the burst, and only the first reports a reduced window (RFC 3168 section 6.1.2).
    if (done + this.#segmentSize < this.#payload) flags &= ~(ip.TCP_FIN | ip.TCP_PSH);
    if (index > 0) flags &= ~ip.TCP_CWR;
    view.setUint8(at + ip.TCP_FLAGS, flags);
    view.setUint32(at + ip.TCP_SEQUENCE, sequence);
    // The flags are the second byte of a word.
    const own = swap16(sequence >>> 16) + swap16(sequence & 0xffff) + (flags << 8);
    view.setUint16(at + ip.TCP_CHECKSUM, this.#checksum(index, own), true);
  }

  #writeUdp(view: DataView, at: number, index: number): void {
    const length = this.size - this.#transport;
    view.setUint16(at + ip.UDP_LENGTH, length);
    view.setUint16(at + ip.UDP_CHECKSUM, this.#checksum(index, swap16(length)), true);
  }

  /** @param own the sum of what of the transport header is the segment's own */
  #checksum(index: number, own: number): number {
    const payload = this.#packet + this.#header + index * this.#segmentSize;
    const seed = this.#shared + swap16(this.size - this.#transport) + own;
    // 0 would mean none in UDP (RFC 768); for TCP it is the same number.
    return ~this.#slab.sum(payload, this.size - this.#header, seed) & 0xffff || 0xffff;
  }
}
