/**
 * The ESP packet with AES-GCM (RFC 4303 section 2, RFC 4106 section 3), offsets from its first byte:
 *
 *   0 SPI   4 sequence number   8 initialisation vector   16 ciphertext of {payload, padding, pad length, next header}
 *   and behind the ciphertext a 16-byte integrity check value (ICV). All in network byte order.
 */
export const ESP_SPI = 0;
export const ESP_SEQUENCE = 4;
export const ESP_IV = 8;
export const ESP_PAYLOAD = 16;
export const ICV_SIZE = 16;
/** RFC 4106 section 5: SPI and sequence number, without extended sequence numbers. */
export const AAD_SIZE = 8;
/** Pad length and next header. */
export const TRAILER_SIZE = 2;
/** RFC 4303 section 2.4: the trailer ends on a 4-byte boundary. */
const ALIGNMENT = 4;
/** Outer headers in front of the ESP packet. */
const IPV4_HEADER_SIZE = 20;
const IPV6_HEADER_SIZE = 40;
const UDP_HEADER_SIZE = 8;

/** Assigned internet protocol numbers: what a next header says is inside. */
export const IPPROTO_IPIP = 4;
export const IPPROTO_IPV6 = 41;
/** RFC 4303 section 2.6: a dummy packet, to be discarded. */
export const IPPROTO_NONE = 59;

/** @returns bytes of padding that a payload of `length` bytes needs, 0 to 3 */
export const paddingFor = (length: number): number => -(length + TRAILER_SIZE) & (ALIGNMENT - 1);

/**
 * Writes padding 1, 2, 3.., pad length and next header behind a payload that ends at `end` (RFC 4303 section 2.4).
 * @returns bytes written
 */
export function writeTrailer(bytes: Uint8Array, end: number, length: number, nextHeader: number): number {
  const padding = paddingFor(length);
  for (let i = 0; i < padding; i++) bytes[end + i] = i + 1;
  bytes[end + padding] = padding;
  bytes[end + padding + 1] = nextHeader;
  return padding + TRAILER_SIZE;
}

/**
 * The largest inner packet that crosses an underlay unfragmented: what the steering interface's MTU should be.
 * @param underlayMtu in bytes
 * @param outerFamily address family of the tunnel's endpoints
 */
export function innerMtu(underlayMtu: number, outerFamily: 4 | 6): number {
  const outer = (outerFamily === 4 ? IPV4_HEADER_SIZE : IPV6_HEADER_SIZE) + UDP_HEADER_SIZE;
  const text = underlayMtu - outer - ESP_PAYLOAD - ICV_SIZE;
  return text - (text % ALIGNMENT) - TRAILER_SIZE;
}
