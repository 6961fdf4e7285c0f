/** An SA is refused from the packet on that finds one of these reached; Infinity for none. */
export interface HardLimits {
  readonly packets: number;
  readonly bytes: number;
}

const NO_LIMITS: HardLimits = { packets: Infinity, bytes: Infinity };

/** What is kept of one SA's traffic: a row of doubles, which is a cache line, in memory that many SAs have in common. */
const ROW = 8;
const FIELD = { packets: 0, bytes: 1, sequence: 2, expired: 3, maxPackets: 4, maxBytes: 5 } as const;
/** Rows that are allocated at a time, and freed once no SA has any of them. */
const ROWS = 64;

/** A row, for the threads that share it. */
export interface TrafficRow {
  readonly memory: SharedArrayBuffer;
  readonly index: number;
}

/** Makes rows. */
export class TrafficRows {
  #memory: SharedArrayBuffer | null = null;
  #used = ROWS;

  /** @returns a row of zeros */
  take(): TrafficRow {
    if (this.#memory === null || this.#used === ROWS) {
      this.#memory = new SharedArrayBuffer(ROWS * ROW * Float64Array.BYTES_PER_ELEMENT);
      this.#used = 0;
    }
    return { memory: this.#memory, index: this.#used++ };
  }
}

const views = new WeakMap<SharedArrayBuffer, Float64Array>();

/** One view for all rows of some memory: with one for each, a packet of another SA would miss the cache four times more. */
function doublesOf(memory: SharedArrayBuffer): Float64Array {
  const known = views.get(memory);
  if (known !== undefined) return known;
  const view = new Float64Array(memory);
  views.set(memory, view);
  return view;
}

/**
 * Packets and bytes of one SA, shared as Counters are, and whether it may still be used. A byte is one of the inner
 * packet, in transport and BEET mode without its IP header.
 */
export class Traffic {
  readonly row: TrafficRow;
  readonly #values: Float64Array;
  readonly #at: number;

  /** @param row of TrafficRows; one of its own if left out */
  constructor(row: TrafficRow = new TrafficRows().take(), limits: HardLimits = NO_LIMITS) {
    this.row = row;
    this.#values = doublesOf(row.memory);
    this.#at = row.index * ROW;
    this.#set(FIELD.maxPackets, limits.packets);
    this.#set(FIELD.maxBytes, limits.bytes);
  }

  /** Counts packets. @param sequence the number last sent, or the highest accepted; exact below 2^53 */
  add(bytes: number, sequence: number, packets = 1): void {
    this.#set(FIELD.packets, this.packets + packets);
    this.#set(FIELD.bytes, this.bytes + bytes);
    this.#set(FIELD.sequence, sequence);
  }

  /** What a new SA goes on from, before a worker has it; see `add`. */
  startFrom(sequence: number): void {
    this.#set(FIELD.sequence, sequence);
  }

  get sequence(): number {
    return this.#get(FIELD.sequence);
  }

  get packets(): number {
    return this.#get(FIELD.packets);
  }

  get bytes(): number {
    return this.#get(FIELD.bytes);
  }

  /** Whether a hard limit is reached (net/xfrm/xfrm_state.c, xfrm_state_check_expire). */
  get exhausted(): boolean {
    return !this.allows(1, 1);
  }

  /** Whether no hard limit stands in the way of so many more packets, of so many bytes together. */
  allows(packets: number, bytes: number): boolean {
    return (
      !this.expired &&
      this.packets + packets <= this.#get(FIELD.maxPackets) &&
      this.bytes + bytes <= this.#get(FIELD.maxBytes)
    );
  }

  get expired(): boolean {
    return this.#get(FIELD.expired) !== 0;
  }

  /** Ends the SA, from whichever thread: its time is over. */
  expire(): void {
    this.#set(FIELD.expired, 1);
  }

  #get(field: number): number {
    return this.#values[this.#at + field] ?? 0;
  }

  #set(field: number, value: number): void {
    this.#values[this.#at + field] = value;
  }
}
