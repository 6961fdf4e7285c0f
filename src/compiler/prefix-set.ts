import type { Family, Prefix } from "../config/policy.js";

/** Prefixes of one family as columns, so that a million of them are a few flat arrays. */
export interface PrefixColumns {
  /** 32-bit words of an address: 1 for IPv4, 4 for IPv6. */
  readonly wordsEach: 1 | 4;
  readonly count: number;
  /** wordsEach words a prefix, host byte order, most significant first; bits behind the length are zero. */
  readonly words: Uint32Array;
  readonly length: Uint8Array;
  readonly owner: Uint32Array;
}

export function allocatePrefixes(family: Family, count: number): PrefixColumns {
  const wordsEach = family === 4 ? 1 : 4;
  return {
    wordsEach,
    count,
    words: new Uint32Array(count * wordsEach),
    length: new Uint8Array(count),
    owner: new Uint32Array(count),
  };
}

export function putPrefix(columns: PrefixColumns, at: number, prefix: Prefix, owner: number): void {
  const { wordsEach } = columns;
  for (let w = 0; w < wordsEach; w++) columns.words[at * wordsEach + w] = prefix.words[w] as number;
  columns.length[at] = prefix.length;
  columns.owner[at] = owner;
}

/** The prefixes by address, shorter ones first where addresses are equal. */
export function sortPrefixes(columns: PrefixColumns): PrefixColumns {
  const { wordsEach, count, words, length, owner } = columns;
  const order = sortedOrder(columns);
  const sorted = allocatePrefixes(wordsEach === 1 ? 4 : 6, count);
  for (let i = 0; i < count; i++) {
    const from = order[i] as number;
    for (let w = 0; w < wordsEach; w++)
      sorted.words[i * wordsEach + w] = words[from * wordsEach + w] as number;
    sorted.length[i] = length[from] as number;
    sorted.owner[i] = owner[from] as number;
  }
  return sorted;
}

/** Up to here a comparison sort is cheaper than to fill and read the radix sort's 65,536 counters. */
const FEW = 4096;

function sortedOrder(columns: PrefixColumns): Uint32Array {
  if (columns.count > FEW) return radixOrder(columns);
  const { wordsEach, count, words, length } = columns;
  return Uint32Array.from({ length: count }, (_, i) => i).sort((a, b) => {
    for (let w = 0; w < wordsEach; w++) {
      const difference = (words[a * wordsEach + w] as number) - (words[b * wordsEach + w] as number);
      if (difference !== 0) return difference;
    }
    return (length[a] as number) - (length[b] as number) || a - b;
  });
}

/** Radix sort by 16-bit digits, from the length up; a digit that all prefixes share costs one pass over them. */
function radixOrder({ wordsEach, count, words, length }: PrefixColumns): Uint32Array {
  let order = new Uint32Array(count);
  for (let i = 0; i < count; i++) order[i] = i;
  let next = new Uint32Array(count);
  const digits = new Uint16Array(count);
  const starts = new Uint32Array(65537);
  const pass = () => {
    starts.fill(0);
    for (let i = 0; i < count; i++) {
      const at = (digits[i] as number) + 1;
      starts[at] = (starts[at] as number) + 1;
    }
    if (starts.includes(count, 1)) return;
    for (let d = 1; d < 65537; d++) starts[d] = (starts[d] as number) + (starts[d - 1] as number);
    for (let i = 0; i < count; i++) {
      const item = order[i] as number;
      const digit = digits[item] as number;
      const to = starts[digit] as number;
      next[to] = item;
      starts[digit] = to + 1;
    }
    [order, next] = [next, order];
  };
  digits.set(length);
  pass();
  for (let w = wordsEach - 1; w >= 0; w--)
    for (const shift of [0, 16]) {
      for (let i = 0; i < count; i++) digits[i] = (words[i * wordsEach + w] as number) >>> shift;
      pass();
    }
  return order;
}

/** Sorted prefixes without repetition; `merge` gives the owner of one that several have (two or more, ascending). */
export function mergeEqual(sorted: PrefixColumns, merge: (owners: Uint32Array) => number): PrefixColumns {
  const { wordsEach, words, length, owner } = sorted;
  const same = (i: number, j: number) => {
    if (length[i] !== length[j]) return false;
    for (let w = 0; w < wordsEach; w++)
      if (words[i * wordsEach + w] !== words[j * wordsEach + w]) return false;
    return true;
  };
  let kept = 0;
  for (let i = 0; i < sorted.count; ) {
    let end = i + 1;
    while (end < sorted.count && same(i, end)) end++;
    let has = owner[i] as number;
    if (end > i + 1) {
      const owners = Uint32Array.from(new Set(owner.subarray(i, end))).sort();
      if (owners.length > 1) has = merge(owners);
    }
    if (kept !== i) words.copyWithin(kept * wordsEach, i * wordsEach, (i + 1) * wordsEach);
    length[kept] = length[i] as number;
    owner[kept] = has;
    kept++;
    i = end;
  }
  return { ...sorted, count: kept };
}

/** `width` bits (at most 26) of an address from bit `offset` on; 0 is the most significant. */
export function addressBits(
  words: Uint32Array,
  at: number,
  wordsEach: number,
  offset: number,
  width: number,
): number {
  if (width === 0) return 0;
  const word = offset >>> 5;
  const shift = offset & 31;
  const first = words[at * wordsEach + word] as number;
  if (shift === 0) return first >>> (32 - width);
  const second = word + 1 < wordsEach ? (words[at * wordsEach + word + 1] as number) : 0;
  return ((first << shift) | (second >>> (32 - shift))) >>> (32 - width);
}

/** Leading bits that two addresses have in common. */
export function commonBits(words: Uint32Array, a: number, b: number, wordsEach: number): number {
  for (let w = 0; w < wordsEach; w++) {
    const differ = (words[a * wordsEach + w] as number) ^ (words[b * wordsEach + w] as number);
    if (differ !== 0) return 32 * w + Math.clz32(differ);
  }
  return 32 * wordsEach;
}
