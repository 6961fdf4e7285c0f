/** Builders for TCP and UDP packets with right checksums, and the plainest segmentation there can be. */
import * as framing from "../../src/esp/framing.js";

export interface TransportOptions {
  readonly family?: 4 | 6;
  readonly protocol?: "tcp" | "udp";
  readonly payload?: Uint8Array;
  readonly source?: number;
  readonly sourcePort?: number;
  readonly sequence?: number;
  readonly acknowledgment?: number;
  readonly flags?: number;
  readonly window?: number;
  readonly urgent?: number;
  /** A multiple of 4 bytes. */
  readonly options?: Uint8Array;
  readonly id?: number;
  readonly df?: boolean;
  readonly fragment?: number;
  readonly tos?: number;
  readonly ttl?: number;
  readonly flowLabel?: number;
  /** A multiple of 4 bytes, IPv4 only. */
  readonly ipOptions?: Uint8Array;
  /** Leaves the UDP checksum out. */
  readonly noChecksum?: boolean;
}

export const FIN = 1;
export const SYN = 2;
export const RST = 4;
export const PSH = 8;
export const ACK = 16;
export const URG = 32;
export const ECE = 64;
export const CWR = 128;

/** Sum of 16-bit words in network order, folded (RFC 1071). */
function sum(bytes: Uint8Array): number {
  let total = 0;
  for (let i = 0; i < bytes.length; i += 2) total += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

function pseudoHeader(packet: Buffer, family: 4 | 6, protocol: number, length: number): Buffer {
  const tail = Buffer.alloc(8);
  tail.writeUInt32BE(length, 0);
  tail.writeUInt32BE(protocol, 4);
  return Buffer.concat([family === 4 ? packet.subarray(12, 20) : packet.subarray(8, 40), tail]);
}

/** Writes the checksum of an IPv4 header. */
export function completeIpv4(packet: Buffer): void {
  packet.writeUInt16BE(0, 10);
  packet.writeUInt16BE(~sum(packet.subarray(0, ipHeaderSize(packet))) & 0xffff, 10);
}

/** Length of the IP header of a packet built here. */
const ipHeaderSize = (packet: Buffer): number =>
  (packet[0] as number) >>> 4 === 6 ? 40 : ((packet[0] as number) & 15) * 4;

/** Fills in both checksums. */
function seal(packet: Buffer, noChecksum = false): Buffer {
  const family = (packet[0] as number) >>> 4 === 6 ? 6 : 4;
  const at = ipHeaderSize(packet);
  const protocol = packet[family === 4 ? 9 : 6] as number;
  if (family === 4) {
    packet.writeUInt16BE(0, 10);
    packet.writeUInt16BE(~sum(packet.subarray(0, at)) & 0xffff, 10);
  }
  const field = at + (protocol === 17 ? 6 : 16);
  packet.writeUInt16BE(0, field);
  if (noChecksum) return packet;
  const pseudo = pseudoHeader(packet, family, protocol, packet.length - at);
  const value = ~sum(Buffer.concat([pseudo, packet.subarray(at)])) & 0xffff;
  packet.writeUInt16BE(value || 0xffff, field);
  return packet;
}

/** A whole packet with right lengths and checksums. */
export function build(options: TransportOptions = {}): Buffer {
  const { family = 4, protocol = "tcp", payload = Buffer.alloc(0) } = options;
  const ipOptions = family === 4 ? (options.ipOptions ?? Buffer.alloc(0)) : Buffer.alloc(0);
  const tcpOptions = protocol === "tcp" ? (options.options ?? Buffer.alloc(0)) : Buffer.alloc(0);
  const at = family === 4 ? 20 + ipOptions.length : 40;
  const header = protocol === "tcp" ? 20 + tcpOptions.length : 8;
  const packet = Buffer.alloc(at + header + payload.length);
  const number = protocol === "tcp" ? 6 : 17;
  if (family === 4) {
    packet.writeUInt8(0x40 | (at / 4), 0);
    packet.writeUInt8(options.tos ?? 0, 1);
    packet.writeUInt16BE(packet.length, 2);
    packet.writeUInt16BE(options.id ?? 0, 4);
    packet.writeUInt16BE(((options.df ?? true) ? 0x4000 : 0) | (options.fragment ?? 0), 6);
    packet.writeUInt8(options.ttl ?? 64, 8);
    packet.writeUInt8(number, 9);
    packet.set([10, 0, 0, options.source ?? 1, 10, 1, 0, 1], 12);
    packet.set(ipOptions, 20);
  } else {
    const first = 0x60000000 + (options.tos ?? 0) * 0x100000 + (options.flowLabel ?? 0);
    packet.writeUInt32BE(first, 0);
    packet.writeUInt16BE(packet.length - 40, 4);
    packet.writeUInt8(number, 6);
    packet.writeUInt8(options.ttl ?? 64, 7);
    packet.set([0xfd, 0, 0, options.source ?? 1], 8);
    packet.set([0xfd, 0, 0, 2], 24);
  }
  packet.writeUInt16BE(options.sourcePort ?? 40000, at);
  packet.writeUInt16BE(5001, at + 2);
  if (protocol === "tcp") {
    packet.writeUInt32BE(options.sequence ?? 1000, at + 4);
    packet.writeUInt32BE(options.acknowledgment ?? 77, at + 8);
    packet.writeUInt8(((20 + tcpOptions.length) / 4) << 4, at + 12);
    packet.writeUInt8(options.flags ?? ACK, at + 13);
    packet.writeUInt16BE(options.window ?? 500, at + 14);
    packet.writeUInt16BE(options.urgent ?? 0, at + 18);
    packet.set(tcpOptions, at + 20);
  } else {
    packet.writeUInt16BE(8 + payload.length, at + 4);
  }
  packet.set(payload, at + header);
  return seal(packet, options.noChecksum);
}

/** What the kernel sends out for a GSO packet with these contents: each segment built on its own. */
export function plainSegments(options: TransportOptions, gsoSize: number): Buffer[] {
  const payload = options.payload ?? Buffer.alloc(0);
  const segments: Buffer[] = [];
  for (let offset = 0, index = 0; offset < payload.length; offset += gsoSize, index++) {
    const last = offset + gsoSize >= payload.length;
    let flags = options.flags ?? ACK;
    if (!last) flags &= ~(FIN | PSH);
    if (index > 0) flags &= ~CWR;
    segments.push(
      build({
        ...options,
        flags,
        payload: payload.subarray(offset, offset + gsoSize),
        sequence: ((options.sequence ?? 1000) + offset) >>> 0,
        id: ((options.id ?? 0) + index) & 0xffff,
      }),
    );
  }
  return segments;
}

/** The frame that a TUN device gives for a GSO packet: the checksum field holds the sum of the pseudo header. */
export function gsoFrame(options: TransportOptions, gsoSize: number, ifId = 101, link = 0): Buffer {
  const packet = build(options);
  const { family = 4, protocol = "tcp", flags = ACK } = options;
  const at = ipHeaderSize(packet);
  const number = protocol === "tcp" ? 6 : 17;
  const checksum = protocol === "tcp" ? 16 : 6;
  packet.writeUInt16BE(sum(pseudoHeader(packet, family, number, packet.length - at)), at + checksum);
  const bytes = Buffer.alloc(framing.FRAME_HEADER_SIZE + packet.length);
  const ecn = protocol === "tcp" && flags & CWR ? 0x80 : 0;
  const header = at + (protocol === "tcp" ? 20 + (options.options?.length ?? 0) : 8);
  bytes.writeUInt16BE(family === 4 ? 0x0800 : 0x86dd, framing.PI_PROTO);
  bytes.writeUInt8(1, framing.VNET_FLAGS);
  bytes.writeUInt8((protocol === "udp" ? 5 : family === 4 ? 1 : 4) | ecn, framing.VNET_GSO_TYPE);
  bytes.writeUInt16LE(header + framing.SHIM_SIZE, framing.VNET_HDR_LEN);
  bytes.writeUInt16LE(gsoSize, framing.VNET_GSO_SIZE);
  bytes.writeUInt16LE(at + framing.SHIM_SIZE, framing.VNET_CSUM_START);
  bytes.writeUInt16LE(checksum, framing.VNET_CSUM_OFFSET);
  bytes.writeInt32BE(framing.tagOf(0), framing.SHIM_TAG);
  bytes.writeUInt32LE(ifId, framing.SHIM_IF_ID);
  bytes.writeInt32LE(link, framing.SHIM_LINK);
  bytes.set(packet, framing.FRAME_HEADER_SIZE);
  return bytes;
}
