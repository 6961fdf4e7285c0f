import path from "node:path";
import { formatPrefix } from "./address.js";
import { MAX_PROBLEMS, type Report } from "./diagnostics.js";
import { formatSide } from "./flow-row.js";
import type { Connection, ExactFlows, Family, FlowSubnets, Flows, Location, RowOrigins } from "./policy.js";
import { RowIndex } from "./row-index.js";

/**
 * Reports rows that are there twice, and subnets that a connection has already.
 *
 * @param named where the policy names each of the files
 */
export function checkRepeats(
  flows: Flows,
  connections: readonly Connection[],
  named: readonly Location[],
  report: Report,
): void {
  const problems = new Problems(flows, report);
  for (const family of [4, 6] as const) {
    checkSubnets(flows[`subnets${family}`], family, connections, problems);
    checkExact(flows[`exact${family}`], family, problems);
  }
  problems.count(named);
}

/** Says how many problems of a file are not told one by one. */
export function reportMore(report: Report, location: Location, problems: number, file: string): void {
  report.error(
    location,
    `${problems - MAX_PROBLEMS} more lines of ${path.basename(file)} are wrong`,
    "see above",
  );
}

/** Reports the first few problems of each file. */
class Problems {
  readonly #flows: Flows;
  readonly #report: Report;
  /** By file. */
  readonly #counts: number[];

  constructor(flows: Flows, report: Report) {
    this.#flows = flows;
    this.#report = report;
    this.#counts = flows.files.map(() => 0);
  }

  add(rows: RowOrigins, row: number, what: string, other: Location | number): void {
    const index = rows.file[row] as number;
    const count = (this.#counts[index] ?? 0) + 1;
    this.#counts[index] = count;
    if (count > MAX_PROBLEMS) return;
    const location = this.#locate(rows, row);
    const { file, line } = typeof other === "number" ? this.#locate(rows, other) : other;
    const where = file === location.file ? `line ${line}` : `${file}:${line}`;
    this.#report.error(location, `${what} is there already (${where})`, "keep one of them");
  }

  count(named: readonly Location[]): void {
    for (const [index, count] of this.#counts.entries())
      if (count > MAX_PROBLEMS)
        reportMore(this.#report, named[index] as Location, count, this.#flows.files[index] as string);
  }

  #locate({ file, line }: RowOrigins, row: number): Location {
    return {
      file: this.#flows.files[file[row] as number] ?? "",
      line: line[row] as number,
      column: 1,
    };
  }
}

function checkSubnets(
  subnets: FlowSubnets,
  family: Family,
  connections: readonly Connection[],
  problems: Problems,
): void {
  const { words, length } = subnets;
  if (length.length === 0) return;
  const size = family === 4 ? 1 : 4;
  const index = new RowIndex(
    [
      { values: words, size },
      { values: length, size: 1 },
    ],
    length.length,
  );
  for (let row = 0; row < length.length; row++) {
    const first = index.add(row);
    if (first < 0) continue;
    const at = words.subarray(row * size, (row + 1) * size);
    problems.add(subnets, row, formatSide(at, family, length[row] as number), first);
  }
  for (const { name, subnets: own, location } of connections)
    for (const prefix of own) {
      const row = prefix.family === family ? index.find([prefix.words, [prefix.length]]) : -1;
      if (row >= 0) problems.add(subnets, row, `${formatPrefix(prefix)}, a subnet of ${name},`, location);
    }
}

function checkExact(flows: ExactFlows, family: Family, problems: Problems): void {
  const { src, dst, proto, ports } = flows;
  if (proto.length === 0) return;
  const size = family === 4 ? 1 : 4;
  const index = new RowIndex(
    [
      { values: src, size },
      { values: dst, size },
      { values: proto, size: 1 },
      { values: ports, size: 1 },
    ],
    proto.length,
  );
  for (let row = 0; row < proto.length; row++) {
    const first = index.add(row);
    if (first >= 0) problems.add(flows, row, "this flow", first);
  }
}
