import type { BenchCase, BenchResult } from "../bench/measure.js";

/** A column of a bench's table. Its width is fixed, as rows are printed when they are done. */
export interface Column {
  readonly title: string;
  readonly width: number;
  /** Text, which begins at the left. */
  readonly text?: boolean;
  /** @param all the rows so far, this one included */
  cell(row: BenchCase, all: readonly BenchCase[]): string | number;
}

export interface ReportOptions {
  readonly bench: string;
  readonly machine: () => BenchResult["machine"];
  readonly json: boolean | undefined;
  readonly columns: readonly Column[];
  /** Names of what is measured, in order: the rows of each begin with its name. */
  readonly planned: readonly string[];
  /** Name of the part that a row belongs to. */
  readonly partOf: (row: BenchCase) => string;
}

/**
 * Prints each row of a bench when it is done, as a line of a table, or as an element of one JSON document. An interruption
 * (SIGINT, SIGTERM) ends the document, and says on stderr what was not measured.
 */
export class BenchReport {
  readonly #options: ReportOptions;
  readonly #rows: BenchCase[] = [];
  readonly #interrupted = (signal: NodeJS.Signals) => {
    this.end();
    const left = this.#left();
    if (left.length > 0) process.stderr.write(`\ninterrupted; not measured: ${left.join(", ")}\n`);
    // After the handlers that take away what the bench made; they may end the process themselves.
    setImmediate(() => process.exit(signal === "SIGINT" ? 130 : 143));
  };
  #begun = false;
  #ended = false;

  constructor(options: ReportOptions) {
    this.#options = options;
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, this.#interrupted);
  }

  /** Prints a row. */
  readonly row = (row: BenchCase): void => {
    if (this.#ended) return;
    const first = !this.#begun;
    this.#begin();
    this.#rows.push(row);
    if (this.#options.json) process.stdout.write(`${first ? "\n" : ",\n"}    ${JSON.stringify(row)}`);
    else this.#line(({ cell }) => cell(row, this.#rows));
  };

  /** Ends the document. Idempotent. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#begin();
    if (this.#options.json) process.stdout.write(`${this.#rows.length > 0 ? "\n  " : ""}]\n}\n`);
  }

  #begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    const { bench, machine, json } = this.#options;
    if (!json) this.#line(({ title }) => title);
    else
      process.stdout.write(
        `{\n  "bench": ${JSON.stringify(bench)},\n  "machine": ${JSON.stringify(machine())},\n  "cases": [`,
      );
  }

  #line(text: (column: Column) => string | number): void {
    if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
    const cells = this.#options.columns.map((column) => {
      const cell = text(column);
      return column.text ? String(cell).padEnd(column.width) : String(cell).padStart(column.width);
    });
    process.stdout.write(`${cells.join("  ").trimEnd()}\n`);
  }

  /** Parts without a row. */
  #left(): string[] {
    const done = new Set(this.#rows.map(this.#options.partOf));
    return this.#options.planned.filter((part) => !done.has(part));
  }
}

/** The columns that every bench has first. */
export const FIRST_COLUMNS: readonly Column[] = [
  { title: "case", width: 20, text: true, cell: (row) => row.case },
  { title: "size", width: 9, cell: (row) => row.size },
  { title: "subject", width: 22, text: true, cell: (row) => row.subject },
];

/** Median, extremes and unit. */
export const VALUE_COLUMNS: readonly Column[] = [
  ...(["median", "min", "max"] as const).map(
    (name): Column => ({
      title: name,
      width: 11,
      cell: (row) => Number(row[name].toPrecision(6)),
    }),
  ),
  { title: "unit", width: 12, text: true, cell: (row) => row.unit },
];

/** A value of a row's `extra`; empty where it has none. */
export function extra(title: string, width: number, name: string): Column {
  return { title, width, cell: (row) => row.extra[name] ?? "" };
}
