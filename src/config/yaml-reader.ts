import { isAlias, isMap, isScalar, isSeq, type LineCounter, type ParsedNode } from "yaml";
import { type Report, show } from "./diagnostics.js";
import type { Location } from "./policy.js";

/** A file, and where its lines begin. */
export interface TextFile {
  readonly file: string;
  readonly lines: LineCounter;
}

/** Where a value, and the key in front of it, stand in a text (offsets in UTF-16 units). */
export interface Place {
  readonly text: TextFile;
  readonly offset: number;
  readonly keyOffset: number;
  /** A number's or boolean's own text, which its value may not tell: 0047, 1.10, 0x10. */
  written?: string;
  children?: Map<string | number, Place>;
}

/** Values out of aliases that any file may have, or so many for each that is written: more are an attack ("billion laughs"). */
const MAX_ALIASED_NODES = 10_000;
const ALIASED_FOR_EACH_WRITTEN = 10;
export const MAX_DEPTH = 32;

/** The key of YAML 1.1's merge type, which 1.2 left out and everybody goes on to read. */
const MERGE = "<<";
const MERGE_HINT = "write <<: *name, the alias of a mapping, or a list of such aliases";

/** Makes plain values of a YAML document's nodes. */
export class YamlReader {
  readonly #text: TextFile;
  readonly #report: Report;
  readonly #anchors = new Map<string, ParsedNode>();
  /** Collections on the way from the root to the node being read. */
  readonly #open = new Set<ParsedNode>();
  #written = 0;
  #aliased = 0;
  #failed = false;

  constructor(text: TextFile, report: Report) {
    this.#text = text;
    this.#report = report;
  }

  /** Null where nothing can be made of it, which has been reported then. */
  read(contents: ParsedNode): { readonly value: unknown; readonly root: Place } | null {
    const root = this.#placeAt(contents.range[0]);
    const value = this.#plain(contents, root, false);
    return this.#failed ? null : { value, root };
  }

  #plain(node: ParsedNode | null, place: Place, inAlias: boolean): unknown {
    if (node === null || this.#failed) return null;
    if (!inAlias) this.#written++;
    else if (++this.#aliased > Math.max(MAX_ALIASED_NODES, ALIASED_FOR_EACH_WRITTEN * this.#written)) {
      return this.#fail(
        place.offset,
        `aliases expand to more than ${this.#aliased - 1} values`,
        "write the values out or use fewer aliases",
      );
    }
    if (isAlias(node)) {
      const target = this.#targetOf(node);
      return target === null ? null : this.#plain(target, place, true);
    }
    if (node.anchor !== undefined) this.#anchors.set(node.anchor, node);
    if (isScalar(node)) {
      if (typeof node.value !== "string" && node.source !== undefined) place.written = node.source;
      return node.value;
    }
    if (this.#open.size >= MAX_DEPTH)
      return this.#fail(node.range[0], "the YAML is nested too deeply", `nest at most ${MAX_DEPTH} levels`);
    this.#open.add(node);
    const value = isSeq(node) ? this.#list(node.items, place, inAlias) : this.#mapping(node, place, inAlias);
    this.#open.delete(node);
    return value;
  }

