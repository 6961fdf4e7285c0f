/**
 * Whether the header at `b` is what the sender of a burst makes of the one at `a`: the same, but for what counts up. Where
 * the burst's other packets differ in more, they may still belong to it: train.ts asks for that.
 */
import { fold16 } from "../sys/packet-slab.js";
import * as ip from "./headers.js";

/** Whether `bytes` (a multiple of 4) bytes at two places are the same. */
export function equalWords(view: DataView, a: number, b: number, bytes: number): boolean {
  for (let i = 0; i < bytes; i += 4) if (view.getInt32(a + i) !== view.getInt32(b + i)) return false;
  return true;
}

/** Sum of an IPv4 header's identifier and checksum. */
const identity = (view: DataView, packet: number): number =>
  fold16(view.getUint16(packet + ip.IPV4_ID) + view.getUint16(packet + ip.IPV4_CHECKSUM));

/**
 * Of IPv4 headers without options, the first of which has a right checksum; that of the second is right then as well.
 * @param step how much greater the second's identifier is
 */
export function continuesIpv4(view: DataView, a: number, b: number, step: number): boolean {
  return (
    // Also the length. The other half of the identifier's word is the fragment's, which stays the same.
    view.getInt32(a) === view.getInt32(b) &&
    ((view.getInt32(b + ip.IPV4_ID) - view.getInt32(a + ip.IPV4_ID)) | 0) === step << 16 &&
    view.getUint16(a + ip.IPV4_TTL) === view.getUint16(b + ip.IPV4_TTL) &&
    view.getInt32(a + ip.IPV4_SOURCE) === view.getInt32(b + ip.IPV4_SOURCE) &&
    view.getInt32(a + ip.IPV4_SOURCE + 4) === view.getInt32(b + ip.IPV4_SOURCE + 4) &&
    identity(view, a) === identity(view, b)
  );
}

/** Of UDP headers, the second with a checksum. Packets as long as each other have the same length in them. */
export function continuesUdp(view: DataView, a: number, b: number): boolean {
  return (
    view.getInt32(a) === view.getInt32(b) &&
    view.getUint16(a + ip.UDP_LENGTH) === view.getUint16(b + ip.UDP_LENGTH) &&
    view.getUint16(b + ip.UDP_CHECKSUM) !== 0
  );
}

/**
 * Of TCP headers of `size` bytes with their options.
 * @param sequence the number that is next, as a signed 32-bit integer
 */
export function continuesTcp(view: DataView, a: number, b: number, size: number, sequence: number): boolean {
  return (
    view.getInt32(a) === view.getInt32(b) &&
    view.getInt32(b + ip.TCP_SEQUENCE) === sequence &&
    equalWords(view, a + ip.TCP_ACKNOWLEDGMENT, b + ip.TCP_ACKNOWLEDGMENT, 8) &&
    view.getUint16(a + ip.TCP_URGENT) === view.getUint16(b + ip.TCP_URGENT) &&
    equalWords(view, a + ip.TCP_HEADER_SIZE, b + ip.TCP_HEADER_SIZE, size - ip.TCP_HEADER_SIZE)
  );
}
