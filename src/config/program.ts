import { accessSync, constants } from "node:fs";
import { dirname, resolve } from "node:path";
import * as z from "zod";
import { show } from "./diagnostics.js";
import type { ProgramConfig } from "./policy.js";
import { describeReadError } from "./read-error.js";
import type { PartlyRaw } from "./shape.js";
import type { Context } from "./values.js";

const VALUE_HINT = "write a number, true, false, text, or a list of these for an array or a struct";
const NAMES_HINT = "write a mapping of names to values";

const scalar = z.union([z.number(VALUE_HINT), z.boolean(VALUE_HINT), z.string(VALUE_HINT)], VALUE_HINT);
const value = z.union([scalar, z.array(scalar, VALUE_HINT)], VALUE_HINT);

/** `program:`: its constants and maps are checked against the program's types when it is compiled. */
export const programSchema = z
  .strictObject(
    {
      file: z.string("write the path of a .bpf.c or .o file").describe("C source or BPF object"),
      constants: z.record(z.string(), value, NAMES_HINT).optional().describe("By name"),
      maps: z
        .record(z.string(), z.record(z.string(), value, "write a mapping of keys to values"), NAMES_HINT)
        .optional()
        .describe("Entries by the name of the map; a key of several members is written with commas"),
    },
    "write a mapping such as {file: spread.bpf.c, constants: {n: 2}}",
  )
  .describe("A steering program of your own, in front of the rules");

/** Reads `program:`; its file must be there, relative to the folder of the policy's. */
export function readProgram(raw: PartlyRaw["program"], { source, report }: Context): ProgramConfig | null {
  if (raw?.file === undefined) return null;
  const file = resolve(dirname(source.file), raw.file);
  try {
    accessSync(file, constants.R_OK);
  } catch (error) {
    report.error(source.at(["program", "file"]), ...describeReadError(error, `program ${show(raw.file)}`));
  }
  return {
    file,
    constants: Object.fromEntries(Object.entries(raw.constants ?? {}).map(([name, of]) => [name, texts(of)])),
    maps: Object.entries(raw.maps ?? {}).flatMap(([map, entries]) =>
      Object.entries(entries ?? {}).map(([key, of]) => ({ map, key: splitValues(key), value: texts(of) })),
    ),
    built: null,
  };
}

/** Members of an array or struct, as one text has them: with commas between. */
export function splitValues(text: string): string[] {
  return text.split(",").map((part) => part.trim());
}

type Scalar = number | boolean | string;

function texts(value: Scalar | readonly (Scalar | undefined)[] | undefined): string[] {
  const all = Array.isArray(value) ? value : [value];
  return all.filter((each) => each !== undefined).map(String);
}
