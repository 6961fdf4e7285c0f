import type { Diagnostic } from "../config/index.js";
import { MAX_YAML_BYTES } from "../config/read-error.js";
import { readRegular } from "../sys/regular-file.js";

/** Shows what a diagnostic's fix would make of its line, as a diff does. Files are read once. */
export class FixIts {
  readonly #lines = new Map<string, readonly string[]>();

  /** Two lines, or none where there is no fix or what it replaces does not stand at the place, but for an opening quote or bracket. */
  of({ file, line, column, fix }: Diagnostic): string[] {
    if (fix === undefined) return [];
    const text = this.#read(file)[line - 1] ?? "";
    const [opening = ""] = /^[[{]?["']?/.exec(text.slice(column - 1)) ?? [];
    const at = column - 1 + opening.length;
    if (!text.startsWith(fix.replace, at)) return [];
    return [`  - ${text}`, `  + ${text.slice(0, at)}${fix.by}${text.slice(at + fix.replace.length)}`];
  }

  #read(file: string): readonly string[] {
    let lines = this.#lines.get(file);
    if (lines === undefined) {
      lines = readRegular(file, MAX_YAML_BYTES).toString("utf8").split(/\r?\n/);
      this.#lines.set(file, lines);
    }
    return lines;
  }
}
