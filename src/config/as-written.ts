import * as z from "zod";
import type { Report } from "./diagnostics.js";
import { NAMES } from "./schema.js";
import { locationOf, type Place } from "./yaml-reader.js";

/**
 * YAML makes numbers of 0047, 1.10 and 0x10, and booleans of true and false, also where a policy wants a name, a file or a
 * device. There the text as it is written is the value. Numbers that remain must mean the same to every reader.
 *
 * @returns the value; mappings and lists are changed in place
 */
export function asWritten(
  value: unknown,
  schema: unknown,
  place: Place | undefined,
  report: Report,
): unknown {
  const options = optionsOf(schema);
  if (Array.isArray(value)) {
    const element = options.flatMap((option) => (option instanceof z.ZodArray ? [option.element] : []));
    for (const [index, each] of value.entries())
      if (typeof each !== "string")
        value[index] = asWritten(each, element, place?.children?.get(index), report);
    return value;
  }
  if (typeof value === "object" && value !== null) {
    const mapping = value as Record<string, unknown>;
    for (const [key, each] of Object.entries(mapping))
      if (typeof each !== "string")
        mapping[key] = asWritten(
          each,
          options.flatMap((option) => schemaOf(option, key)),
          place?.children?.get(key),
          report,
        );
    return value;
  }
  const written = place?.written;
  if (written === undefined || value === null) return value;
  if (options.some((option) => NAMES.has(option))) return written;
  if (typeof value === "number" && place !== undefined) refuseOctal(written, place, report);
  return value;
}

/** The schemas that a value may follow; `schema` may be several already. */
function optionsOf(schema: unknown): readonly unknown[] {
  if (Array.isArray(schema)) return schema.flatMap(optionsOf);
  if (schema instanceof z.ZodOptional) return optionsOf(schema.unwrap());
  if (schema instanceof z.ZodUnion) return schema.options.flatMap(optionsOf);
  return schema === undefined ? [] : [schema];
}

function schemaOf(schema: unknown, key: string): readonly unknown[] {
  if (schema instanceof z.ZodObject) return Object.hasOwn(schema.shape, key) ? [schema.shape[key]] : [];
  return schema instanceof z.ZodRecord ? [schema.valueType] : [];
}

function refuseOctal(written: string, { text, offset }: Place, report: Report): void {
  const [, sign = "", digits = ""] = /^([-+]?)0+(\d+)$/.exec(written) ?? [];
  if (digits === "") return;
  const octal = /^[0-7]+$/.test(digits)
    ? `, or ${sign}0o${digits} for ${Number.parseInt(`${sign}${digits}`, 8)}`
    : "";
  report.error(
    locationOf(text, offset),
    `${written} begins with a zero: to YAML 1.1 that is octal, to YAML 1.2 decimal`,
    `write ${sign}${digits}${octal}`,
  );
}
