import type { Address } from "../config/address.js";
import type { Family, FragmentState } from "../config/policy.js";
import { ICMP, ICMPV6, IPV6_EXTENSIONS, PORT_PROTOCOLS } from "../config/protocols.js";

/** What rules can match of a packet. The BPF classifier derives the same from the same bytes. */
export interface PacketKey {
  readonly family: Family;
  /** Words as in `Prefix`. */
  readonly src: readonly number[];
  readonly dst: readonly number[];
  /** Upper-layer protocol; null when the IPv6 extension headers end early or are too many. */
  readonly proto: number | null;
  /** Null when the protocol has no ports, or these bytes are not in the packet (later fragment, cut off). */
  readonly sport: number | null;
  readonly dport: number | null;
  /** Null when it is not ICMP over IPv4 or ICMPv6 over IPv6, or the type is not in the packet. */
  readonly icmpType: number | null;
  readonly dscp: number;
  readonly ecn: number;
  readonly fragment: FragmentState;
  /** skb mark. */
  readonly mark: number;
  /** Interface on which a forwarded packet came in; null for one that was made here. */
  readonly iif: string | null;
  /** Device group of that interface as `group:NAME`; null where it is not known or there is none. */
  readonly iifGroup: string | null;
  /** Bytes from the start of the IP header, as captured; length fields in the headers are not looked at. */
  readonly length: number;
  /**
   * The packet that an ICMP error quotes, as it was sent as far as it shows that: without mark and iif, its length by its
   * header. Null when the packet is no whole ICMP error, or what it quotes is not an IP header of its version, or is an error.
   */
  readonly quoted: PacketKey | null;
}

/** A packet without a whole IP header; it is dropped. */
export interface Malformed {
  readonly malformed: string;
}

/** What travels beside the bytes of a packet. */
export interface PacketMetadata {
  readonly mark: number;
  readonly iif: string | null;
  readonly iifGroup?: string | null;
}

const NO_METADATA: PacketMetadata = { mark: 0, iif: null };

const IPV4_HEADER = 20;
const IPV6_HEADER = 40;
/** In front of the packet that an error quotes, in both versions. */
const ICMP_HEADER = 8;
/** More extension headers than this leave proto unknown: the BPF program walks them in a bounded loop. */
export const MAX_EXTENSION_HEADERS = 8;
/** Every IPv6 extension header is at least this long (RFC 8200 section 4). */
const EXTENSION_UNIT = 8;

const FRAGMENT = 44;
const AH = 51;

/** Parses a packet that starts at its IP header. */
export function parsePacket(
  bytes: Uint8Array,
  metadata: PacketMetadata = NO_METADATA,
): PacketKey | Malformed {
  const first = bytes[0];
  if (first === undefined) return { malformed: "no bytes" };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (first >>> 4) {
    case 4:
      return parseIpv4(view, metadata);
    case 6:
      return parseIpv6(view, metadata);
    default:
      return { malformed: `IP version ${first >>> 4}` };
  }
}

/** RFC 791 section 3.1 */
function parseIpv4(view: DataView, metadata: PacketMetadata): PacketKey | Malformed {
  if (view.byteLength < IPV4_HEADER) return { malformed: `${view.byteLength} bytes of an IPv4 header` };
  const headerLength = (view.getUint8(0) & 0xf) * 4;
  if (headerLength < IPV4_HEADER) return { malformed: `IPv4 header length ${headerLength}` };
  if (headerLength > view.byteLength)
    return { malformed: `${view.byteLength} of ${headerLength} bytes of an IPv4 header` };
  const fragmentField = view.getUint16(6);
  const later = (fragmentField & 0x1fff) !== 0;
  const more = (fragmentField & 0x2000) !== 0;
  const proto = view.getUint8(9);
  const type = icmpType(view, headerLength, !later && proto === ICMP);
  const quotes = isErrorType(4, type) && !more;
  return {
    family: 4,
    src: words(view, 12, 1),
    dst: words(view, 16, 1),
    proto,
    ...ports(view, headerLength, later ? null : proto),
    icmpType: type,
    dscp: view.getUint8(1) >>> 2,
    ecn: view.getUint8(1) & 3,
    fragment: fragmentKind(later, more),
    ...metadata,
    iifGroup: metadata.iifGroup ?? null,
    length: view.byteLength,
    quoted: quotes ? quotedPacket(view, 4, headerLength + ICMP_HEADER) : null,
  };
}

