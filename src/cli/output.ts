import { styleText } from "node:util";
import { systemErrorText } from "../sys/error-text.js";
import { CliError, ExitCode } from "./exit.js";

/** One JSON document on stdout, or the text; logs and progress go to stderr. */
export function print(json: boolean | undefined, value: unknown, text: () => string): void {
  process.stdout.write(json ? `${JSON.stringify(value, null, 2)}\n` : `${text()}\n`);
}

/** Another name would not help. */
const NOT_THE_NAME = ["ENOSPC", "EDQUOT", "EROFS", "EMFILE", "ENFILE", "EIO"];

/** Opens or writes a file that the user named. @throws CliError where it cannot be written */
export function writing<T>(output: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const text = NOT_THE_NAME.includes(code ?? "") ? systemErrorText(error) : null;
    if (text !== null) throw new CliError(text, ExitCode.failed);
    throw new CliError(
      `${output} cannot be written (${code}); name a file in a folder that is there and yours`,
      ExitCode.failed,
    );
  }
}

type Style = Parameters<typeof styleText>[0];

/** Colour, but only on a terminal that wants it. */
export function paint(style: Style, text: string, stream: NodeJS.WriteStream = process.stdout): string {
  return stream.isTTY && process.env.NO_COLOR === undefined ? styleText(style, text) : text;
}

/** Columns aligned, numbers to the right; `rows` without the header. */
export function table(header: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const all = [header, ...rows.map((row) => row.map(String))];
  const widths = header.map((_, column) => Math.max(...all.map((row) => (row[column] ?? "").length)));
  const right = header.map(
    (_, column) => rows.length > 0 && rows.every((row) => typeof row[column] === "number"),
  );
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) =>
        right[column] ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join("  ")
      .trimEnd();
  return all.map(line).join("\n");
}

/** A step that takes over a second says so on a terminal, and clears its line when it is done. */
export async function progress<T>(title: string, work: () => Promise<T>): Promise<T> {
  if (!process.stderr.isTTY) return work();
  const timer = setTimeout(() => process.stderr.write(`${title} ...`), 1000);
  try {
    return await work();
  } finally {
    clearTimeout(timer);
    process.stderr.write("\r\x1b[K");
  }
}