  /** Null where an alias refers to nothing that can be taken, which has been reported then. */
  #targetOf(node: ParsedNode & { readonly source: string }): ParsedNode | null {
    const target = this.#anchors.get(node.source);
    if (target === undefined)
      return this.#fail(
        node.range[0],
        `there is no anchor ${show(node.source)} in front of this alias`,
        /[./*?]/.test(node.source)
          ? "set the anchor (&name) before the alias (*name), or quote a pattern that begins with *"
          : "set the anchor (&name) before the alias (*name)",
      );
    if (!this.#open.has(target)) return target;
    return this.#fail(
      node.range[0],
      "the alias stands inside the value that it refers to",
      "write the value out",
    );
  }

  #list(items: readonly ParsedNode[], parent: Place, inAlias: boolean): unknown[] {
    return items.map((item, index) => {
      const offset = item.range[0];
      return this.#plain(item, this.#child(parent, index, offset, offset), inAlias);
    });
  }

  #mapping(node: ParsedNode, parent: Place, inAlias: boolean): Record<string, unknown> {
    const object: Record<string, unknown> = Object.create(null);
    if (!isMap<ParsedNode, ParsedNode | null>(node)) return object;
    const merged: Merged[] = [];
    for (const { key, value } of node.items) {
      const keyOffset = key.range[0];
      const name = isScalar(key) && key.value !== null ? textOf(key) : null;
      const known = name === null ? undefined : parent.children?.get(name);
      if (isMergeKey(key)) {
        merged.push(...this.#merged(value, keyOffset));
      } else if (name === null || name === "__proto__") {
        this.#error(keyOffset, "this key is not a name", "write keys as plain text");
      } else if (known !== undefined) {
        const { line } = this.#text.lines.linePos(known.keyOffset);
        this.#error(
          keyOffset,
          `the key ${show(name)} is there twice`,
          `it is already in line ${line}; keep one`,
        );
        // Read for what is wrong inside, then forgotten.
        this.#plain(value, this.#placeAt(keyOffset), inAlias);
      } else {
        if (isScalar(key) && key.anchor !== undefined) this.#anchors.set(key.anchor, key);
        object[name] = this.#plain(
          value,
          this.#child(parent, name, value?.range[0] ?? keyOffset, keyOffset),
          inAlias,
        );
      }
    }
    // The mapping's own keys come before merged ones, wherever they stand, and earlier merged mappings before later ones.
    for (const { values, places } of merged)
      for (const [name, value] of Object.entries(values)) {
        const place = places?.get(name);
        if (Object.hasOwn(object, name) || place === undefined) continue;
        object[name] = value;
        childrenOf(parent).set(name, place);
      }
    return object;
  }

  /** The mappings behind a merge key, each with the places of its values. */
  #merged(node: ParsedNode | null, keyOffset: number): Merged[] {
    if (this.#failed) return [];
    const target = isAlias(node) ? this.#targetOf(node) : node;
    if (this.#failed) return [];
    if (isSeq<ParsedNode>(target) && !this.#open.has(target))
      return target.items.flatMap((item) =>
        isSeq(item) ? this.#refuseMerge(item.range[0]) : this.#merged(item, item.range[0]),
      );
    if (!isMap(target)) return this.#refuseMerge(node?.range[0] ?? keyOffset);
    const place = this.#placeAt(keyOffset);
    const values = this.#plain(target, place, target !== node);
    return this.#failed ? [] : [{ values: values as Record<string, unknown>, places: place.children }];
  }

  #refuseMerge(offset: number): [] {
    this.#error(offset, `${MERGE} merges mappings, and this is none`, MERGE_HINT);
    return [];
  }

  #placeAt(offset: number): Place {
    return { text: this.#text, offset, keyOffset: offset };
  }

  #child(parent: Place, step: string | number, offset: number, keyOffset: number): Place {
    const place: Place = { text: this.#text, offset, keyOffset };
    childrenOf(parent).set(step, place);
    return place;
  }

  #error(offset: number, message: string, hint: string): void {
    this.#report.error(locationOf(this.#text, offset), message, hint);
  }

  #fail(offset: number, message: string, hint: string): null {
    this.#failed = true;
    this.#error(offset, message, hint);
    return null;
  }
}

interface Merged {
  readonly values: Readonly<Record<string, unknown>>;
  readonly places: ReadonlyMap<string | number, Place> | undefined;
}

const isMergeKey = (key: ParsedNode): boolean => isScalar(key) && key.type === "PLAIN" && key.value === MERGE;

/** A key is a name, whatever YAML makes of its text. */
const textOf = ({ value, source }: { readonly value: unknown; readonly source?: string }): string =>
  typeof value === "string" ? value : (source ?? String(value));

/** The places below one, which can be added to. */
export function childrenOf(place: Place): Map<string | number, Place> {
  place.children ??= new Map();
  return place.children;
}

export function locationOf({ file, lines }: TextFile, offset: number): Location {
  const { line, col } = lines.linePos(offset);
  return { file, line: Math.max(line, 1), column: Math.max(col, 1) };
}
