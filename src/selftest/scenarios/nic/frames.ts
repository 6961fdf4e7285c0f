/** Framed packets as the TUN device gives them to the data path (esp/framing.ts): UDP over IPv4. */
import * as framing from "../../../esp/framing.js";
import * as ip from "../../../esp/headers.js";

const IF_ID = 101;
const HEADERS = ip.IPV4_HEADER_SIZE + ip.UDP_HEADER_SIZE;

export interface FrameOptions {
  /** Bytes of the UDP payload. */
  readonly payload: number;
  /** Words of IPv4 options, all of them "no operation". */
  readonly options?: number;
  /** A GSO packet, to be cut into segments of so many bytes of payload. */
  readonly segment?: number;
}

/** From 192.0.2.1 to 198.51.100.1. The checksums are those of a real packet, but for a GSO packet's partial one. */
export function udpFrame({ payload, options = 0, segment = 0 }: FrameOptions): Buffer {
  const header = ip.IPV4_HEADER_SIZE + 4 * options;
  const size = header + ip.UDP_HEADER_SIZE + payload;
  const frame = Buffer.alloc(framing.FRAME_HEADER_SIZE + size);
  frame.writeUInt16BE(framing.ETH_P_IP, framing.PI_PROTO);
  frame.writeInt32BE(framing.tagOf(0), framing.SHIM_TAG);
  frame.writeUInt32LE(IF_ID, framing.SHIM_IF_ID);
  const packet = frame.subarray(framing.FRAME_HEADER_SIZE);
  packet.writeUInt8(ip.IPV4_PLAIN + options, 0);
  packet.writeUInt16BE(size, ip.IPV4_TOTAL_LENGTH);
  packet.writeUInt16BE(0x1234, ip.IPV4_ID);
  packet.writeUInt8(64, ip.IPV4_TTL);
  packet.writeUInt8(ip.IPPROTO_UDP, ip.IPV4_PROTOCOL);
  packet.set([192, 0, 2, 1, 198, 51, 100, 1], ip.IPV4_SOURCE);
  packet.fill(1, ip.IPV4_HEADER_SIZE, header);
  packet.writeUInt16BE(~sum(packet.subarray(0, header)) & 0xffff, ip.IPV4_CHECKSUM);
  const udp = packet.subarray(header);
  udp.writeUInt16BE(7, 0);
  udp.writeUInt16BE(7, 2);
  udp.writeUInt16BE(udp.length, ip.UDP_LENGTH);
  for (let at = ip.UDP_HEADER_SIZE; at < udp.length; at++) udp[at] = at * 7;
  if (segment === 0) return frame;
  const pseudo = Buffer.concat([packet.subarray(ip.IPV4_SOURCE, ip.IPV4_HEADER_SIZE), Buffer.alloc(4)]);
  pseudo.writeUInt16BE(ip.IPPROTO_UDP, 8);
  pseudo.writeUInt16BE(udp.length, 10);
  udp.writeUInt16BE(sum(pseudo), ip.UDP_CHECKSUM);
  frame.writeUInt8(framing.VIRTIO_NET_HDR_F_NEEDS_CSUM, framing.VNET_FLAGS);
  frame.writeUInt8(framing.VIRTIO_NET_HDR_GSO_UDP_L4, framing.VNET_GSO_TYPE);
  frame.writeUInt16LE(HEADERS + framing.SHIM_SIZE, framing.VNET_HDR_LEN);
  frame.writeUInt16LE(segment, framing.VNET_GSO_SIZE);
  frame.writeUInt16LE(header + framing.SHIM_SIZE, framing.VNET_CSUM_START);
  frame.writeUInt16LE(ip.UDP_CHECKSUM, framing.VNET_CSUM_OFFSET);
  return frame;
}

/** The ones' complement sum of an even number of bytes (RFC 1071). */
function sum(bytes: Buffer): number {
  let total = 0;
  for (let at = 0; at < bytes.length; at += 2) total += bytes.readUInt16BE(at);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}
