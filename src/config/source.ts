import { isMap, isScalar, LineCounter, type ParsedNode, parseDocument, type YAMLError } from "yaml";
import type { Report } from "./diagnostics.js";
import type { Location } from "./policy.js";
import { locationOf, MAX_DEPTH, type Place, YamlReader } from "./yaml-reader.js";

export type Path = readonly (string | number)[];

/** Plain values of a YAML text (objects without prototype, arrays, scalars) and where each was written. */
export class Source {
  readonly file: string;
  readonly value: unknown;
  /** Places of all values; those that defaults.ts puts in lie in other mappings or files. */
  readonly root: Place;

  constructor(file: string, value: unknown, root: Place) {
    this.file = file;
    this.value = value;
    this.root = root;
  }

  /** Of the value at `path`, or of the nearest one around it that exists. */
  at(path: Path): Location {
    const { text, offset } = this.#place(path);
    return locationOf(text, offset);
  }

  /** Of the key of the value at `path`; of the value itself in a list. */
  atKey(path: Path): Location {
    const { text, keyOffset } = this.#place(path);
    return locationOf(text, keyOffset);
  }

  #place(path: Path): Place {
    let place = this.root;
    for (const step of path) {
      const child = place.children?.get(step);
      if (child === undefined) break;
      place = child;
    }
    return place;
  }
}

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
      locationOf({ file, lines }, pos[0]),
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
  const read = new YamlReader({ file, lines }, report).read(contents);
  return read === null ? null : new Source(file, read.value, read.root);
}

function hasOneOf(keys: ReadonlySet<string>, contents: ParsedNode): boolean {
  if (!isMap<ParsedNode, ParsedNode | null>(contents)) return false;
  return contents.items.some(({ key }) => isScalar(key) && keys.has(String(key.value)));
}
