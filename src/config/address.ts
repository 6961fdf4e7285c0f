import ipaddr from "ipaddr.js";
import { show } from "./diagnostics.js";
import type { Family, Prefix } from "./policy.js";

/** An IPv4 or IPv6 address; words as in `Prefix`. */
export interface Address {
  readonly family: Family;
  readonly words: readonly number[];
}

/** What a text that should be a prefix turned out to be. */
export type PrefixResult =
  | { readonly prefix: Prefix }
  | {
      readonly message: string;
      readonly hint: string;
      /** The text that would be right, where one is likely. */
      readonly right?: string;
    };

const EXAMPLE = 'a prefix such as 10.1.0.0/16 or "fd00:1::/48", or a single address';

/** Reads dotted-quad IPv4 or RFC 4291 IPv6 text; no zone index, no octal or shortened IPv4. Null when it is neither. */
export function parseAddress(text: string): Address | null {
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return { family: 4, words: wordsOf(ipaddr.IPv4.parse(text)) };
  if (text.includes(":") && !text.includes("%") && ipaddr.IPv6.isValid(text)) {
    return { family: 6, words: wordsOf(ipaddr.IPv6.parse(text)) };
  }
  return null;
}

/** Reads `address` or `address/length`; host bits behind the length are an error that names the right network. */
export function parsePrefix(text: string): PrefixResult {
  const result = parseInterfaceAddress(text);
  if (!("prefix" in result)) return result;
  const { family, words, length } = result.prefix;
  const network = words.map((word, index) => (word & maskWord(index, length)) >>> 0);
  if (network.every((word, index) => word === words[index])) return result;
  const right = formatPrefix({ family, words: network, length });
  const host = formatPrefix({ family, words, length: addressBits(family) });
  return {
    message: `${text} has bits set behind its prefix length`,
    hint: `the network is ${right}, the single host is ${host}`,
    right,
  };
}

/** As `parsePrefix`, but keeps the host bits. */
export function parseInterfaceAddress(text: string): PrefixResult {
  const slash = text.indexOf("/");
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (address === null)
    return { message: `${show(text)} is not an IP address or prefix`, hint: `write ${EXAMPLE}` };
  const bits = addressBits(address.family);
  if (slash < 0) return whole({ ...address, length: bits }, text);
  const suffix = text.slice(slash + 1);
  const length = /^(0|[1-9]\d{0,2})$/.test(suffix) ? Number(suffix) : -1;
  if (length >= 0 && length <= bits) return whole({ ...address, length }, text);
  return {
    message: `${show(text)} has no valid prefix length`,
    hint: `write a length from 0 to ${bits} behind the slash`,
  };
}

function whole(prefix: Prefix, text: string): PrefixResult {
  if (!isMapped(prefix)) return { prefix };
  const v4: Prefix = { family: 4, words: prefix.words.slice(3), length: prefix.length - 96 };
  const right = text.includes("/") ? formatPrefix(v4) : formatAddress(v4);
  return {
    message: `${text} is an IPv4-mapped address, which no packet has`,
    hint: `write ${right}`,
    right,
  };
}

/** All of it is in ::ffff:0:0/96 (RFC 4291 section 2.5.5.2). */
export function isMapped({
  family,
  words,
  length,
}: {
  family: Family;
  words: ArrayLike<number>;
  length: number;
}): boolean {
  return family === 6 && length >= 96 && words[0] === 0 && words[1] === 0 && words[2] === 0xffff;
}

/** RFC 5952 text for IPv6, dotted quad for IPv4. */
export function formatAddress({ family, words }: Address): string {
  const bytes = words.flatMap((word) => [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255]);
  return family === 4 ? bytes.join(".") : new ipaddr.IPv6(bytes).toRFC5952String();
}

export function formatPrefix(prefix: Prefix): string {
  return `${formatAddress(prefix)}/${prefix.length}`;
}

export function addressBits(family: Family): 32 | 128 {
  return family === 4 ? 32 : 128;
}

/** The netmask's word at `index` (host byte order) for a prefix of `length` bits. */
export function maskWord(index: number, length: number): number {
  const bits = Math.min(Math.max(length - 32 * index, 0), 32);
  return bits === 0 ? 0 : (0xffffffff << (32 - bits)) >>> 0;
}

export function contains(prefix: Prefix, address: Address): boolean {
  return (
    prefix.family === address.family &&
    prefix.words.every(
      (word, index) => ((address.words[index] ?? 0) & maskWord(index, prefix.length)) >>> 0 === word,
    )
  );
}

/** True when every address of `inner` is in `outer`. */
export function covers(outer: Prefix, inner: Prefix): boolean {
  return outer.length <= inner.length && contains(outer, inner);
}

export function overlaps(a: Prefix, b: Prefix): boolean {
  return covers(a, b) || covers(b, a);
}

function wordsOf(address: ipaddr.IPv4 | ipaddr.IPv6): number[] {
  const bytes = address.toByteArray();
  const view = new DataView(Uint8Array.from(bytes).buffer);
  return Array.from({ length: bytes.length / 4 }, (_, index) => view.getUint32(index * 4));
}
