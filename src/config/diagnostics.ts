import type { Location } from "./policy.js";

/** One problem in a file. Line and column start at 1. */
export interface Diagnostic extends Location {
  /** A note says what a policy does not do, which may well be meant. */
  readonly severity: "error" | "warning" | "note";
  /** What is wrong. */
  readonly message: string;
  /** What would be right. */
  readonly hint: string;
  /** A change of the text at the place that mends it, where there is one that needs no thought. */
  readonly fix?: Fix | undefined;
}

export interface Fix {
  readonly replace: string;
  readonly by: string;
}

/** A fix, unless what is to be replaced might be key material. */
export function suggest(replace: string | number, by: string): Fix | undefined {
  const text = String(replace);
  return KEY_LIKE.test(text) ? undefined : { replace: text, by };
}

/** More problems of a kind in one file than this are counted only. */
export const MAX_PROBLEMS = 20;

/** `file:line:column: error: what; what would be right` */
export function formatDiagnostic({ file, line, column, severity, message, hint }: Diagnostic): string {
  return `${file}:${line}:${column}: ${severity}: ${message}; ${hint}`;
}

/** Collects the diagnostics of one file. */
export class Report {
  readonly #diagnostics: Diagnostic[] = [];
  #errors = 0;
  /** Files by the order in which they were first read. */
  readonly #files = new Map<string, number>();

  /** Diagnostics of a file come behind those of the files that were opened before. */
  opens(file: string): void {
    if (!this.#files.has(file)) this.#files.set(file, this.#files.size);
  }

  /** Errors so far. */
  get errors(): number {
    return this.#errors;
  }

  error(location: Location, message: string, hint: string, fix?: Fix): void {
    this.#errors++;
    this.#diagnostics.push({
      ...location,
      severity: "error",
      message,
      hint,
      ...(fix === undefined ? {} : { fix }),
    });
  }

  warning(location: Location, message: string, hint: string): void {
    this.#diagnostics.push({ ...location, severity: "warning", message, hint });
  }

  /** In the order of the files and their lines. What several aliases of one value repeat is there once. */
  sorted(): Diagnostic[] {
    const unique = new Map(this.#diagnostics.map((diagnostic) => [formatDiagnostic(diagnostic), diagnostic]));
    const order = ({ file }: Diagnostic) => this.#files.get(file) ?? this.#files.size;
    return [...unique.values()].sort((a, b) => order(a) - order(b) || a.line - b.line || a.column - b.column);
  }
}

/** A place as it is named in a diagnostic at another: by its line, in another file by that too. */
export function seenFrom(here: Location, { file, line }: Location): string {
  return file === here.file ? `line ${line}` : `${file}:${line}`;
}

/** 128 bits or more in hexadecimal: long enough to be a key. */
const KEY_LIKE = /(?:[0-9a-f]\s*){32}|(?:[0-9a-f]{2}:){15}/i;
const LONGEST_SHOWN = 60;

/** A value as a message may show it: what could be key material is left out, what is long is cut. */
export function show(value: unknown): string {
  if (value === null || value === undefined) return "empty";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list";
  if (typeof value === "object") return "a mapping";
  if (typeof value !== "string") return String(value);
  if (KEY_LIKE.test(value)) return "a long run of hexadecimal digits (not shown)";
  return JSON.stringify(value.length > LONGEST_SHOWN ? `${value.slice(0, LONGEST_SHOWN)}...` : value);
}
