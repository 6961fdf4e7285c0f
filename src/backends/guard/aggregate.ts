import {
  allocatePrefixes,
  commonBits,
  mergeEqual,
  type PrefixColumns,
  putPrefix,
  sortPrefixes,
} from "../../compiler/prefix-set.js";
import { addressBits, covers, maskWord } from "../../config/address.js";
import type { Family, Prefix } from "../../config/policy.js";

/** Sorted by address, shorter ones first, each once. */
export function prefixSet(family: Family, prefixes: readonly Prefix[]): PrefixColumns {
  const columns = allocatePrefixes(family, prefixes.length);
  for (const [at, prefix] of prefixes.entries()) putPrefix(columns, at, prefix, 0);
  return distinct(columns);
}

export function distinct(columns: PrefixColumns): PrefixColumns {
  return mergeEqual(sortPrefixes(columns), () => 0);
}

export function prefixAt({ words, length, wordsEach }: PrefixColumns, at: number): Prefix {
  return {
    family: wordsEach === 1 ? 4 : 6,
    words: Array.from(words.subarray(at * wordsEach, (at + 1) * wordsEach)),
    length: length[at] as number,
  };
}

export function prefixesOf(columns: PrefixColumns): Prefix[] {
  return Array.from({ length: columns.count }, (_, at) => prefixAt(columns, at));
}

/**
 * The fewest prefixes that hold the same addresses: those that others cover are left out, and two halves become one. None
 * gets shorter than `shortest`, and none becomes the default route by being put together.
 *
 * @param sorted as `prefixSet` makes them
 */
export function aggregate(sorted: PrefixColumns, shortest = 1): PrefixColumns {
  const { wordsEach } = sorted;
  const kept = allocatePrefixes(wordsEach === 1 ? 4 : 6, sorted.count);
  const { words, length } = kept;
  let count = 0;
  for (let from = 0; from < sorted.count; from++) {
    for (let w = 0; w < wordsEach; w++)
      words[count * wordsEach + w] = sorted.words[from * wordsEach + w] as number;
    length[count] = sorted.length[from] as number;
    const before = count - 1;
    if (before >= 0 && commonBits(words, before, count, wordsEach) >= (length[before] as number)) continue;
    count++;
    while (count >= 2 && areHalves(kept, count - 2, count - 1, shortest)) {
      count--;
      length[count - 1] = (length[count - 1] as number) - 1;
    }
  }
  return { ...kept, count };
}

/** The lower one's bits behind the shorter length are zero as they are. */
function areHalves({ words, length, wordsEach }: PrefixColumns, a: number, b: number, shortest: number) {
  const bits = length[a] as number;
  return bits > shortest && bits === length[b] && commonBits(words, a, b, wordsEach) === bits - 1;
}

/** Those of a set that are inside of a prefix and longer than it. */
export function within(sorted: PrefixColumns, outer: Prefix): Prefix[] {
  const found: Prefix[] = [];
  for (let at = firstFrom(sorted, outer.words); at < sorted.count; at++) {
    const prefix = prefixAt(sorted, at);
    if (
      !outer.words.every(
        (word, w) => ((prefix.words[w] as number) & maskWord(w, outer.length)) >>> 0 === word,
      )
    )
      break;
    if (prefix.length > outer.length) found.push(prefix);
  }
  return found;
}

/** The first whose address is not below. */
function firstFrom({ words, wordsEach, count }: PrefixColumns, address: readonly number[]): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareWords(words, middle * wordsEach, address) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

function compareWords(words: Uint32Array, at: number, address: readonly number[]): number {
  for (const [w, word] of address.entries()) {
    const difference = (words[at + w] as number) - word;
    if (difference !== 0) return difference;
  }
  return 0;
}

/** What is left of a prefix without a hole in it. */
export function without(prefix: Prefix, hole: Prefix): Prefix[] {
  if (prefix.family !== hole.family || covers(hole, prefix))
    return prefix.family === hole.family ? [] : [prefix];
  return covers(prefix, hole) ? halves(prefix).flatMap((half) => without(half, hole)) : [prefix];
}

function halves({ family, words, length }: Prefix): [Prefix, Prefix] {
  const longer = length + 1;
  const upper = words.map((word, w) =>
    w === length >>> 5 ? (word | (1 << (31 - (length & 31)))) >>> 0 : word,
  );
  if (longer > addressBits(family)) throw new RangeError("a single address has no halves");
  return [
    { family, words, length: longer },
    { family, words: upper, length: longer },
  ];
}
