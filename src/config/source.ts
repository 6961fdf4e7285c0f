import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type ParsedNode,
  parseDocument,
  type YAMLError,
} from "yaml";
import { type Report, show } from "./diagnostics.js";
import type { Location } from "./policy.js";

export type Path = readonly (string | number)[];

/** Where a value, and the key in front of it, stand in the text (offsets in UTF-16 units). */
interface Place {
  offset: number;
  keyOffset: number;
  readonly children: Map<string | number, Place>;
}

/** Plain values of a YAML text (objects without prototype, arrays, scalars) and where each was written. */
export class Source {
  readonly file: string;
  readonly value: unknown;
  readonly #lines: LineCounter;
  readonly #root: Place;

  constructor(file: string, value: unknown, lines: LineCounter, root: Place) {
    this.file = file;
    this.value = value;
    this.#lines = lines;
    this.#root = root;
  }

  /** Of the value at `path`, or of the nearest one around it that exists. */
  at(path: Path): Location {
    return this.#locate(this.#place(path).offset);
  }

  /** Of the key of the value at `path`; of the value itself in a list. */
  atKey(path: Path): Location {
    return this.#locate(this.#place(path).keyOffset);
  }

  #place(path: Path): Place {
    let place = this.#root;
    for (const step of path) {
      const child = place.children.get(step);
      if (child === undefined) break;
      place = child;
    }
    return place;
  }

  #locate(offset: number): Location {
    return locationOf(this.file, this.#lines, offset);
  }
}

/** More nodes than this out of aliases are taken for an attack ("billion laughs"). */
const MAX_ALIASED_NODES = 10_000;
const MAX_DEPTH = 32;

/** In place of the yaml package's own text, where that speaks of its programming interface. */
const SYNTAX_MESSAGES: Readonly<Record<string, string>> = {
  MULTIPLE_DOCS: "a second YAML document starts here",
  RESOURCE_EXHAUSTION: "the YAML is nested too deeply",
};

/** What is right where the yaml package reports this code; its own text says what is wrong. */
const SYNTAX_HINTS: Readonly<Record<string, string>> = {
  TAB_AS_INDENT: "indent with spaces",
  MULTIPLE_DOCS: "remove it: one file holds one policy",
  RESOURCE_EXHAUSTION: `nest at most ${MAX_DEPTH} levels`,
  BAD_INDENT: "check the indentation, and that each bracket is closed",
  MISSING_CHAR: "add what is missing",
  BLOCK_AS_IMPLICIT_KEY:
    "put a nested mapping on its own, deeper indented lines, and quote text with a colon at its end, such as an IPv6 address",
  MULTILINE_IMPLICIT_KEY: "write 'key: value' on one line",
  TAG_RESOLVE_FAILED: "remove the tag; a policy needs none",
};

/**
 * Reads YAML 1.2 text; null when it is not well-formed, with the reasons in `report`. Duplicate keys keep the first value.
 *
 * @param keys a mapping that has none of them is not ours to speak of: it may be /etc/shadow, and diagnostics quote what they read
 */
export function readSource(
  text: string,
  file: string,
  keys: ReadonlySet<string>,
  report: Report,
): Source | null {
  const lines = new LineCounter();
  // Duplicates are looked for below: the package's own check is quadratic in the number of keys.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: false });
  if (document.contents !== null && !hasOneOf(keys, document.contents)) {
    report.error(
      { file, line: 1, column: 1 },
      "this is not a policy (nothing of it is shown)",
      "write a mapping that starts with 'version: 1'",
    );
    return null;
  }
  const problems: readonly YAMLError[] = [...document.errors, ...document.warnings];
  for (const { code, message, pos } of problems) {
    // Behind the first colon some messages quote the source, which may be a key.
    const what = SYNTAX_MESSAGES[code] ?? `YAML: ${message.replace(/: .*/s, "")}`;
    report.error(
      locationOf(file, lines, pos[0]),
      what,
      SYNTAX_HINTS[code] ?? "correct the YAML syntax there",
    );
  }
  if (problems.length > 0) return null;
  const { contents } = document;
  if (contents === null) {
    report.error({ file, line: 1, column: 1 }, "the file is empty", "start with 'version: 1'");
    return null;
  }
  return new Reader(file, lines, report).read(contents);
}

