/** Windows of bits of an address that the BPF program has in halves. */

/** Bits of a half, which a window must not cross. */
export const HALF = 64;

/** A word whose first `bits` bits are set: none where there are less than one, at most all. */
export function leading(bits: number): number {
  return bits <= 0 ? 0 : bits >= 32 ? 0xffffffff : (-1 << (32 - bits)) >>> 0;
}

/** The `width` bits behind the first `skip`, of halves of which an IPv4 address is the top of the first. */
export function rootWindow(skip: number, width: number, wordsEach: number) {
  const low = wordsEach === 4 && skip >= HALF;
  const end = (skip + width - (low ? HALF : 0)) & (HALF - 1);
  return { shift: (HALF - end) & (HALF - 1), picked: 2 ** width - 1, by_low: low ? 1 : 0 };
}

/** Where a window of `bits` bits that should begin at `offset` begins, so that it neither crosses a half nor ends behind the address. */
export function windowStart(offset: number, bits: number, wordsEach: number): number {
  const end = 32 * wordsEach;
  if (wordsEach === 1) return Math.min(offset, end - bits);
  return offset < HALF ? Math.min(offset, HALF - bits) : Math.min(offset, end - bits);
}
