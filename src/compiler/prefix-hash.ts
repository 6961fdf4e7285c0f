/** Which long prefixes are hashed rather than walked to: see bpf/prefixes.h. */
import { Hash64, type Hashes } from "./perfect-hash.js";
import { allocatePrefixes, commonBits, type PrefixColumns } from "./prefix-set.js";

/** Fewer prefixes than this stay in the caches, where a walk costs no more than a hash. */
const FEWEST = 2 ** 15;
/** The BPF program hashes bits of an address's high half only. */
const MOST_BITS = 64;

/**
 * The fewest leading bits that tell most of the prefixes apart which have so many: a hash over them leads to one prefix
 * mostly. 0 where there are none, or too few prefixes.
 */
export function hashedBits({ wordsEach, count, words, length }: PrefixColumns): number {
  if (count < FEWEST) return 0;
  const byLength = new Uint32Array(129);
  /** Leading bits that each has in common with the one before. */
  const common = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    byLength[length[i] as number] = (byLength[length[i] as number] as number) + 1;
    if (i > 0) common[i] = commonBits(words, i - 1, i, wordsEach);
  }
  let long = count;
  for (let bits = 1; bits <= Math.min(MOST_BITS, 32 * wordsEach) && 2 * long >= count; bits++) {
    long -= byLength[bits - 1] as number;
    if (byLength[bits] === 0) continue;
    let groups = 0;
    for (let i = 0; i < count; i++)
      if ((length[i] as number) >= bits && (common[i] as number) < bits) groups++;
    if (2 * groups >= long && 2 * long >= count) return bits;
  }
  return 0;
}

/** Those that are shorter than `bits` before those, from `from` on, that are not; otherwise in order as they are. */
export function shorterFirst(set: PrefixColumns, bits: number): { set: PrefixColumns; from: number } {
  const { wordsEach, count, words, length, owner } = set;
  let from = 0;
  for (let i = 0; i < count; i++) if ((length[i] as number) < bits) from++;
  if (from === 0) return { set, from };
  const parted = allocatePrefixes(wordsEach === 1 ? 4 : 6, count);
  let [short, long] = [0, from];
  for (let i = 0; i < count; i++) {
    const to = (length[i] as number) < bits ? short++ : long++;
    for (let w = 0; w < wordsEach; w++) parted.words[to * wordsEach + w] = words[i * wordsEach + w] as number;
    parted.length[to] = length[i] as number;
    parted.owner[to] = owner[i] as number;
  }
  return { set: parted, from };
}

/** Where each group of prefixes [from, count) begins that share their first `bits` bits, and at last the count. */
export function groupsOf(
  { wordsEach, count, words }: PrefixColumns,
  from: number,
  bits: number,
): Uint32Array {
  const starts = new Uint32Array(count - from + 1);
  let groups = 0;
  for (let i = from; i < count; i++)
    if (i === from || commonBits(words, i - 1, i, wordsEach) < bits) starts[groups++] = i;
  starts[groups++] = count;
  return starts.subarray(0, groups);
}

/** Of the first `bits` bits of each group, as hashed_value() in bpf/prefixes.h has them. */
export function hashPrefixes(
  { wordsEach, words }: PrefixColumns,
  groups: Uint32Array,
  bits: number,
  seed: number,
): Hashes {
  const count = groups.length - 1;
  const high = new Uint32Array(count);
  const low = new Uint32Array(count);
  const hash = new Hash64();
  const [first, second] = [mask(bits), mask(bits - 32)];
  for (let g = 0; g < count; g++) {
    const at = (groups[g] as number) * wordsEach;
    hash.start(seed);
    hash.stir((words[at] as number) & first, wordsEach === 1 ? 0 : (words[at + 1] as number) & second);
    high[g] = hash.high;
    low[g] = hash.low;
  }
  return { high, low };
}

/** A word's first `bits` bits. */
function mask(bits: number): number {
  return bits <= 0 ? 0 : bits >= 32 ? -1 : -1 << (32 - bits);
}
