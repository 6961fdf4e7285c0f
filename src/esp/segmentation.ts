import koffi from "koffi";
import { type PacketSlab, swap16 } from "../sys/packet-slab.js";
import { nativePath } from "../sys/paths.js";
import { Slab } from "../sys/slab.js";
import * as framing from "./framing.js";
import * as ip from "./headers.js";
import { MAX_TRAILER_SIZE } from "./packet.js";

/** IPv4 and TCP with all options take 120 bytes; the rest is for IPv6 extension headers. */
export const MAX_HEADERS = 1024;

/** native/gso.c: struct gso, in words of 4 bytes. */
const GSO = {
  packet: 0,
  headers: 1,
  transport: 2,
  payload: 3,
  segmentSize: 4,
  segments: 5,
  v6: 6,
  udp: 7,
  id: 8,
  sequence: 9,
  flags: 10,
  shared: 11,
  ipv4: 12,
  template: 13,
} as const;

/** native/gso.c: struct sealing, in words of 4 bytes. */
const SEALING = {
  cipher: 0,
  target: 2,
  spi: 3,
  sequenceHigh: 4,
  sequence: 5,
  ivHigh: 6,
  ivLow: 7,
  skipped: 8,
  nextHeader: 9,
  alignment: 10,
} as const;
const SEALING_SIZE = 12 * 4;

const library = koffi.load(nativePath("gso"));
const writeHeaders: (gso: number, packets: number, index: number) => number = library.func(
  "gso_write_headers",
  "uint32_t",
  ["uintptr_t", "uintptr_t", "uint32_t"],
);
const sealSegments: (gso: number, sealing: number, packets: number) => number = library.func(
  "gso_seal",
  "uint32_t",
  ["uintptr_t", "uintptr_t", "uintptr_t"],
);

/** How the segments of a GSO packet are sealed together. */
export interface Sealing {
  /** struct cipher of the SA. */
  readonly cipher: Slab;
  /** Offset that the first is sealed to, each other behind the one before it. */
  readonly target: number;
  readonly spi: number;
  /** Of the first. The lower half of the sequence number must not overflow. */
  readonly sequenceHigh: number;
  readonly sequence: number;
  readonly ivHigh: number;
  readonly ivLow: number;
  /** Bytes of each segment's headers that are not encrypted, and what the next of them is. */
  readonly skipped: number;
  readonly nextHeader: number;
  /** What the size of the ciphertext is a multiple of. */
  readonly alignment: number;
}

/**
 * Cuts a GSO packet read from the TUN device into the segments that the kernel would have sent, by native/gso.c. The
 * payload stays where it is: each segment's headers go in front of its payload, over the end of the segment before it,
 * which has been encrypted elsewhere by then.
 */
export class Segmenter {
  /** Bytes of the segment that `write` last returned. */
  size = 0;
  /** Bytes of headers written again so far, and of what is put back behind a segment: the only bytes that are copied. */
  copied = 0;
  /** How many segments there are. */
  segments = 0;
  /** Bytes of each segment's payload, but for a shorter last one. */
  segmentSize = 0;
  /** Bytes of headers in front of each segment's payload. */
  headers = 0;

  readonly #slab: PacketSlab;
  readonly #gso = new Slab(GSO.template * 4 + MAX_HEADERS);
  readonly #words = new Uint32Array(this.#gso.bytes.buffer);
  readonly #sealing = new Slab(SEALING_SIZE);
  readonly #sealingWords = new Uint32Array(this.#sealing.bytes.buffer);

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
    const headers = transport + transportSize;
    const payload = size - headers;
    const segmentSize = view.getUint16(frame + framing.VNET_GSO_SIZE, true);
    if (payload <= 0 || segmentSize === 0 || headers > MAX_HEADERS) return false;
    this.headers = headers;
    this.segmentSize = segmentSize;
    this.segments = Math.ceil(payload / segmentSize);
    const words = this.#words;
    words[GSO.packet] = packet;
    words[GSO.headers] = headers;
    words[GSO.transport] = transport;
    words[GSO.payload] = payload;
    words[GSO.segmentSize] = segmentSize;
    words[GSO.segments] = this.segments;
    words[GSO.v6] = v6 ? 1 : 0;
    words[GSO.udp] = udp ? 1 : 0;
    this.#takeOut(packet, transport, size - transport, checksum);
    for (let i = 0; i < headers; i += 4) words[GSO.template + i / 4] = view.getUint32(packet + i, true);
    return true;
  }

  /** Bytes of a segment. */
  sizeOf(index: number): number {
    const { headers, segmentSize } = this;
    const payload = this.#words[GSO.payload] ?? 0;
    return headers + Math.min(payload - index * segmentSize, segmentSize);
  }

  /**
   * Writes the headers of a segment in front of its payload, over the end of the segment before; to be called in order.
   * @returns the segment's first byte
   */
  write(index: number): number {
    this.size = writeHeaders(this.#gso.base, this.#slab.base, index);
    this.copied += this.headers;
    return (this.#words[GSO.packet] ?? 0) + index * this.segmentSize;
  }

  /**
   * Writes and seals all segments. MAX_TRAILER_SIZE bytes behind the packet must be there, which are as before afterwards.
   * @returns whether all were sealed
   */
  seal(sealing: Sealing): boolean {
    const words = this.#sealingWords;
    words[SEALING.cipher] = sealing.cipher.low;
    words[SEALING.cipher + 1] = sealing.cipher.high;
    words[SEALING.target] = sealing.target;
    words[SEALING.spi] = sealing.spi;
    words[SEALING.sequenceHigh] = sealing.sequenceHigh;
    words[SEALING.sequence] = sealing.sequence;
    words[SEALING.ivHigh] = sealing.ivHigh;
    words[SEALING.ivLow] = sealing.ivLow;
    words[SEALING.skipped] = sealing.skipped;
    words[SEALING.nextHeader] = sealing.nextHeader;
    words[SEALING.alignment] = sealing.alignment;
    const { segments } = this;
    this.copied += segments * (this.headers + MAX_TRAILER_SIZE);
    return sealSegments(this.#gso.base, this.#sealing.base, this.#slab.base) === segments;
  }

  /** Takes what is a segment's own out of the packet's headers, and sums the rest. */
  #takeOut(packet: number, transportOffset: number, transportLength: number, checksum: number): void {
    const { view, sum } = this.#slab;
    const words = this.#words;
    const transport = packet + transportOffset;
    // The field holds the sum of the pseudo header with the whole length: take that out (ones' complement subtraction).
    const pseudo = view.getUint16(transport + checksum, true) + (~swap16(transportLength) & 0xffff);
    view.setUint16(transport + checksum, 0);
    if (words[GSO.udp]) {
      view.setUint16(transport + ip.UDP_LENGTH, 0);
    } else {
      words[GSO.sequence] = view.getUint32(transport + ip.TCP_SEQUENCE);
      words[GSO.flags] = view.getUint8(transport + ip.TCP_FLAGS);
      view.setUint32(transport + ip.TCP_SEQUENCE, 0);
      view.setUint8(transport + ip.TCP_FLAGS, 0);
    }
    words[GSO.shared] = sum(transport, this.headers - transportOffset, pseudo);
    if (words[GSO.v6]) return;
    words[GSO.id] = view.getUint16(packet + ip.IPV4_ID);
    view.setUint16(packet + ip.IPV4_TOTAL_LENGTH, 0);
    view.setUint16(packet + ip.IPV4_ID, 0);
    view.setUint16(packet + ip.IPV4_CHECKSUM, 0);
    words[GSO.ipv4] = sum(packet, transportOffset, 0);
  }
}
