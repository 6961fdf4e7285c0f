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
  /** The address of the first byte. */
  readonly base: number;

  /** @param memory size in bytes of new, zeroed memory; or memory that exists and is never to be detached */
  constructor(memory: number | ArrayBuffer) {
    const buffer = typeof memory === "number" ? new ArrayBuffer(memory) : memory;
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.base = Number(koffi.address(buffer));
  }

  /** Stores a 64-bit address or size. Host byte order: x86-64 and arm64 are little-endian. */
  setPointer(offset: number, value: number): void {
    this.view.setUint32(offset, value >>> 0, true);
    this.view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
  }
}
