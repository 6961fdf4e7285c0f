import { endianness } from "node:os";

/** Netlink numbers are in host byte order. */
export const LITTLE_ENDIAN = endianness() === "LE";
const HEADER_SIZE = 4;
/** NLA_TYPE_MASK in <linux/netlink.h>: without the flags of nested ones and of network byte order. */
const TYPE_MASK = 0x3fff;

/** Attributes (struct nlattr) by type, from a message or from one that nests them; of equal types the last. */
export class Attributes {
  readonly #byType = new Map<number, Uint8Array>();

  constructor(bytes: Uint8Array) {
    const view = viewOf(bytes);
    for (let at = 0; at + HEADER_SIZE <= bytes.length; ) {
      const length = view.getUint16(at, LITTLE_ENDIAN);
      if (length < HEADER_SIZE || at + length > bytes.length) break;
      const type = view.getUint16(at + 2, LITTLE_ENDIAN) & TYPE_MASK;
      this.#byType.set(type, bytes.subarray(at + HEADER_SIZE, at + length));
      at += align(length);
    }
  }

  has(type: number): boolean {
    return this.#byType.has(type);
  }

  bytes(type: number): Uint8Array | undefined {
    return this.#byType.get(type);
  }

  uint32(type: number): number | undefined {
    const bytes = this.#byType.get(type);
    return bytes === undefined || bytes.length < 4 ? undefined : viewOf(bytes).getUint32(0, LITTLE_ENDIAN);
  }

  /** Without its final NUL. */
  text(type: number): string | undefined {
    const bytes = this.#byType.get(type);
    return bytes && new TextDecoder().decode(bytes).replace(/\0.*$/s, "");
  }

  nested(type: number): Attributes | undefined {
    const bytes = this.#byType.get(type);
    return bytes && new Attributes(bytes);
  }
}

/** NLMSG_ALIGN and NLA_ALIGN. */
export function align(length: number): number {
  return (length + 3) & ~3;
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
