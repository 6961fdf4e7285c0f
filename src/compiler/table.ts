import { type Codec, u32, u64 } from "libbpf-ts/types";
import { Connection, Flow4, Flow6, Ranges, Rule4, Rule6, RuleExtra, Target } from "../bpf/tables.bpf.js";
import { CompileError } from "./error.js";

/** Most bytes of a table: the verifier lets no index lead further than BPF_MAX_VAR_OFF (linux/bpf_verifier.h). */
const TABLE_MAX = 2 ** 29;

/** Bytes of one entry of each table of bpf/maps.h. */
export const EntrySize = {
  slots: u64.size,
  rules4: Rule4.size,
  rules6: Rule6.size,
  ranges: Ranges.size,
  extra4: RuleExtra.size,
  extra6: RuleExtra.size,
  trie4: u32.size,
  trie6: u32.size,
  trie_ids: u32.size,
  shared: u32.size,
  flows4: Flow4.size,
  flows6: Flow6.size,
  pilots4: u32.size,
  pilots6: u32.size,
  rule_targets: u32.size,
  targets: Target.size,
  groups: u32.size,
  connections: Connection.size,
} as const;

export type TableName = keyof typeof EntrySize;

/** What of the policy fills a table. */
function contentOf(name: TableName): string {
  if (/^(trie[46]|shared)$/.test(name)) return "subnets";
  if (/^(flows|pilots)/.test(name)) return "exact flows";
  if (/^(groups|connections)$/.test(name)) return name;
  return name === "trie_ids" ? "connections" : "rules";
}

/** A struct's members by their first 32-bit word, and its size in such words. */
export function memberWords<T extends object>(codec: Codec<T>): Record<(keyof T & string) | "size", number> {
  const offsets = Object.entries(codec.offsets as Record<string, number>);
  return Object.fromEntries(
    [...offsets, ["size", codec.size]].map(([name, bytes]) => [name, Number(bytes) / 4]),
  );
}

/** One flat table under construction: entries of a fixed size in a buffer that doubles as it fills. */
export class Table {
  #bytes: Uint8Array;
  #words: Uint32Array;
  #length = 0;
  readonly #wordsPerEntry: number;
  readonly #entryBytes: number;
  readonly #name: TableName;

  constructor(name: TableName) {
    this.#name = name;
    this.#entryBytes = EntrySize[name];
    this.#wordsPerEntry = this.#entryBytes / 4;
    this.#bytes = new Uint8Array(16 * this.#entryBytes);
    this.#words = new Uint32Array(this.#bytes.buffer);
  }

  /** Entries in use. */
  get length(): number {
    return this.#length;
  }

  /**
   * Reserves `count` entries, all zero, and returns the index of the first.
   * @throws CompileError where they do not fit
   */
  reserve(count: number): number {
    const first = this.#length;
    const wanted = (first + count) * this.#entryBytes;
    if (wanted > this.#bytes.length) this.#grow(wanted);
    this.#length += count;
    return first;
  }

  /** Gives back what was reserved from entry `length` on. */
  truncate(length: number): void {
    this.#words.fill(0, length * this.#wordsPerEntry, this.#length * this.#wordsPerEntry);
    this.#length = length;
  }

  /** Writes the 32-bit words of one entry (little endian, as the BPF program reads them). */
  set(index: number, ...words: number[]): void {
    this.#words.set(words, index * this.#wordsPerEntry);
  }

  /** The entries' 32-bit words, for loops in which a call each would cost; stale after the next reserve(). */
  get words(): Uint32Array {
    return this.#words;
  }

  /** The finished table; `padded` with zeroes to a power of two of entries, so that a mask bounds every index. @throws CompileError */
  finish(padded = true): Uint8Array {
    const entries = padded ? 2 ** Math.ceil(Math.log2(Math.max(1, this.#length))) : Math.max(1, this.#length);
    const size = entries * this.#entryBytes;
    if (this.#bytes.length < size) this.#grow(size);
    return this.#bytes.subarray(0, size);
  }

  #grow(wanted: number): void {
    if (wanted > TABLE_MAX)
      throw new CompileError({
        message:
          `the ${contentOf(this.#name)} do not fit: table ${this.#name} would need ${Math.ceil(wanted / 2 ** 20)} MiB, and ` +
          `at most ${TABLE_MAX / 2 ** 20} MiB can be read`,
        hint: "use fewer of them",
      });
    const size = Math.max(wanted, Math.min(TABLE_MAX, this.#bytes.length * 2));
    const bytes = new Uint8Array(size);
    bytes.set(this.#bytes);
    this.#bytes = bytes;
    this.#words = new Uint32Array(bytes.buffer);
  }
}
