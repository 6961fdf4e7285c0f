const WORD = 2 ** 32;

/** The two halves of a sequence number; the high one is 0 without extended sequence numbers. */
export interface SequenceNumber {
  readonly high: number;
  readonly low: number;
}

/** What stands before the first number. */
const FIRST: SequenceNumber = { high: 0, low: 0 };

/**
 * The number that an SA goes on from. One without extended sequence numbers cannot count on from a higher number: its own
 * are used up then.
 * @param last below 2^53
 */
export function sequenceNumber(last: number, esn: boolean): SequenceNumber {
  return esn
    ? { high: Math.floor(last / WORD), low: last % WORD }
    : { high: 0, low: Math.min(last, WORD - 1) };
}

/**
 * Memory for the blocks of many windows, as an array for each would be two cache misses more for each of many SAs. It is
 * freed once none of them is left.
 */
const POOL_BLOCKS = 8192;
let pool = new Uint32Array(0);
let used = 0;

function allocate(count: number): { readonly blocks: Uint32Array; readonly first: number } {
  if (used + count > pool.length) {
    pool = new Uint32Array(POOL_BLOCKS);
    used = 0;
  }
  used += count;
  return { blocks: pool, first: used - count };
}

/**
 * Anti-replay window (RFC 4303 section 3.4.3) as a ring of 32-bit blocks (RFC 6479): moving it forward clears whole
 * blocks and never shifts, so its cost does not depend on its size. A sequence number is given as its high and its low
 * 32 bits; the high ones are 0 without extended sequence numbers.
 */
export class ReplayWindow {
  /** In packets: how far behind the highest number a packet may be. */
  readonly size: number;
  /** Extended sequence numbers (RFC 4304). */
  readonly esn: boolean;
  /** Those of this window begin at #first. */
  readonly #blocks: Uint32Array;
  readonly #first: number;
  readonly #mask: number;
  /** The block of the highest number: kept here, so that packets in order read no other memory. */
  #newest = 0;
  /** The highest number accepted, 0 before the first. */
  #topHigh = 0;
  #topLow = 0;

  /** @param last the highest number of the same key that was accepted before: neither it nor one below is accepted again */
  constructor(size: number, esn = false, last = FIRST) {
    this.size = size;
    this.esn = esn;
    // One block more than the window covers (RFC 6479 section 3), rounded up so that a mask finds the block.
    let count = 2;
    while (count < Math.ceil(size / 32) + 1) count *= 2;
    const { blocks, first } = allocate(count);
    this.#blocks = blocks;
    this.#first = first;
    this.#mask = count - 1;
    if (last.high === 0 && last.low === 0) return;
    this.#topHigh = last.high;
    this.#topLow = last.low;
    // Blocks are cleared when the window comes to them; the bits above the top in its own block stand for numbers to come.
    blocks.fill(0xffffffff, first, first + count);
    this.#newest = 0xffffffff >>> (31 - (last.low & 31));
  }

  /** The highest number accepted. */
  get topHigh(): number {
    return this.#topHigh;
  }

  get topLow(): number {
    return this.#topLow;
  }

  /**
   * The high 32 bits that a packet with these low ones must have been sent with (RFC 4303 appendix A2.2).
   * @returns -1 or 2^32 where there is no such packet: `check` takes neither
   */
  high(low: number): number {
    if (!this.esn) return 0;
    const top = this.#topLow;
    if (top >= this.size - 1) return low >= top - this.size + 1 ? this.#topHigh : this.#topHigh + 1;
    // The window reaches back into the numbers before the low word's last overflow.
    return low >= top - this.size + 1 + WORD ? this.#topHigh - 1 : this.#topHigh;
  }

  /** Whether a packet may be accepted. 0 is never sent (RFC 4303 section 3.3.3). Changes nothing. */
  check(high: number, low: number): boolean {
    if (high < 0 || high >= WORD || (low === 0 && high === 0)) return false;
    const behind = this.#behind(high, low);
    if (behind < 0) return true;
    if (behind >= this.size) return false;
    return ((this.#block(low) >>> (low & 31)) & 1) === 0;
  }

  /** Takes note of a packet that passed `check` AND its integrity check; before that, a forger could move the window. */
  accept(high: number, low: number): void {
    const ahead = -this.#behind(high, low);
    if (ahead > 0) {
      const from = this.#topLow >>> 5;
      const steps = Math.min(Math.floor(((this.#topLow & 31) + ahead) / 32), this.#mask + 1);
      if (steps > 0) this.#leaveNewest();
      for (let i = 1; i <= steps; i++) this.#blocks[this.#index(from + i)] = 0;
      this.#topHigh = high;
      this.#topLow = low;
    }
    const bit = 1 << (low & 31);
    if (this.#isNewest(low)) this.#newest |= bit;
    else this.#blocks[this.#index(low >>> 5)] = this.#block(low) | bit;
  }

  /** As `accept`, of the `count` numbers behind the highest; the low word must not overflow. */
  acceptNext(count: number): void {
    for (let left = count; left > 0; ) {
      const low = this.#topLow + 1;
      const bit = low & 31;
      const some = Math.min(left, 32 - bit);
      if (bit === 0) this.#leaveNewest();
      this.#newest |= (0xffffffff >>> (32 - some)) << bit;
      this.#topLow += some;
      left -= some;
    }
  }

  /** A window of another size that accepts no number which this one has seen or left behind. */
  resized(size: number): ReplayWindow {
    const window = new ReplayWindow(size, this.esn);
    const high = this.#topHigh;
    const low = this.#topLow;
    if (high > 0 || low > 0) window.accept(high, low);
    for (let behind = size - 1; behind > 0; behind--) {
      const borrow = low < behind ? 1 : 0;
      if (high - borrow < 0) continue;
      const number = low - behind + borrow * WORD;
      if (!this.check(high - borrow, number)) window.accept(high - borrow, number);
    }
    return window;
  }

  /** Exact as long as the numbers are less than 2^53 apart, and rightly signed beyond. */
  #behind(high: number, low: number): number {
    return (this.#topHigh - high) * WORD + (this.#topLow - low);
  }

  #isNewest(low: number): boolean {
    return low >>> 5 === this.#topLow >>> 5;
  }

  /** Before the highest number goes on to another block. */
  #leaveNewest(): void {
    this.#blocks[this.#index(this.#topLow >>> 5)] = this.#newest;
    this.#newest = 0;
  }

  #block(low: number): number {
    if (this.#isNewest(low)) return this.#newest;
    return this.#blocks[this.#index(low >>> 5)] ?? 0;
  }

  /** Where the block of 32 numbers is that has this number among all. */
  #index(block: number): number {
    return this.#first + (block & this.#mask);
  }
}
