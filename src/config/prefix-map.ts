import { maskWord } from "./address.js";
import type { Prefix } from "./policy.js";

/** Values by prefix, found by any prefix inside. A look-up costs one hash look-up for each length in use. */
export class PrefixMap<V> {
  readonly #values = new Map<string, V>();
  readonly #lengths = { 4: new Set<number>(), 6: new Set<number>() };

  get(prefix: Prefix): V | undefined {
    return this.#values.get(keyOf(prefix, prefix.length));
  }

  set(prefix: Prefix, value: V): void {
    this.#values.set(keyOf(prefix, prefix.length), value);
    this.#lengths[prefix.family].add(prefix.length);
  }

  /** The values of all prefixes that cover `prefix`, itself included, longest first. */
  *covering(prefix: Prefix): Generator<V> {
    const lengths = [...this.#lengths[prefix.family]].filter((length) => length <= prefix.length);
    for (const length of lengths.sort((a, b) => b - a)) {
      const value = this.#values.get(keyOf(prefix, length));
      if (value !== undefined) yield value;
    }
  }
}

function keyOf({ words }: Prefix, length: number): string {
  return `${words.map((word, index) => (word & maskWord(index, length)) >>> 0).join(".")}/${length}`;
}
