/** Offsets and flags of the inner packets' headers: RFC 791, RFC 8200, RFC 9293, RFC 768. */
export const IPV4_TOS = 1;
export const IPV4_TOTAL_LENGTH = 2;
export const IPV4_ID = 4;
export const IPV4_FRAGMENT = 6;
export const IPV4_TTL = 8;
export const IPV4_PROTOCOL = 9;
export const IPV4_CHECKSUM = 10;
export const IPV4_SOURCE = 12;
export const IPV4_HEADER_SIZE = 20;
export const IPV4_DF = 0x4000;
/** More fragments, and the fragment offset. */
export const IPV4_IS_FRAGMENT = 0x3fff;
/** The fragment offset alone. */
export const IPV4_OFFSET = 0x1fff;
/** Version 4 and a header of 20 bytes. */
export const IPV4_PLAIN = 0x45;

export const IPV6_PAYLOAD_LENGTH = 4;
export const IPV6_NEXT_HEADER = 6;
export const IPV6_HOP_LIMIT = 7;
export const IPV6_SOURCE = 8;
export const IPV6_HEADER_SIZE = 40;

/** Extension headers that stand before ESP: hop-by-hop options, routing, fragment (RFC 4303 section 3.1.1). */
export const OUTSIDE_ESP: ReadonlySet<number> = new Set([0, 43, 44]);

export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;

export const TCP_SEQUENCE = 4;
export const TCP_ACKNOWLEDGMENT = 8;
/** The 32-bit word of data offset, flags and window. */
export const TCP_FLAG_WORD = 12;
export const TCP_FLAGS = 13;
export const TCP_CHECKSUM = 16;
export const TCP_URGENT = 18;
export const TCP_HEADER_SIZE = 20;
export const TCP_FIN = 0x01;
export const TCP_SYN = 0x02;
export const TCP_RST = 0x04;
export const TCP_PSH = 0x08;
export const TCP_ACK = 0x10;
export const TCP_URG = 0x20;
export const TCP_CWR = 0x80;

export const UDP_LENGTH = 4;
export const UDP_CHECKSUM = 6;
export const UDP_HEADER_SIZE = 8;
