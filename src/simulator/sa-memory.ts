import type { OffloadStatistics } from "../esp/offload/contract.js";

const ALIVE = 0;
const PRESENT = 1;
const ESN_HIGH = 2;
const PACKETS = 3;
const BYTES = 4;
const FIELDS = 5;

/** What an SA's driver shares with the thread that sends or receives with it; doubles, as esp/statistics.ts. */
export class SaMemory {
  readonly shared: SharedArrayBuffer;
  readonly #values: Float64Array;

  constructor(shared?: SharedArrayBuffer) {
    this.shared = shared ?? new SharedArrayBuffer(FIELDS * Float64Array.BYTES_PER_ELEMENT);
    this.#values = new Float64Array(this.shared);
  }

  /** False once the stack deleted the SA. */
  get alive(): boolean {
    return this.#values[ALIVE] === 1;
  }

  set alive(value: boolean) {
    this.#values[ALIVE] = value ? 1 : 0;
  }

  /** Whether it is in the table of the port that serves: a bond's second port may have refused it. */
  get present(): boolean {
    return this.#values[PRESENT] === 1;
  }

  set present(value: boolean) {
    this.#values[PRESENT] = value ? 1 : 0;
  }

  /** Upper half of the sequence number that the device works with. */
  get esnHigh(): number {
    return this.#values[ESN_HIGH] ?? 0;
  }

  set esnHigh(value: number) {
    this.#values[ESN_HIGH] = value;
  }

  /** Counts a packet that the device encrypted or decrypted. */
  count(bytes: number): void {
    this.#values[PACKETS] = (this.#values[PACKETS] ?? 0) + 1;
    this.#values[BYTES] = (this.#values[BYTES] ?? 0) + bytes;
  }

  get statistics(): OffloadStatistics {
    return { packets: this.#values[PACKETS] ?? 0, bytes: this.#values[BYTES] ?? 0 };
  }
}
