import { allocateSummingMemory } from "./checksum-wasm.js";
import { Slab } from "./slab.js";

const PAGE_SIZE = 65536;

/** A Slab for packets: it can sum its bytes fast. */
export class PacketSlab extends Slab {
  /**
   * The ones' complement sum (RFC 1071) of up to 65535 bytes, in the machine's (little-endian) order, folded to 16 bits:
   * a value in network order is added after swap16, and a result is stored with little-endian setters. Not inverted.
   * @param seed a sum to go on from, of no more than 31 bits
   */
  readonly sum: (offset: number, length: number, seed: number) => number;

  /** @param size in bytes, rounded up to 64 KiB */
  constructor(size: number) {
    const { buffer, sum } = allocateSummingMemory(Math.ceil(size / PAGE_SIZE));
    super(buffer);
    this.sum = sum;
  }
}

/** A 16-bit value in the other byte order. */
export const swap16 = (value: number): number => ((value & 0xff) << 8) | ((value >>> 8) & 0xff);

/** Folds a ones' complement sum of up to 32 bits to 16. */
export function fold16(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}
