/**
 * Perfect hash tables (Belazzougui, Botelho and Dietzfelbinger 2009; Pibiri and Trani 2021): a key's hash picks a bucket,
 * and with the bucket's pilot, which is chosen so that no two keys meet, the one slot that can hold the key. See
 * bpf/hash.h.
 */

/** Keys of a bucket on average, and slots that are taken: more of either and the last buckets find no pilot. */
const BUCKET = 3;
const LOAD = 0.8;
const PILOTS = 256;
/** Seeds to try, of which the first nearly always does. */
const SEEDS = 16;

/** Upper and lower halves of the keys' 64-bit hashes. */
export interface Hashes {
  readonly high: Uint32Array;
  readonly low: Uint32Array;
}

/** What a lookup needs. */
export interface HashShape {
  readonly buckets: number;
  readonly slots: number;
  readonly seed: number;
}

export interface PerfectHash {
  readonly shape: HashShape;
  /** One byte a bucket. */
  readonly pilots: Uint8Array;
  /** By slot, the number of its key and 1, or 0. */
  readonly placed: Uint32Array;
}

/** A place for each of `count` keys; null where no seed leads to a table, as with two keys that are equal. */
export function buildPerfectHash(count: number, hash: (seed: number) => Hashes): PerfectHash | null {
  const sizes = { buckets: Math.ceil(count / BUCKET), slots: Math.ceil(count / LOAD) };
  for (let seed = 0; seed < SEEDS; seed++) {
    const pilots = new Uint8Array(sizes.buckets);
    const shape = { ...sizes, seed };
    const placed = place(hash(seed), shape, pilots);
    if (placed) return { shape, pilots, placed };
  }
  return null;
}

/** stir() of bpf/hash.h in halves: for 2^64 divided by the golden ratio, h = (h ^ word) * ratio; h ^= h >> 32. */
export class Hash64 {
  high = 0;
  low = 0;

  start(seed: number): void {
    this.high = 0;
    this.low = seed;
  }

  stir(wordHigh: number, wordLow: number): void {
    const high = this.high ^ wordHigh;
    const low = (this.low ^ wordLow) >>> 0;
    // low * 0x7f4a7c15 in full, by the halves of low: neither product is above 2^53.
    const first = (low & 0xffff) * 0x7f4a7c15;
    const second = (low >>> 16) * 0x7f4a7c15 + Math.floor(first / 0x10000);
    const productLow = (second << 16) | (first & 0xffff);
    const productHigh = Math.floor(second / 0x10000);
    this.high = (productHigh + Math.imul(high, 0x7f4a7c15) + Math.imul(low, 0x9e3779b9)) >>> 0;
    this.low = (productLow ^ this.high) >>> 0;
  }
}

/**
 * Finds a pilot for every bucket, the fullest first.
 *
 * @param pilots filled, one byte a bucket
 * @returns by slot, the number of its key and 1, or 0; null where some bucket found no pilot
 */
function place(hashes: Hashes, table: HashShape, pilots: Uint8Array): Uint32Array | null {
  const { high, low } = hashes;
  const { starts, keys } = byBucket(high, table.buckets);
  const slots = new Uint32Array(table.slots);
  const size = (bucket: number) => (starts[bucket + 1] as number) - (starts[bucket] as number);
  for (const bucket of fullestFirst(table.buckets, size)) {
    const from = starts[bucket] as number;
    const to = starts[bucket + 1] as number;
    let pilot = 0;
    while (pilot < PILOTS && !settle(pilot, from, to)) pilot++;
    if (pilot === PILOTS) return null;
    pilots[bucket] = pilot;
  }
  return slots;

  /** Puts keys [from, to) into their slots, or none of them where one is taken. */
  function settle(pilot: number, from: number, to: number): boolean {
    for (let i = from; i < to; i++) {
      const slot = slotOf(low[keys[i] as number] as number, pilot, table.slots);
      if (slots[slot] === 0) {
        slots[slot] = (keys[i] as number) + 1;
        continue;
      }
      while (--i >= from) slots[slotOf(low[keys[i] as number] as number, pilot, table.slots)] = 0;
      return false;
    }
    return true;
  }
}

/** The keys in order of their buckets: those of bucket b are keys[starts[b], starts[b + 1]). */
function byBucket(high: Uint32Array, buckets: number): { starts: Uint32Array; keys: Uint32Array } {
  const starts = new Uint32Array(buckets + 1);
  for (const hash of high) {
    const next = scale(hash, buckets) + 1;
    starts[next] = (starts[next] as number) + 1;
  }
  for (let b = 0; b < buckets; b++) starts[b + 1] = (starts[b + 1] as number) + (starts[b] as number);
  const next = starts.slice();
  const keys = new Uint32Array(high.length);
  high.forEach((hash, key) => {
    const bucket = scale(hash, buckets);
    keys[next[bucket] as number] = key;
    next[bucket] = (next[bucket] as number) + 1;
  });
  return { starts, keys };
}

/** The buckets in descending order of their sizes. */
export function fullestFirst(buckets: number, size: (bucket: number) => number): Uint32Array {
  const bySize: number[] = [];
  for (let b = 0; b < buckets; b++) bySize[size(b)] = (bySize[size(b)] ?? 0) + 1;
  const next: number[] = [];
  let at = 0;
  for (let s = bySize.length - 1; s >= 0; s--) {
    next[s] = at;
    at += bySize[s] ?? 0;
  }
  const order = new Uint32Array(buckets);
  for (let b = 0; b < buckets; b++) {
    const s = size(b);
    order[next[s] as number] = b;
    next[s] = (next[s] as number) + 1;
  }
  return order;
}

/** scale() in bpf/hash.h: from a 32-bit hash to one of n. */
export function scale(hash: number, n: number): number {
  // By halves: the whole product may be above 2^53.
  return Math.floor(((hash >>> 16) * n + Math.floor(((hash & 0xffff) * n) / 2 ** 16)) / 2 ** 16);
}

/** slot_of() in bpf/hash.h. */
export function slotOf(low: number, pilot: number, slots: number): number {
  return scale(Math.imul(low ^ Math.imul(pilot, 0x9e3779b9), 0xc2b2ae35) >>> 0, slots);
}