/** RFC 8200 section 3 */
function parseIpv6(view: DataView, metadata: PacketMetadata): PacketKey | Malformed {
  if (view.byteLength < IPV6_HEADER) return { malformed: `${view.byteLength} bytes of an IPv6 header` };
  const { proto, offset, fragment } = walkExtensions(view, view.getUint8(6));
  const type = icmpType(view, offset, fragment !== "later" && proto === ICMPV6);
  const quotes = isErrorType(6, type) && fragment === "none";
  return {
    family: 6,
    src: words(view, 8, 4),
    dst: words(view, 24, 4),
    proto,
    ...ports(view, offset, fragment === "later" ? null : proto),
    icmpType: type,
    dscp: (view.getUint16(0) >>> 6) & 0x3f,
    ecn: (view.getUint16(0) >>> 4) & 3,
    fragment,
    ...metadata,
    iifGroup: metadata.iifGroup ?? null,
    length: view.byteLength,
    quoted: quotes ? quotedPacket(view, 6, offset + ICMP_HEADER) : null,
  };
}

/** ICMP errors: RFC 792 and RFC 4443 section 2.1. A redirect is none: it is for the link on which it is sent. */
const ICMP_ERRORS: ReadonlySet<number> = new Set([3, 4, 11, 12]);
/** The lowest type of ICMPv6 that is no error. */
const ICMPV6_INFORMATION = 128;

/** Whether ICMP messages of this type quote the packet that they are about. */
export function isErrorType(family: Family, type: number | null): boolean {
  if (type === null) return false;
  return family === 4 ? ICMP_ERRORS.has(type) : type < ICMPV6_INFORMATION;
}

function quotedPacket(view: DataView, family: Family, offset: number): PacketKey | null {
  if (offset >= view.byteLength) return null;
  const packet = new DataView(view.buffer, view.byteOffset + offset, view.byteLength - offset);
  if (packet.getUint8(0) >>> 4 !== family) return null;
  const key = family === 4 ? parseIpv4(packet, NO_METADATA) : parseIpv6(packet, NO_METADATA);
  // There are no errors about errors (RFC 1122 section 3.2.2, RFC 4443 section 2.4).
  if ("malformed" in key || isErrorType(family, key.icmpType)) return null;
  return { ...key, length: family === 4 ? packet.getUint16(2) : IPV6_HEADER + packet.getUint16(4) };
}

interface UpperLayer {
  readonly proto: number | null;
  /** Of the upper-layer header, which may lie behind the end of the packet. */
  readonly offset: number;
  readonly fragment: FragmentState;
}

function walkExtensions(view: DataView, firstHeader: number): UpperLayer {
  let header = firstHeader;
  let offset = IPV6_HEADER;
  let fragment: FragmentState = "none";
  for (let count = 0; IPV6_EXTENSIONS.has(header); count++) {
    if (count === MAX_EXTENSION_HEADERS || offset + EXTENSION_UNIT > view.byteLength)
      return { proto: null, offset, fragment };
    const next = view.getUint8(offset);
    if (header === FRAGMENT) {
      const field = view.getUint16(offset + 2);
      // An atomic fragment (offset 0, nothing more to come: RFC 6946) leaves the packet whole.
      const kind = fragmentKind(field >>> 3 !== 0, (field & 1) !== 0);
      if (kind === "later") return { proto: next, offset, fragment: "later" };
      if (kind === "first") fragment = "first";
    }
    offset += extensionLength(header, view.getUint8(offset + 1));
    header = next;
  }
  return { proto: header, offset, fragment };
}

/** Bytes of an extension header by its length field. */
function extensionLength(header: number, field: number): number {
  if (header === FRAGMENT) return EXTENSION_UNIT; // the field is reserved there
  if (header === AH) return (field + 2) * 4; // RFC 4302 section 2.2
  return (field + 1) * EXTENSION_UNIT;
}

function fragmentKind(later: boolean, more: boolean): FragmentState {
  if (later) return "later";
  return more ? "first" : "none";
}

function ports(
  view: DataView,
  offset: number,
  proto: number | null,
): { sport: number | null; dport: number | null } {
  if (proto === null || !PORT_PROTOCOLS.has(proto) || offset + 4 > view.byteLength)
    return { sport: null, dport: null };
  return { sport: view.getUint16(offset), dport: view.getUint16(offset + 2) };
}

/** First byte of the message in both (RFC 792, RFC 4443 section 2.1). */
function icmpType(view: DataView, offset: number, isIcmp: boolean): number | null {
  return isIcmp && offset < view.byteLength ? view.getUint8(offset) : null;
}

function words(view: DataView, offset: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => view.getUint32(offset + 4 * index));
}

export function srcAddress({ family, src }: PacketKey): Address {
  return { family, words: src };
}

export function dstAddress({ family, dst }: PacketKey): Address {
  return { family, words: dst };
}
