import type { Address } from "../config/address.js";
import type { Connection, Family, Policy, Prefix } from "../config/policy.js";
import { commonBits, mergeEqual, type PrefixColumns, sortPrefixes } from "./prefix-set.js";
import { subnetsOf } from "./subnets.js";

const NOBODY = -1;

/**
 * Who owns each address of a family, by the longest prefix around it: the address space cut into segments, in each of
 * which one prefix is the longest, or none is.
 */
export class Owners {
  readonly family: Family;
  readonly #connections: readonly Connection[];
  readonly #prefixes: PrefixColumns;
  /** Owners of a prefix that several connections have; the owner of such is their index here + connections. */
  readonly #shared: readonly (readonly number[])[];
  /** By segment: its first address, and the index of its prefix or NOBODY. */
  #starts: Uint32Array;
  #prefix: Int32Array;
  #count = 0;
  /** By segment: the next one that somebody else owns. */
  readonly #next: Int32Array;
  /** By connection: it owns something. */
  readonly #owning: Uint8Array;

  constructor({ connections, flows }: Policy, family: Family) {
    this.family = family;
    this.#connections = connections;
    const shared: number[][] = [];
    const sorted = sortPrefixes(subnetsOf(connections, flows[`subnets${family}`], family));
    this.#owning = new Uint8Array(connections.length);
    for (const owner of sorted.owner) this.#owning[owner] = 1;
    this.#prefixes = mergeEqual(sorted, (owners) => connections.length + shared.push([...owners]) - 1);
    this.#shared = shared;
    const most = 2 * this.#prefixes.count + 1;
    this.#starts = new Uint32Array(most * sorted.wordsEach);
    this.#prefix = new Int32Array(most);
    this.#cut();
    this.#next = this.#nextOwners();
  }

  /** Whether a connection owns any prefix. */
  ownsAny(connection: number): boolean {
    return this.#owning[connection] === 1;
  }

  /** The segment that an address is in. */
  find(address: readonly number[]): number {
    let low = 0;
    let high = this.#count - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#compare(middle, address) <= 0) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Where the segment behind one begins; null where there is none. */
  end(segment: number): readonly number[] | null {
    return this.#start(segment + 1);
  }

  /** Where the next segment begins that somebody else owns; null where there is none. */
  nextOwner(segment: number): readonly number[] | null {
    return this.#start(this.#next[segment] as number);
  }

  /** The longest prefix around a segment; null where nobody owns it. */
  prefix(segment: number): Prefix | null {
    const index = this.#prefix[segment] as number;
    if (index === NOBODY) return null;
    const { wordsEach, words, length } = this.#prefixes;
    return {
      family: this.family,
      words: [...words.subarray(index * wordsEach, (index + 1) * wordsEach)],
      length: length[index] as number,
    };
  }

  /** Indexes of the connections that own a segment. */
  owners(segment: number): readonly number[] {
    const index = this.#prefix[segment] as number;
    if (index === NOBODY) return [];
    const owner = this.#prefixes.owner[index] as number;
    return this.#shared[owner - this.#connections.length] ?? [owner];
  }

  #start(segment: number): readonly number[] | null {
    const { wordsEach } = this.#prefixes;
    if (segment >= this.#count) return null;
    return [...this.#starts.subarray(segment * wordsEach, (segment + 1) * wordsEach)];
  }

  #compare(segment: number, address: readonly number[]): number {
    const { wordsEach } = this.#prefixes;
    for (let w = 0; w < wordsEach; w++) {
      const difference = (this.#starts[segment * wordsEach + w] as number) - (address[w] as number);
      if (difference !== 0) return difference;
    }
    return 0;
  }

  /** Prefixes come by address, the shorter first: those around the one in hand are on a stack. */
  #cut(): void {
    const { wordsEach, words, length, count } = this.#prefixes;
    const around: number[] = [];
    const wordsOf = (index: number) => [...words.subarray(index * wordsEach, (index + 1) * wordsEach)];
    const close = () => {
      const index = around.pop() as number;
      const behind = addressBehind({ words: wordsOf(index), length: length[index] as number });
      if (behind !== null) this.#begin(behind, around.at(-1) ?? NOBODY);
    };
    this.#begin(
      Array.from({ length: wordsEach }, () => 0),
      NOBODY,
    );
    for (let i = 0; i < count; i++) {
      for (let top = around.at(-1); top !== undefined; top = around.at(-1)) {
        if (commonBits(words, top, i, wordsEach) >= (length[top] as number)) break;
        close();
      }
      this.#begin(wordsOf(i), i);
      around.push(i);
    }
    while (around.length > 0) close();
  }

  /** A segment that begins where the one before does takes its place. */
  #begin(address: readonly number[], prefix: number): void {
    if (this.#count === 0 || this.#compare(this.#count - 1, address) !== 0) this.#count++;
    this.#starts.set(address, (this.#count - 1) * this.#prefixes.wordsEach);
    this.#prefix[this.#count - 1] = prefix;
  }

  #nextOwners(): Int32Array {
    const next = new Int32Array(this.#count).fill(this.#count);
    const ownerOf = (segment: number) => this.#prefixes.owner[this.#prefix[segment] as number];
    for (let segment = this.#count - 2, owned = this.#count; segment >= 0; segment--) {
      if (this.#prefix[segment + 1] !== NOBODY) owned = segment + 1;
      const same =
        owned < this.#count && this.#prefix[segment] !== NOBODY && ownerOf(owned) === ownerOf(segment);
      next[segment] = same ? (next[owned] as number) : owned;
    }
    return next;
  }
}

/** The first address behind a prefix, null behind the last. */
export function addressBehind({ words, length }: Pick<Prefix, "words" | "length">): Address["words"] | null {
  const behind = [...words];
  let word = (length - 1) >> 5;
  let carry = length === 0 ? 2 ** 32 : 2 ** (31 - ((length - 1) & 31));
  for (; word >= 0; word--) {
    const sum = (behind[word] as number) + carry;
    behind[word] = sum % 2 ** 32;
    if (sum < 2 ** 32) return behind;
    carry = 1;
  }
  return null;
}
