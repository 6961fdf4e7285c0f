import { Owner } from "../bpf/tables.bpf.js";
import { CompileError } from "./error.js";
import type { Table } from "./table.js";

const { OWNER_SHARED, OWNER_MALFORMED } = Owner;

/** Lists begin before this entry of their table: from there on, their owners would be OWNER_MALFORMED and OWNER_NONE. */
export const STARTS_MAX = OWNER_MALFORMED - OWNER_SHARED;

/** Lists of the connections that share a prefix, as owners of it; equal lists are one. */
export class SharedLists {
  readonly #table: Table;
  readonly #names: readonly string[];
  readonly #startsMax: number;
  /** By hash of a list, or the next free number: where it starts. */
  readonly #starts = new Map<number, number>();
  /** Halvings after which one member of the longest list is left. */
  steps = 0;

  /** @param names of the connections, by index */
  constructor(table: Table, names: readonly string[], startsMax: number = STARTS_MAX) {
    this.#table = table;
    this.#names = names;
    this.#startsMax = startsMax;
  }

  /**
   * @param connections two or more, ascending: receive searches the list by halves
   * @throws CompileError where the list would begin too late
   */
  add(connections: Uint32Array): number {
    let key = connections.reduce(
      (hash, index) => Math.imul(hash ^ index, 16777619) >>> 0,
      connections.length,
    );
    for (let known = this.#starts.get(key); known !== undefined; known = this.#starts.get(++key))
      if (this.#has(known, connections)) return OWNER_SHARED | known;
    const start = this.#table.length;
    if (start >= this.#startsMax) throw this.#noPlace(connections);
    this.#table.reserve(1 + connections.length);
    this.#table.words[start] = connections.length;
    this.#table.words.set(connections, start + 1);
    this.#starts.set(key, start);
    this.steps = Math.max(this.steps, Math.ceil(Math.log2(connections.length)));
    return OWNER_SHARED | start;
  }

  #has(start: number, connections: Uint32Array): boolean {
    const { words } = this.#table;
    return (
      words[start] === connections.length && connections.every((index, i) => words[start + 1 + i] === index)
    );
  }

  #noPlace(connections: Uint32Array): CompileError {
    const names = [...connections.subarray(0, 3)].map((index) => this.#names[index] ?? "?");
    const more = connections.length - names.length;
    return new CompileError({
      message:
        `connections ${names.join(", ")}${more > 0 ? ` and ${more} more` : ""} share a subnet, and there is no place for ` +
        `their list: the ${this.#startsMax} entries where it could begin are taken by those of other subnets`,
      hint: "let fewer connections share a subnet, or the same ones share several, as equal lists are one",
    });
  }
}
