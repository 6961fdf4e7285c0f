import { show } from "./diagnostics.js";
import { FLOW_FIELDS, type FlowRow, FlowRowError } from "./flow-row.js";
import { closest } from "./names.js";

const EXAMPLE = '{"dst": "10.1.0.0/16", "connection": "branch-a"}';

/** Reads a line of NDJSON, one object with the fields of a flow, into `row`. @throws FlowRowError */
export function readNdjsonLine(row: FlowRow, bytes: Buffer, start: number, end: number): void {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8", start, end));
  } catch {
    throw new FlowRowError("this is not JSON", `write one object a line, such as ${EXAMPLE}`, null);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new FlowRowError(`this is ${show(value)}`, `write an object such as ${EXAMPLE}`, null);
  for (const [name, content] of Object.entries(value)) {
    const field = FLOW_FIELDS.find((known) => known === name);
    if (field === undefined) {
      const near = closest(name, FLOW_FIELDS);
      const hint = near === null ? `the fields are ${FLOW_FIELDS.join(", ")}` : `did you mean ${near}?`;
      throw new FlowRowError(`unknown field ${show(name)}`, hint, null);
    }
    if (content === null || content === "") continue;
    if (typeof content !== "string" && typeof content !== "number")
      throw new FlowRowError(`${field} is ${show(content)}`, "write a text or a number", field);
    const text = Buffer.from(String(content));
    row.read(field, text, 0, text.length);
  }
}
