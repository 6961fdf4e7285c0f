/** TypeScript's name for a C tag or file: `rule_extra` is RuleExtra. */
export function pascalCase(name: string): string {
  const words = name.split(/[^A-Za-z0-9]+/).filter((word) => word !== "");
  const joined = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("");
  return /^\d/.test(joined) || joined === "" ? `_${joined}` : joined;
}

/** Gives every key a name of its own: what is taken gets a number behind it. */
export class Names {
  readonly #byKey = new Map<string, string>();
  readonly #taken = new Set<string>();

  /** The name for a key; `wanted` counts at the first call only. */
  of(key: string, wanted: string): string {
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    let name = wanted;
    for (let n = 2; this.#taken.has(name) || this.#taken.has(`${name}Input`); n++) name = `${wanted}${n}`;
    this.#taken.add(name);
    this.#byKey.set(key, name);
    return name;
  }
}
