import path from "node:path";
import { readRegular } from "../sys/regular-file.js";
import type { Defaults } from "./defaults.js";
import { type Report, show } from "./diagnostics.js";
import type { FlowFile } from "./flow-files.js";
import { glob, isGlob } from "./glob.js";
import type { Location } from "./policy.js";
import { describeReadError, MAX_YAML_BYTES } from "./read-error.js";
import { policySchema } from "./schema.js";
import { checkShape, type Shape } from "./shape.js";
import { readSource } from "./source.js";
import { type Context, readEach } from "./values.js";

/** One file of a policy, as far as it has the right shape. */
export interface Part extends Shape {
  readonly context: Context;
}

/** A file with none of them is no policy, but something that a path led to by mistake or by malice. */
const POLICY_KEYS: ReadonlySet<string> = new Set(Object.keys(policySchema.shape));

/** Files deep; a chain of includes that is longer has most likely no end. */
const MAX_DEPTH = 16;

/** What belongs into the file that is applied, not into one that it includes. */
const MAIN_ONLY = ["backend", "interface", "default"] as const;

/**
 * Reads a policy's file and all that it includes, in the order of their rules: the included files come first, in the
 * order of the list, then the file that includes them. An included file has its own `version`.
 *
 * @returns null where the file itself has no usable shape
 */
export function readParts(content: string | Uint8Array, file: string, report: Report): Part[] | null {
  const opened = new Map<string, Location>([[path.resolve(file), { file, line: 1, column: 1 }]]);
  const parts: Part[] = [];
  return readPart(content, file, 0, null) ? parts : null;

  function readPart(
    bytes: string | Uint8Array,
    name: string,
    depth: number,
    defaults: Defaults | null,
  ): boolean {
    report.opens(name);
    const text = typeof bytes === "string" ? bytes : decode(bytes, name, report);
    const source = text === null ? null : readSource(text, name, POLICY_KEYS, report);
    const shape = source === null ? null : checkShape(source, defaults, report);
    if (source === null || shape === null) return false;
    const context = { source, report };
    if (depth > 0) refuseMainOnly(shape, context);
    for (const { file: included, location } of filesOf("include", { ...shape, context })) {
      const known = opened.get(included);
      if (known !== undefined) {
        report.error(
          location,
          `${show(included)} is part of this policy already (${known.file}:${known.line})`,
          "include each file once",
        );
      } else if (depth === MAX_DEPTH) {
        report.error(location, "the includes are nested too deeply", `nest at most ${MAX_DEPTH} files`);
      } else {
        opened.set(included, location);
        include(included, location, depth + 1, shape.defaults);
      }
    }
    parts.push({ ...shape, context });
    return true;
  }

  function include(name: string, location: Location, depth: number, defaults: Defaults | null): void {
    let bytes: Buffer;
    try {
      bytes = readRegular(name, MAX_YAML_BYTES);
    } catch (error) {
      const [message, hint] = describeReadError(error, name);
      report.error(location, message, hint);
      return;
    }
    readPart(bytes, name, depth, defaults);
  }
}

/** The files that a part names under a key, relative to its own folder; a pattern stands for all that it matches. */
export function filesOf(key: "include" | "flows", { raw, context }: Part): FlowFile[] {
  const { source } = context;
  return readEach(raw[key], [key], (text, at): FlowFile[] => {
    const file = path.resolve(path.dirname(source.file), text);
    const location = source.at(at);
    return isGlob(text) ? matching(file, text, location, context) : [{ file, location }];
  }).flat();
}

function matching(pattern: string, text: string, location: Location, { report }: Context): FlowFile[] {
  if (text.includes("**")) {
    report.error(
      location,
      `${show(text)} has **, which is not known here`,
      "write * for each level of folders",
    );
    return [];
  }
  try {
    const files = glob(pattern);
    if (files.length === 0)
      report.warning(location, `${show(text)} matches no file`, "add one, or take the pattern out");
    return files.map((file) => ({ file, location }));
  } catch (error) {
    const [message, hint] = describeReadError(error, `a folder of ${show(text)}`);
    report.error(location, message, hint);
    return [];
  }
}

function refuseMainOnly({ raw }: Shape, { source, report }: Context): void {
  for (const key of MAIN_ONLY)
    if (raw[key] !== undefined)
      report.error(
        source.atKey([key]),
        `${key} stands in an included file`,
        "write it in the file that includes this one",
      );
}

function decode(bytes: Uint8Array, file: string, report: Report): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    const before = new TextDecoder().decode(bytes).split("\uFFFD", 1)[0] ?? "";
    const lines = before.split("\n");
    const location = { file, line: lines.length, column: (lines.at(-1)?.length ?? 0) + 1 };
    report.error(location, "this is not UTF-8 text", "save the file as UTF-8");
    return null;
  }
}
