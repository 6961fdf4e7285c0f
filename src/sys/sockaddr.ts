import ipaddr from "ipaddr.js";
import { AF_INET, AF_INET6 } from "./libc.js";
import type { Slab } from "./slab.js";

/** sizeof(struct sockaddr_in) and sizeof(struct sockaddr_in6). */
export const SOCKADDR_IN_SIZE = 16;
export const SOCKADDR_IN6_SIZE = 28;

/** An IP address in network byte order with the text it came from. */
export interface Address {
  readonly family: typeof AF_INET | typeof AF_INET6;
  readonly bytes: Uint8Array;
  /** Canonical text: equal addresses have equal text. */
  readonly text: string;
}

/** @throws TypeError when the text is neither an IPv4 nor an IPv6 address. */
export function parseAddress(text: string): Address {
  if (!ipaddr.isValid(text) || (ipaddr.IPv4.isValid(text) && !ipaddr.IPv4.isValidFourPartDecimal(text))) {
    throw new TypeError(`"${text}" is not an IPv4 or IPv6 address`);
  }
  const parsed = ipaddr.parse(text);
  return {
    family: parsed.kind() === "ipv4" ? AF_INET : AF_INET6,
    bytes: Uint8Array.from(parsed.toByteArray()),
    text: parsed.toString(),
  };
}

/** fe80::/10 means nothing without the link it is on. */
export const isLinkLocal = (address: Address): boolean =>
  address.family === AF_INET6 && address.bytes[0] === 0xfe && ((address.bytes[1] ?? 0) & 0xc0) === 0x80;

/** Text that no other address of this machine has: a link-local one has its link in it, as in RFC 4007 section 11. */
export const scopedText = (address: Address, link: number): string =>
  isLinkLocal(address) ? `${address.text}%${link}` : address.text;

/**
 * Writes a struct sockaddr_in or sockaddr_in6 at `offset`.
 * @param link ifindex, the scope of an IPv6 link-local address; else unused
 * @returns its size in bytes
 */
export function writeSockaddr(
  slab: Slab,
  offset: number,
  address: Address,
  port: number,
  link: number,
): number {
  const { view, bytes } = slab;
  const size = address.family === AF_INET ? SOCKADDR_IN_SIZE : SOCKADDR_IN6_SIZE;
  bytes.fill(0, offset, offset + size);
  view.setUint16(offset, address.family, true);
  view.setUint16(offset + 2, port);
  if (address.family === AF_INET) {
    bytes.set(address.bytes, offset + 4);
  } else {
    bytes.set(address.bytes, offset + 8);
    if (isLinkLocal(address)) view.setUint32(offset + 24, link, true);
  }
  return size;
}
