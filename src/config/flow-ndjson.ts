import { show } from "./diagnostics.js";
import { namesField } from "./flow-csv.js";
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
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    const found = typeof value === "object" ? show(value) : "a plain value (not shown)";
    throw new FlowRowError(`this is ${found}`, `write an object such as ${EXAMPLE}`, null);
  }
  const names = Object.keys(value);
  // A line with none of them is none of a flow file, and nothing of it is quoted.
  if (names.length > 0 && !names.some(namesField))
    throw new FlowRowError(
      "the object has no field of a flow (it is not shown)",
      `the fields are ${FLOW_FIELDS.join(", ")}`,
      null,
    );
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
