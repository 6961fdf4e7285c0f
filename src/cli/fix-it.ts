import { readFileSync } from "node:fs";
import type { Diagnostic } from "../config/index.js";

/** Shows what a diagnostic's fix would make of its line, as a diff does. Files are read once. */
export class FixIts {
  readonly #lines = new Map<string, readonly string[]>();

  /** Two lines, or none where there is no fix or the line does not have what it replaces. */
  of({ file, line, column, fix }: Diagnostic): string[] {
    if (fix === undefined) return [];
    const text = this.#read(file)[line - 1] ?? "";
    const at = text.indexOf(fix.replace, column - 1);
    if (at < 0) return [];
    return [`  - ${text}`, `  + ${text.slice(0, at)}${fix.by}${text.slice(at + fix.replace.length)}`];
  }

  #read(file: string): readonly string[] {
    let lines = this.#lines.get(file);
    if (lines === undefined) {
      lines = readFileSync(file, "utf8").split(/\r?\n/);
      this.#lines.set(file, lines);
    }
    return lines;
  }
}
