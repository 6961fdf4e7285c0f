/** Hexadecimal digits to bytes, without a string, which nobody could wipe. */

const isBlank = (c: number): boolean => c === 0x20 || (c >= 0x09 && c <= 0x0d);

/** @returns the digit's value; -1 where it is none */
function digitOf(c: number): number {
  if (c >= 0x30 && c <= 0x39) return c - 0x30;
  const letter = c | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x61 + 10 : -1;
}

/** @returns how many digits there are, white space left out; -1 where there is something else */
export function countDigits(text: Uint8Array): number {
  let count = 0;
  for (const c of text) {
    if (isBlank(c)) continue;
    if (digitOf(c) < 0) return -1;
    count++;
  }
  return count;
}

/** Fills `bytes` from twice as many digits, as counted by countDigits. */
export function decodeDigits(text: Uint8Array, bytes: Uint8Array): void {
  let count = 0;
  for (const c of text) {
    if (isBlank(c)) continue;
    const at = count++ >> 1;
    bytes[at] = ((bytes[at] ?? 0) << 4) | digitOf(c);
  }
}
