import * as ip from "./headers.js";

const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
const IPPROTO_FRAGMENT = 44;
/** Hop-by-hop options, routing, destination options: {next header, length in 8 bytes without the first 8}. */
const EXTENSIONS = new Set([0, 43, 60]);
const IPV6_FRAGMENT_OFFSET = 0xfff8;
const IPV6_MORE_FRAGMENTS = 1;
/** ICMP errors, which quote the packet that they are about: RFC 792, RFC 4443 section 2.1. A redirect is for its own link. */
const ICMP_ERRORS: ReadonlySet<number> = new Set([3, 4, 11, 12]);
const ICMPV6_INFORMATION = 128;
const ICMP_HEADER_SIZE = 8;

/** What stands behind the IP headers of a packet. */
export interface UpperLayer {
  readonly protocol: number;
  /** Where its header is, null in a later fragment. */
  readonly header: number | null;
  readonly isFragment: boolean;
}

/** Of the IP packet at `packet`, whose headers lie before `end`. */
export function upperLayer(view: DataView, packet: number, end: number): UpperLayer {
  return view.getUint8(packet) >>> 4 === 6 ? upperLayer6(view, packet, end) : upperLayer4(view, packet);
}

function upperLayer4(view: DataView, packet: number): UpperLayer {
  const fragment = view.getUint16(packet + ip.IPV4_FRAGMENT);
  const later = (fragment & ip.IPV4_OFFSET) !== 0;
  const header = (view.getUint8(packet) & 15) * 4;
  return {
    protocol: view.getUint8(packet + ip.IPV4_PROTOCOL),
    header: later ? null : packet + header,
    isFragment: (fragment & ip.IPV4_IS_FRAGMENT) !== 0,
  };
}

function upperLayer6(view: DataView, packet: number, end: number): UpperLayer {
  let protocol = view.getUint8(packet + ip.IPV6_NEXT_HEADER);
  let at = packet + ip.IPV6_HEADER_SIZE;
  let isFragment = false;
  while (at + 8 <= end) {
    if (protocol === IPPROTO_FRAGMENT) {
      const field = view.getUint16(at + 2);
      const later = (field & IPV6_FRAGMENT_OFFSET) !== 0;
      isFragment ||= later || (field & IPV6_MORE_FRAGMENTS) !== 0;
      protocol = view.getUint8(at);
      if (later) return { protocol, header: null, isFragment };
      at += 8;
    } else if (EXTENSIONS.has(protocol)) {
      protocol = view.getUint8(at);
      at += 8 * (view.getUint8(at + 1) + 1);
    } else break;
  }
  return { protocol, header: at, isFragment };
}

/** ICMP of a packet's IP version. */
export const icmpOf = (family: 4 | 6): number => (family === 6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);

/**
 * Where the packet begins that a whole ICMP error quotes; -1 where the packet at `packet` is none, or its quote has no whole IP
 * header of its version, or is an error's, of which there are no errors (RFC 1122 section 3.2.2, RFC 4443 section 2.4).
 */
export function quotedPacket(view: DataView, packet: number, end: number): number {
  const message = errorMessage(view, packet, end);
  if (message < 0) return -1;
  const quoted = message + ICMP_HEADER_SIZE;
  const v6 = view.getUint8(packet) >>> 4 === 6;
  if (quoted + (v6 ? ip.IPV6_HEADER_SIZE : ip.IPV4_HEADER_SIZE) > end) return -1;
  const first = view.getUint8(quoted);
  if (first >>> 4 !== (v6 ? 6 : 4)) return -1;
  const options = v6 ? 0 : (first & 15) * 4 - ip.IPV4_HEADER_SIZE;
  if (options < 0 || (!v6 && quoted + ip.IPV4_HEADER_SIZE + options > end)) return -1;
  return errorMessage(view, quoted, end) < 0 ? quoted : -1;
}

/** Where the ICMP error that a whole packet holds begins, or -1. */
function errorMessage(view: DataView, packet: number, end: number): number {
  const family = view.getUint8(packet) >>> 4 === 6 ? 6 : 4;
  // Most packets are none, which one byte tells.
  const first = view.getUint8(packet + (family === 6 ? ip.IPV6_NEXT_HEADER : ip.IPV4_PROTOCOL));
  if (first === ip.IPPROTO_TCP || first === ip.IPPROTO_UDP) return -1;
  const { protocol, header, isFragment } = upperLayer(view, packet, end);
  if (protocol !== icmpOf(family) || header === null || isFragment || header >= end) return -1;
  const type = view.getUint8(header);
  return (family === 6 ? type < ICMPV6_INFORMATION : ICMP_ERRORS.has(type)) ? header : -1;
}
