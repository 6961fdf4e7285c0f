/** Builders for the packets that the ESP tests send through. */
import * as framing from "../../src/esp/framing.js";

export interface FrameOptions {
  /** tagOf epoch 0 if left out. */
  readonly tag?: number;
  readonly ifId?: number;
  readonly link?: number;
  readonly proto?: number;
  readonly piFlags?: number;
  readonly vnetFlags?: number;
  readonly gsoType?: number;
  readonly csumStart?: number;
  readonly csumOffset?: number;
}

/** A frame as the TC egress program leaves it, around an IP packet. */
export function frame(packet: Uint8Array, options: FrameOptions = {}): Buffer {
  const bytes = Buffer.alloc(framing.FRAME_HEADER_SIZE + packet.length);
  const version = (packet[0] ?? 0) >>> 4;
  bytes.writeUInt16LE(options.piFlags ?? 0, framing.PI_FLAGS);
  bytes.writeUInt16BE(options.proto ?? (version === 6 ? 0x86dd : 0x0800), framing.PI_PROTO);
  bytes.writeUInt8(options.vnetFlags ?? 0, framing.VNET_FLAGS);
  bytes.writeUInt8(options.gsoType ?? 0, framing.VNET_GSO_TYPE);
  bytes.writeUInt16LE(options.csumStart ?? 0, framing.VNET_CSUM_START);
  bytes.writeUInt16LE(options.csumOffset ?? 0, framing.VNET_CSUM_OFFSET);
  bytes.writeInt32BE(options.tag ?? framing.tagOf(0), framing.SHIM_TAG);
  bytes.writeUInt32LE(options.ifId ?? 101, framing.SHIM_IF_ID);
  bytes.writeInt32LE(options.link ?? 0, framing.SHIM_LINK);
  bytes.set(packet, framing.FRAME_HEADER_SIZE);
  return bytes;
}

/** An IPv4 packet of `size` bytes, at least its 20-byte header, with a recognisable payload. */
export function ipv4(size: number, seed = 0): Buffer {
  const bytes = Buffer.alloc(size);
  for (let i = 20; i < size; i++) bytes[i] = (i * 31 + seed) & 0xff;
  bytes.writeUInt8(0x45, 0);
  bytes.writeUInt16BE(size, 2);
  bytes.writeUInt16BE(seed & 0xffff, 4);
  bytes.writeUInt8(64, 8);
  bytes.writeUInt8(17, 9);
  bytes.set([10, 0, 0, 1, 10, 1, 0, 1], 12);
  return bytes;
}

/** An IPv6 packet of `size` bytes, at least its 40-byte header. */
export function ipv6(size: number, seed = 0): Buffer {
  const bytes = Buffer.alloc(size);
  for (let i = 40; i < size; i++) bytes[i] = (i * 31 + seed) & 0xff;
  bytes.writeUInt32BE(0x60000000, 0);
  bytes.writeUInt16BE(size - 40, 4);
  bytes.writeUInt8(17, 6);
  bytes.writeUInt8(64, 7);
  bytes.set([0xfd, 0, 0, 1], 8);
  bytes.set([0xfd, 0, 0, 2], 24);
  return bytes;
}

/** The same bytes for the same seed: xorshift32, so that a failure can be repeated. */
export function random(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state;
  };
}
