import ipaddr from "ipaddr.js";
import type { Btf, BtfType } from "libbpf-ts";
import { ProgramError } from "./error.js";

/** One place of a C type that takes one written value. */
type Leaf = { readonly offset: number; readonly size: number } & (
  | { readonly kind: "number"; readonly signed: boolean }
  /** An array of characters or bytes: text, or an address of as many bytes. */
  | { readonly kind: "bytes" }
);

/**
 * The bytes of a C type from written values, in the host's byte order. An array or struct takes one value for each of
 * its numbers, in order; those left out are 0. A number is decimal, 0x hexadecimal, true or false; where 4 bytes (or an
 * array of 4 or 16) are wanted, an IP address stands for its bytes in network byte order. An array of characters takes
 * text.
 *
 * @param what names the constant, key or value in errors
 * @throws ProgramError
 */
export function encodeValue(btf: Btf, typeId: number, values: readonly string[], what: string): Buffer {
  const size = btf.sizeOf(typeId);
  const places = leaves(btf, typeId, 0);
  const type = btf.typeName(typeId);
  if (values.length > places.length)
    throw new ProgramError(
      `${what} is given ${values.length} values, but ${type} takes ${places.length}; leave some out`,
    );
  const bytes = Buffer.alloc(size);
  for (const [index, text] of values.entries()) {
    const leaf = places[index] as Leaf;
    const encoded = leaf.kind === "bytes" ? encodeBytes(text, leaf.size) : encodeNumber(text, leaf);
    if (encoded === null)
      throw new ProgramError(
        `${what}: ${JSON.stringify(text)} does not fit ${type}; write ${wanted(leaf)}${places.length > 1 ? ` for its value ${index + 1}` : ""}`,
      );
    encoded.copy(bytes, leaf.offset);
  }
  return bytes;
}

function wanted(leaf: Leaf): string {
  if (leaf.kind === "bytes")
    return `text of at most ${leaf.size} bytes, or an IP address of ${leaf.size} bytes`;
  const bits = leaf.size * 8;
  return leaf.signed
    ? `a whole number of ${bits} bits with sign`
    : `a whole number of ${bits} bits${leaf.size === 4 ? " or an IPv4 address" : ""}`;
}

function leaves(btf: Btf, typeId: number, offset: number): Leaf[] {
  const type: BtfType = btf.resolve(typeId);
  switch (type.kind) {
    case "int":
      return [{ kind: "number", offset, size: type.size, signed: type.signed }];
    case "enum":
      return [{ kind: "number", offset, size: type.size, signed: type.signed }];
    case "array": {
      const size = btf.sizeOf(type.type);
      if (size === 1) return [{ kind: "bytes", offset, size: type.length }];
      return Array.from({ length: type.length }, (_, i) => leaves(btf, type.type, offset + i * size)).flat();
    }
    case "struct":
      return type.members.flatMap(({ type: member, bitOffset, bits }) => {
        if (bits > 0) throw new ProgramError(`${btf.typeName(typeId)} has bit fields; use whole members`);
        return leaves(btf, member, offset + bitOffset / 8);
      });
    case "union": {
      // All members begin at the same place; the first says how it is written, as in C.
      const [first] = type.members;
      return first ? leaves(btf, first.type, offset) : [];
    }
    default:
      throw new ProgramError(`${btf.typeName(typeId)} cannot be written; use integers, arrays and structs`);
  }
}

function encodeNumber(text: string, { size, signed }: Leaf & { kind: "number" }): Buffer | null {
  if (size === 4 && ipaddr.IPv4.isValidFourPartDecimal(text)) return addressBytes(text);
  const literal = { true: "1", false: "0" }[text] ?? text;
  // 010 is 8 to C and 10 to most others.
  if (!/^-?(0x[0-9a-f]+|0|[1-9]\d*)$/i.test(literal)) return null;
  const magnitude = BigInt(literal.replace("-", ""));
  const value = literal.startsWith("-") ? -magnitude : magnitude;
  const fits = signed ? BigInt.asIntN(size * 8, value) : BigInt.asUintN(size * 8, value);
  if (fits !== value) return null;
  const bytes = Buffer.alloc(Math.max(size, 8));
  bytes.writeBigUInt64LE(BigInt.asUintN(64, value));
  return bytes.subarray(0, size);
}

function encodeBytes(text: string, size: number): Buffer | null {
  if (ipaddr.IPv4.isValidFourPartDecimal(text) || ipaddr.IPv6.isValid(text)) {
    const address = addressBytes(text);
    if (address.length === size) return address;
  }
  const bytes = Buffer.from(text);
  return bytes.length <= size ? bytes : null;
}

function addressBytes(text: string): Buffer {
  return Buffer.from(ipaddr.parse(text).toByteArray());
}
