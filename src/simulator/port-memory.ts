const FEATURES = 0;
const UP = 1;
const WORDS = 2;

/** What the thread that configures a port shares with those that send and receive through it. */
export class PortMemory {
  readonly shared: SharedArrayBuffer;
  readonly #words: Int32Array;

  constructor(shared?: SharedArrayBuffer) {
    this.shared = shared ?? new SharedArrayBuffer(WORDS * Int32Array.BYTES_PER_ELEMENT);
    this.#words = new Int32Array(this.shared);
    if (shared === undefined) this.up = true;
  }

  /** FEATURES of the contract, ORed. */
  get features(): number {
    return Atomics.load(this.#words, FEATURES);
  }

  set features(value: number) {
    Atomics.store(this.#words, FEATURES, value);
  }

  get up(): boolean {
    return Atomics.load(this.#words, UP) !== 0;
  }

  set up(value: boolean) {
    Atomics.store(this.#words, UP, value ? 1 : 0);
  }
}
