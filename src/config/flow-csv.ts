import { show } from "./diagnostics.js";
import { FLOW_FIELDS, type FlowField, type FlowRow, FlowRowError } from "./flow-row.js";
import { closest } from "./names.js";

const COMMA = 0x2c;
const QUOTE = 0x22;
const SPACE = 0x20;
const TAB = 0x09;

/** Whether a name is that of a field, or nearly so. */
export function namesField(name: string): boolean {
  return FLOW_FIELDS.some((known) => known === name) || closest(name, FLOW_FIELDS) !== null;
}

/**
 * Reads a CSV header: names of fields in any order.
 *
 * @param needed fields that it must have
 * @throws FlowRowError
 */
export function readHeader(line: string, needed: readonly FlowField[]): FlowField[] {
  const names = line.split(",").map((name) => name.trim().replace(/^"(.*)"$/, "$1"));
  // A file with none of them is no flow file, and nothing of it is quoted.
  if (!names.some(namesField))
    throw new FlowRowError(
      "the first line names no field of a flow (it is not shown)",
      `the fields are ${FLOW_FIELDS.join(", ")}`,
      null,
    );
  const fields: FlowField[] = [];
  for (const name of names) {
    const field = FLOW_FIELDS.find((known) => known === name);
    if (field === undefined) {
      const near = closest(name, FLOW_FIELDS);
      const hint = near === null ? `the fields are ${FLOW_FIELDS.join(", ")}` : `did you mean ${near}?`;
      throw new FlowRowError(`the header names the field ${show(name)}`, hint, null);
    }
    if (fields.includes(field))
      throw new FlowRowError(`the header names ${field} twice`, "name each field once", null);
    fields.push(field);
  }
  for (const field of needed)
    if (!fields.includes(field))
      throw new FlowRowError(
        `the header has no ${field}`,
        "start the file with the line src,dst,proto,sport,dport,connection or dst,connection",
        null,
      );
  return fields;
}

/**
 * Reads a line of CSV into `row`. Fields may be quoted and have blanks around them; none can contain a comma or a quote.
 *
 * @throws FlowRowError
 */
export function readCsvLine(
  row: FlowRow,
  fields: readonly FlowField[],
  bytes: Buffer,
  start: number,
  end: number,
): void {
  let at = start;
  for (let index = 0; ; index++) {
    let stop = at;
    while (stop < end && bytes[stop] !== COMMA) stop++;
    const field = fields[index];
    if (field === undefined)
      throw new FlowRowError("there are more fields than in the header", fieldsHint(fields), null);
    let from = at;
    let to = stop;
    while (from < to && isBlank(bytes[from])) from++;
    while (from < to && isBlank(bytes[to - 1])) to--;
    if (to - from >= 2 && bytes[from] === QUOTE && bytes[to - 1] === QUOTE) {
      from++;
      to--;
    }
    if (from < to) row.read(field, bytes, from, to);
    if (stop === end) {
      if (index < fields.length - 1)
        throw new FlowRowError("there are fewer fields than in the header", fieldsHint(fields), null);
      return;
    }
    at = stop + 1;
  }
}

function isBlank(c: number | undefined): boolean {
  return c === SPACE || c === TAB;
}

function fieldsHint(fields: readonly FlowField[]): string {
  return `write ${fields.join(",")}; leave a field empty, but keep its comma`;
}
