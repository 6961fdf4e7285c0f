/**
 * The ESP packet (RFC 4303 section 2), offsets from its first byte:
 *
 *   0 SPI   4 sequence number, its low 32 bits   8 IV, and behind it what the suite says (suite.ts)
 *
 * All in network byte order. With extended sequence numbers the high 32 bits are authenticated, but not sent.
 */
import { SUITES, type SuiteName } from "./suite.js";

export const ESP_SPI = 0;
export const ESP_SEQUENCE = 4;
export const ESP_IV = 8;
/** Pad length and next header. */
export const TRAILER_SIZE = 2;
/** The longest padding for alignment, and the trailer behind it: what writeTrailer writes at most. */
export const MAX_TRAILER_SIZE = 15 + TRAILER_SIZE;

/** Assigned internet protocol numbers: what a next header says is inside. */
export const IPPROTO_IPIP = 4;
export const IPPROTO_IPV6 = 41;
/** RFC 4303 section 2.6: a dummy packet, to be discarded. */
export const IPPROTO_NONE = 59;
/** draft-nikander-esp-beet-mode section 5.4: a header that carries the IPv4 options (linux/in.h). */
export const IPPROTO_BEETPH = 94;

/** @returns bytes of padding that a payload of `length` bytes needs for the ciphertext to be a multiple of `alignment` */
export const paddingFor = (length: number, alignment: number): number =>
  -(length + TRAILER_SIZE) & (alignment - 1);

/**
 * Writes padding 1, 2, 3.., pad length and next header behind a payload that ends at `end` (RFC 4303 section 2.4).
 * @returns bytes written
 */
export function writeTrailer(bytes: Uint8Array, end: number, padding: number, nextHeader: number): number {
  for (let i = 0; i < padding; i++) bytes[end + i] = i + 1;
  bytes[end + padding] = padding;
  bytes[end + padding + 1] = nextHeader;
  return padding + TRAILER_SIZE;
}

const BEET_HEADER_SIZE = 4;
/** Padding in front of the IPv4 options (RFC 791 section 3.1: no operation). */
const IPOPT_NOP = 1;

/**
 * Writes the BEET header, struct ip_beet_phdr {next header, length of the options in 8 bytes, padding, 0}, and the padding
 * that makes the whole a multiple of 8 bytes, in front of `options` bytes of IPv4 options at `at`.
 * @returns where it starts
 */
export function writeBeetHeader(view: DataView, at: number, options: number, protocol: number): number {
  const padding = options % 8 === 0 ? 4 : 0;
  const start = at - padding - BEET_HEADER_SIZE;
  view.setUint8(start, protocol);
  view.setUint8(start + 1, Math.floor(options / 8));
  view.setUint8(start + 2, padding);
  view.setUint8(start + 3, 0);
  for (let i = 0; i < padding; i++) view.setUint8(start + BEET_HEADER_SIZE + i, IPOPT_NOP);
  return start;
}

/** @returns size of the BEET header at `at` with its padding; the options begin there */
export const beetHeaderSize = (view: DataView, at: number): number =>
  BEET_HEADER_SIZE + view.getUint8(at + 2);

/** @returns bytes of IPv4 options behind a BEET header with this padding, -1 where that cannot be */
export function beetOptionsSize(view: DataView, at: number): number {
  const size = view.getUint8(at + 1) * 8 + 8 - beetHeaderSize(view, at);
  return size < 0 || size % 4 !== 0 || size > MAX_IPV4_OPTIONS ? -1 : size;
}

const MAX_IPV4_OPTIONS = 40;

export type Mode = "tunnel" | "transport" | "beet";

/** UDP (RFC 3948), or IP protocol 50. */
export type Encapsulation = "udp" | "none";

/** What decides how much longer a packet gets. */
export interface Wrapping {
  readonly suite: SuiteName;
  readonly mode: Mode;
  readonly encapsulation: Encapsulation;
  /** Address families of the outer packet, and of the inner ones that are to fit. */
  readonly outerFamily: 4 | 6;
  readonly innerFamily: 4 | 6;
}

const IP_HEADER_SIZE = { 4: 20, 6: 40 } as const;
const UDP_HEADER_SIZE = 8;

/**
 * The largest inner packet that crosses an underlay unfragmented: what the steering interface's MTU should be, as
 * net/xfrm/xfrm_state.c (xfrm_state_mtu) has it.
 * @param underlayMtu in bytes
 */
export function innerMtu(
  underlayMtu: number,
  { suite, mode, encapsulation, outerFamily, innerFamily }: Wrapping,
): number {
  const { ivSize, icvSize, alignment } = SUITES[suite];
  const outer = IP_HEADER_SIZE[outerFamily] + (encapsulation === "udp" ? UDP_HEADER_SIZE : 0);
  const text = underlayMtu - outer - ESP_IV - ivSize - icvSize;
  const payload = text - (text % alignment) - TRAILER_SIZE;
  // Only tunnel mode encrypts the inner IP header.
  return mode === "tunnel" ? payload : payload + IP_HEADER_SIZE[innerFamily];
}
