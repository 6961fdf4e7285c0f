/** IP protocol numbers by the names that rules use (IANA "Assigned Internet Protocol Numbers" and common aliases). */
const PROTOCOLS: Readonly<Record<string, number>> = {
  icmp: 1,
  igmp: 2,
  ipip: 4,
  tcp: 6,
  egp: 8,
  udp: 17,
  dccp: 33,
  ipv6: 41,
  rsvp: 46,
  gre: 47,
  esp: 50,
  ah: 51,
  "ipv6-icmp": 58,
  icmpv6: 58,
  icmp6: 58,
  eigrp: 88,
  ospf: 89,
  pim: 103,
  vrrp: 112,
  l2tp: 115,
  sctp: 132,
  udplite: 136,
};

export const ICMP = 1;
export const ICMPV6 = 58;
/** ICMP of an IP version. */
export const ICMP_OF = { 4: ICMP, 6: ICMPV6 } as const;

/**
 * IPv6 extension headers, which the classifier walks over (extension_size() in bpf/packet.h), so that only a later fragment
 * has them as its protocol: hop-by-hop, routing, fragment and destination options (RFC 8200), AH (RFC 4302), mobility
 * (RFC 6275), HIP (RFC 7401), shim6 (RFC 5533).
 */
export const IPV6_EXTENSIONS: ReadonlySet<number> = new Set([0, 43, 44, 51, 60, 135, 139, 140]);

/** Protocols whose header starts with source port and destination port, 16 bits each. */
export const PORT_PROTOCOLS: ReadonlySet<number> = new Set([6, 17, 33, 132, 136]);
export const PORT_PROTOCOL_NAMES = "tcp, udp, sctp, dccp or udplite";

/** Differentiated services code points by name: RFC 2474 (cs), RFC 2597 (af), RFC 3246 (ef), RFC 5865 (va), RFC 8622 (le). */
const DSCPS: Readonly<Record<string, number>> = {
  le: 1,
  va: 44,
  ef: 46,
  ...Object.fromEntries(Array.from({ length: 8 }, (_, index) => [`cs${index}`, index * 8])),
  ...Object.fromEntries(
    [1, 2, 3, 4].flatMap((c) => [1, 2, 3].map((drop) => [`af${c}${drop}`, c * 8 + drop * 2])),
  ),
};

export const PROTOCOL_NAMES = Object.keys(PROTOCOLS);
export const DSCP_NAMES = Object.keys(DSCPS);

/** A protocol's number from its name or decimal text, or null. */
export function protocolNumber(text: string): number | null {
  return lookUp(PROTOCOLS, text, 255);
}

/** A code point (0 to 63) from its name or decimal text, or null. */
export function dscpNumber(text: string): number | null {
  return lookUp(DSCPS, text, 63);
}

/** The first name of a protocol number, or the number as text. */
export function protocolName(proto: number): string {
  return PROTOCOL_NAMES.find((name) => PROTOCOLS[name] === proto) ?? String(proto);
}

export function dscpName(dscp: number): string {
  return DSCP_NAMES.find((name) => DSCPS[name] === dscp) ?? String(dscp);
}

/** RFC 3168 section 5 */
const ECNS: Readonly<Record<string, number>> = { "not-ect": 0, ect1: 1, ect0: 2, ce: 3 };
export const ECN_NAMES = Object.keys(ECNS);

/** An ECN code point (0 to 3) from its name or decimal text, or null. */
export function ecnNumber(text: string): number | null {
  return lookUp(ECNS, text, 3);
}

export function ecnName(ecn: number): string {
  return ECN_NAMES.find((name) => ECNS[name] === ecn) ?? String(ecn);
}

function lookUp(table: Readonly<Record<string, number>>, text: string, max: number): number | null {
  if (/^(0|[1-9]\d{0,2})$/.test(text)) return Number(text) <= max ? Number(text) : null;
  const name = text.toLowerCase();
  return Object.hasOwn(table, name) ? (table[name] ?? null) : null;
}
