/**
 * Addresses read from bytes of ASCII, without a string: bulk files have millions. What these do not take (an IPv6
 * address with dotted quads, say, or a mistake) is left to address.ts, which has the messages too.
 */

/** Reads a dotted quad into out[0], host byte order. @returns false where it is not one */
export function readIpv4(bytes: Uint8Array, start: number, end: number, out: Uint32Array): boolean {
  let address = 0;
  let octet = 0;
  let digits = 0;
  let dots = 0;
  for (let i = start; i < end; i++) {
    const c = bytes[i] as number;
    if (c === 0x2e) {
      if (digits === 0 || ++dots > 3) return false;
      address = (address << 8) | octet;
      octet = 0;
      digits = 0;
    } else {
      // No octal: a zero stands alone.
      if (c < 0x30 || c > 0x39 || (digits > 0 && octet === 0)) return false;
      octet = octet * 10 + c - 0x30;
      digits++;
      if (octet > 255) return false;
    }
  }
  if (dots !== 3 || digits === 0) return false;
  out[0] = ((address << 8) | octet) >>> 0;
  return true;
}

/** Reads groups of hexadecimal digits, with at most one `::`, into out[0..3]. @returns false where it is not that */
export function readIpv6(bytes: Uint8Array, start: number, end: number, out: Uint32Array): boolean {
  GROUPS.fill(0);
  let count = 0;
  let gap = -1;
  let group = 0;
  let digits = 0;
  let i = start;
  if (bytes[i] === 0x3a && bytes[i + 1] !== 0x3a) return false;
  for (; i < end; i++) {
    const c = bytes[i] as number;
    if (c !== 0x3a) {
      const digit = hexDigit(c);
      if (digit < 0 || ++digits > 4) return false;
      group = (group << 4) | digit;
      continue;
    }
    if (digits > 0) {
      if (count === 8) return false;
      GROUPS[count++] = group;
      group = 0;
      digits = 0;
    }
    if (i + 1 < end && bytes[i + 1] === 0x3a) {
      if (gap >= 0) return false;
      gap = count;
      i++;
    } else if (i + 1 === end) return false;
  }
  if (digits > 0) {
    if (count === 8) return false;
    GROUPS[count++] = group;
  }
  if (gap < 0 ? count !== 8 : count === 8) return false;
  if (gap >= 0) {
    GROUPS.copyWithin(8 - (count - gap), gap, count);
    GROUPS.fill(0, gap, 8 - (count - gap));
  }
  for (let word = 0; word < 4; word++)
    out[word] = (((GROUPS[2 * word] as number) << 16) | (GROUPS[2 * word + 1] as number)) >>> 0;
  return true;
}

const GROUPS = new Uint16Array(8);

function hexDigit(c: number): number {
  if (c >= 0x30 && c <= 0x39) return c - 0x30;
  const letter = c | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

/** Reads decimal digits without sign and leading zeros. @returns -1 where it is no number up to `max` */
export function readDecimal(bytes: Uint8Array, start: number, end: number, max: number): number {
  if (start === end || (bytes[start] === 0x30 && end - start > 1)) return -1;
  let value = 0;
  for (let i = start; i < end; i++) {
    const c = bytes[i] as number;
    if (c < 0x30 || c > 0x39) return -1;
    value = value * 10 + c - 0x30;
    if (value > max) return -1;
  }
  return value;
}
