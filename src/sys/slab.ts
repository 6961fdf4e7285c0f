import koffi from "koffi";

/**
 * A block of memory that system and crypto calls address directly.
 *
 * An ArrayBuffer's store lies outside the JavaScript heap, so the collector never moves it and `base` stays right for
 * as long as the Slab is referenced.
 */
export class Slab {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  /** The address of the first byte, and its halves. */
  readonly base: number;
  readonly low: number;
  readonly high: number;

  /**
   * @param memory size in bytes of new, zeroed memory; or memory that exists and is never to be detached
   * @param alignment of new memory
   */
  constructor(memory: number | ArrayBuffer, alignment = 1) {
    const isNew = typeof memory === "number";
    const buffer = isNew ? new ArrayBuffer(memory + alignment - 1) : memory;
    const address = Number(koffi.address(buffer));
    const offset = isNew ? (alignment - (address % alignment)) % alignment : 0;
    const size = isNew ? memory : buffer.byteLength;
    this.bytes = new Uint8Array(buffer, offset, size);
    this.view = new DataView(buffer, offset, size);
    this.base = address + offset;
    this.low = this.base >>> 0;
    this.high = Math.floor(this.base / 2 ** 32);
  }

  /** Stores the address of the byte at `target` of another Slab: as setPointer does, by integers only, which is faster. */
  setAddress(offset: number, slab: Slab, target: number): void {
    const low = (slab.low + target) >>> 0;
    this.view.setUint32(offset, low, true);
    this.view.setUint32(offset + 4, low < slab.low ? slab.high + 1 : slab.high, true);
  }

  /** Stores a 64-bit address or size. Host byte order: x86-64 and arm64 are little-endian. */
  setPointer(offset: number, value: number): void {
    this.view.setUint32(offset, value >>> 0, true);
    this.view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
  }
}
