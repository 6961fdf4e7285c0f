import path from "node:path";
import { MAX_PROBLEMS, type Report } from "./diagnostics.js";
import { ExactColumns, SubnetColumns } from "./flow-columns.js";
import { readCsvLine, readHeader } from "./flow-csv.js";
import { readNdjsonLine } from "./flow-ndjson.js";
import { checkRepeats, reportMore } from "./flow-repeats.js";
import { type FlowField, FlowRow, FlowRowError } from "./flow-row.js";
import { forEachLine, forEachLineIn, type LineVisitor, LONGEST_LINE } from "./lines.js";
import type { Connection, Flows, Location } from "./policy.js";
import { describeReadError } from "./read-error.js";

/** A bulk file, and where the policy names it. */
export interface FlowFile {
  readonly file: string;
  readonly location: Location;
}

/** `RowOrigins.file` is a byte. */
const MAX_FILES = 255;

const HASH = 0x23;
const BOM = 0xfeff;

/** Reads bulk files, in constant memory but for the columns; each wrong line is a diagnostic with its number. */
export function readFlowFiles(
  files: readonly FlowFile[],
  connections: readonly Connection[],
  report: Report,
): Flows {
  const collector = new Collector(connections);
  if (files.length > MAX_FILES) {
    const [first] = files;
    if (first !== undefined)
      report.error(first.location, `${files.length} flow files`, `name at most ${MAX_FILES}`);
    return collector.take([]);
  }
  for (const [index, { file, location }] of files.entries()) {
    const format = FORMATS[path.extname(file).toLowerCase()];
    if (format === undefined) {
      report.error(
        location,
        `${path.basename(file)} is neither CSV nor NDJSON by its name`,
        "name it FILE.csv, FILE.ndjson or FILE.jsonl",
      );
      continue;
    }
    readFile({ file, index, location }, (visit) => forEachLine(file, visit), format, collector, report);
  }
  const flows = collector.take(files.map(({ file }) => file));
  checkRepeats(
    flows,
    connections,
    files.map(({ location }) => location),
    report,
  );
  return flows;
}

/**
 * Reads rows from memory, NDJSON where they start with a brace, else CSV.
 *
 * @param name what diagnostics call it
 * @param needsConnection false where rows only name flows
 */
export function readFlowText(
  bytes: Buffer,
  name: string,
  connections: readonly Connection[],
  report: Report,
  needsConnection: boolean,
): Flows {
  const collector = new Collector(connections, needsConnection);
  const source = { file: name, index: 0, location: { file: name, line: 1, column: 1 } };
  const format = bytes.toString("latin1", 0, 256).trimStart().startsWith("{") ? "ndjson" : "csv";
  readFile(source, (visit) => forEachLineIn(bytes, visit), format, collector, report);
  const flows = collector.take([name]);
  checkRepeats(flows, [], [source.location], report);
  return flows;
}

type Format = "csv" | "ndjson";

const FORMATS: Readonly<Record<string, Format>> = { ".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson" };

/** Reads one line; true where it was a row. */
type RowReader = (bytes: Buffer, start: number, end: number) => boolean;

function readerOf(format: Format, { row, needsConnection }: Collector): RowReader {
  if (format === "ndjson")
    return (bytes, start, end) => {
      readNdjsonLine(row, bytes, start, end);
      return true;
    };
  // The first line that is not blank or a comment is the header.
  let fields: readonly FlowField[] | null = null;
  return (bytes, start, end) => {
    if (fields !== null) {
      if (fields.length === 0) return false; // the header was wrong: nothing can be told of the rows
      readCsvLine(row, fields, bytes, start, end);
      return true;
    }
    fields = [];
    const text = bytes.toString("utf8", start, end);
    const needed: FlowField[] = needsConnection ? ["dst", "connection"] : ["dst"];
    fields = readHeader(text.charCodeAt(0) === BOM ? text.slice(1) : text, needed);
    return false;
  };
}

/** The columns of all files. */
class Collector {
  readonly row: FlowRow;
  readonly #subnets = { 4: new SubnetColumns(1), 6: new SubnetColumns(4) };
  readonly #exact = { 4: new ExactColumns(1), 6: new ExactColumns(4) };

  readonly needsConnection: boolean;

  constructor(connections: readonly Connection[], needsConnection = true) {
    this.needsConnection = needsConnection;
    this.row = new FlowRow(new Map(connections.map(({ name }, index) => [name, index])));
  }

  push(file: number, line: number): void {
    const columns = this.row.kind(this.needsConnection) === "subnet" ? this.#subnets : this.#exact;
    columns[this.row.dst.family].push(this.row, file, line);
  }

  take(files: readonly string[]): Flows {
    return {
      files,
      subnets4: this.#subnets[4].take(),
      subnets6: this.#subnets[6].take(),
      exact4: this.#exact[4].take(),
      exact6: this.#exact[6].take(),
    };
  }
}

function readFile(
  { file, index, location }: FlowFile & { readonly index: number },
  forEach: (visit: LineVisitor) => void,
  format: Format,
  collector: Collector,
  report: Report,
): void {
  const read = readerOf(format, collector);
  report.opens(file);
  let problems = 0;
  let rows = 0;
  const { row } = collector;
  const visit: LineVisitor = (bytes, start, end, line) => {
    row.clear();
    try {
      if (end - start > LONGEST_LINE)
        throw new FlowRowError(
          `the line is longer than ${LONGEST_LINE} bytes`,
          "write one flow a line",
          null,
        );
      if (isEmpty(bytes, start, end) || !read(bytes, start, end)) return;
      rows++;
      collector.push(index, line);
    } catch (error) {
      if (!(error instanceof FlowRowError)) throw error;
      if (++problems <= MAX_PROBLEMS) report.error({ file, line, column: 1 }, describe(error), error.hint);
    }
  };
  try {
    forEach(visit);
  } catch (error) {
    const [message, hint] = describeReadError(error, file);
    report.error(location, message, hint);
    return;
  }
  if (problems > MAX_PROBLEMS) reportMore(report, location, problems, file);
  else if (problems === 0 && rows === 0)
    report.warning(location, `${path.basename(file)} has no flows`, "add some, or take its name out");
}

function describe({ field, message }: FlowRowError): string {
  return field === null ? message : `${field}: ${message}`;
}

function isEmpty(bytes: Buffer, start: number, end: number): boolean {
  return start === end || bytes[start] === HASH;
}