function hasOneOf(keys: ReadonlySet<string>, contents: ParsedNode): boolean {
  if (!isMap<ParsedNode, ParsedNode | null>(contents)) return false;
  return contents.items.some(({ key }) => isScalar(key) && keys.has(String(key.value)));
}

class Reader {
  readonly #file: string;
  readonly #lines: LineCounter;
  readonly #report: Report;
  readonly #anchors = new Map<string, ParsedNode>();
  /** Collections on the way from the root to the node being read. */
  readonly #open = new Set<ParsedNode>();
  #aliased = 0;
  #failed = false;

  constructor(file: string, lines: LineCounter, report: Report) {
    this.#file = file;
    this.#lines = lines;
    this.#report = report;
  }

  read(contents: ParsedNode): Source | null {
    const root: Place = { offset: contents.range[0], keyOffset: contents.range[0], children: new Map() };
    const value = this.#plain(contents, root, false);
    return this.#failed ? null : new Source(this.#file, value, this.#lines, root);
  }

  #plain(node: ParsedNode | null, place: Place, inAlias: boolean): unknown {
    if (node === null || this.#failed) return null;
    if (inAlias && ++this.#aliased > MAX_ALIASED_NODES) {
      return this.#fail(
        place.offset,
        `aliases expand to more than ${MAX_ALIASED_NODES} values`,
        "write the values out or use fewer aliases",
      );
    }
    if (isAlias(node)) {
      const target = this.#anchors.get(node.source);
      if (target === undefined) {
        return this.#fail(
          node.range[0],
          `there is no anchor ${show(node.source)} in front of this alias`,
          "set the anchor (&name) before the alias (*name)",
        );
      }
      if (this.#open.has(target)) {
        return this.#fail(
          node.range[0],
          "the alias stands inside the value that it refers to",
          "write the value out",
        );
      }
      return this.#plain(target, place, true);
    }
    if (node.anchor !== undefined) this.#anchors.set(node.anchor, node);
    if (isScalar(node)) return node.value;
    if (this.#open.size >= MAX_DEPTH)
      return this.#fail(node.range[0], "the YAML is nested too deeply", `nest at most ${MAX_DEPTH} levels`);
    this.#open.add(node);
    const value = isSeq(node) ? this.#list(node.items, place, inAlias) : this.#mapping(node, place, inAlias);
    this.#open.delete(node);
    return value;
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
    for (const { key, value } of node.items) {
      const keyOffset = key.range[0];
      const name = isScalar(key) && key.value !== null ? String(key.value) : null;
      const known = name === null ? undefined : parent.children.get(name);
      if (name === null || name === "__proto__") {
        this.#error(keyOffset, "this key is not a name", "write keys as plain text");
      } else if (known !== undefined) {
        const { line } = this.#lines.linePos(known.keyOffset);
        this.#error(
          keyOffset,
          `the key ${show(name)} is there twice`,
          `it is already in line ${line}; keep one`,
        );
        // Read for what is wrong inside, then forgotten.
        this.#plain(value, { offset: keyOffset, keyOffset, children: new Map() }, inAlias);
      } else {
        if (isScalar(key) && key.anchor !== undefined) this.#anchors.set(key.anchor, key);
        object[name] = this.#plain(
          value,
          this.#child(parent, name, value?.range[0] ?? keyOffset, keyOffset),
          inAlias,
        );
      }
    }
    return object;
  }

  #child(parent: Place, step: string | number, offset: number, keyOffset: number): Place {
    const place: Place = { offset, keyOffset, children: new Map() };
    parent.children.set(step, place);
    return place;
  }

  #error(offset: number, message: string, hint: string): void {
    this.#report.error(locationOf(this.#file, this.#lines, offset), message, hint);
  }

  #fail(offset: number, message: string, hint: string): null {
    this.#failed = true;
    this.#error(offset, message, hint);
    return null;
  }
}

function locationOf(file: string, lines: LineCounter, offset: number): Location {
  const { line, col } = lines.linePos(offset);
  return { file, line: Math.max(line, 1), column: Math.max(col, 1) };
}
