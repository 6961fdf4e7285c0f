const HARDWARE = 0;
const SOFTWARE = 1;
const DROPS = 2;
const BURSTS = 3;
const FIELDS = 4;

/** Who did an SA's crypto, packet by packet. One thread writes, another reads at any time, as statistics.ts. */
export class OffloadCounters {
  readonly memory: SharedArrayBuffer;
  readonly #values: Float64Array;

  constructor(memory = new SharedArrayBuffer(FIELDS * Float64Array.BYTES_PER_ELEMENT)) {
    this.memory = memory;
    this.#values = new Float64Array(memory);
  }

  countHardware(): void {
    this.#values[HARDWARE] = this.hardware + 1;
  }

  countSoftware(): void {
    this.#values[SOFTWARE] = this.software + 1;
  }

  countDrop(): void {
    this.#values[DROPS] = this.drops + 1;
  }

  countBurst(): void {
    this.#values[BURSTS] = this.bursts + 1;
  }

  /** Packets that the device encrypted or decrypted. */
  get hardware(): number {
    return this.#values[HARDWARE] ?? 0;
  }

  /** Packets that the stack did, though the SA is offloaded. */
  get software(): number {
    return this.#values[SOFTWARE] ?? 0;
  }

  /** Packets that were dropped because of what the device is or said. */
  get drops(): number {
    return this.#values[DROPS] ?? 0;
  }

  /** GSO packets that the device cut. */
  get bursts(): number {
    return this.#values[BURSTS] ?? 0;
  }
}
