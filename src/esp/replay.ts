/**
 * Anti-replay window (RFC 4303 section 3.4.3) as a ring of 32-bit blocks (RFC 6479): moving it forward clears whole
 * blocks and never shifts, so its cost does not depend on its size.
 */
export class ReplayWindow {
  /** In packets: how far behind the highest number a packet may be. */
  readonly size: number;
  readonly #blocks: Uint32Array;
  readonly #mask: number;
  #top = 0;

  constructor(size: number) {
    this.size = size;
    // One block more than the window covers (RFC 6479 section 3), rounded up so that a mask finds the block.
    let count = 2;
    while (count < Math.ceil(size / 32) + 1) count *= 2;
    this.#blocks = new Uint32Array(count);
    this.#mask = count - 1;
  }

  /** The highest number accepted, 0 before the first. */
  get top(): number {
    return this.#top;
  }

  /** Whether a packet may be accepted. 0 is never sent (RFC 4303 section 3.3.3). Changes nothing. */
  check(sequence: number): boolean {
    if (sequence === 0) return false;
    if (sequence > this.#top) return true;
    if (this.#top - sequence >= this.size) return false;
    return ((this.#block(sequence) >>> (sequence & 31)) & 1) === 0;
  }

  /** Takes note of a packet that passed `check` AND its integrity check; before that, a forger could move the window. */
  accept(sequence: number): void {
    if (sequence > this.#top) {
      const from = this.#top >>> 5;
      const steps = Math.min((sequence >>> 5) - from, this.#blocks.length);
      for (let i = 1; i <= steps; i++) this.#blocks[(from + i) & this.#mask] = 0;
      this.#top = sequence;
    }
    const index = (sequence >>> 5) & this.#mask;
    this.#blocks[index] = this.#block(sequence) | (1 << (sequence & 31));
  }

  /** A window of another size that accepts no number which this one has seen or left behind. */
  resized(size: number): ReplayWindow {
    const window = new ReplayWindow(size);
    const last = this.#top;
    if (last > 0) window.accept(last);
    for (let sequence = Math.max(1, last - size + 1); sequence < last; sequence++) {
      if (!this.check(sequence)) window.accept(sequence);
    }
    return window;
  }

  #block(sequence: number): number {
    return this.#blocks[(sequence >>> 5) & this.#mask] ?? 0;
  }
}
