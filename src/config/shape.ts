import * as z from "zod";
import { asWritten } from "./as-written.js";
import { applyDefaults, type Defaults } from "./defaults.js";
import { type Report, show, suggest } from "./diagnostics.js";
import { closest } from "./names.js";
import { EXTENSION_PREFIX, NO_DEFAULTS, policySchema, type RawPolicy } from "./schema.js";
import type { Path, Source } from "./source.js";

/** T with every value possibly missing, at any depth: what is left of a file once the misshapen parts are cut out. */
export type Partly<T> = T extends readonly (infer E)[]
  ? readonly (Partly<E> | undefined)[]
  : T extends object
    ? { readonly [K in keyof T]?: Partly<T[K]> | undefined }
    : T;

export type PartlyRaw = Partly<RawPolicy>;

/** The parts of a file that have the right shape. */
export interface Shape {
  readonly raw: PartlyRaw;
  /** Indexes of the rules that are not as their author meant them: cross-checks would mislead. */
  readonly misshapenRules: ReadonlySet<number>;
  /** For the files that this one includes. */
  readonly defaults: Defaults | null;
}

/**
 * Checks the shape and reports every problem. Returns what has the right shape, so that the rest of the file can
 * still be checked in the same run; null when nothing can be made of it.
 */
export function checkShape(source: Source, around: Defaults | null, report: Report): Shape | null {
  for (const key of Object.keys(Object(source.value)))
    if (key.startsWith(EXTENSION_PREFIX)) delete (source.value as Record<string, unknown>)[key];
  asWritten(source.value, policySchema, source.root, report);
  checkDefaults(source, report);
  const defaults = applyDefaults(source, around);
  const result = policySchema.safeParse(source.value);
  if (result.success) return { raw: result.data, misshapenRules: new Set(), defaults };
  const issues = result.error.issues.flatMap((issue) => flatten(issue, []));
  // A value that is no mapping has no keys, and another version may have any other shape: the rest says nothing.
  const fatal = issues.find(
    ({ code, path }) =>
      (path.length === 0 && code !== "unrecognized_keys") ||
      (path[0] === "version" && valueAt(source.value, path) !== undefined),
  );
  if (fatal !== undefined) {
    reportIssue(fatal, source, report);
    return null;
  }
  reportAll(issues, source, report);
  for (const { code, path } of issues) if (code !== "unrecognized_keys") cut(source.value, path);
  const misshapen = issues.flatMap(({ path: [top, index] }) =>
    top === "rules" && typeof index === "number" ? [index] : [],
  );
  return { raw: source.value as PartlyRaw, misshapenRules: new Set(misshapen), defaults };
}

/**
 * Before connections take from them. What has the wrong shape stays: where a connection takes it, the same is said of the
 * same place, and nothing of what would be missing without it.
 */
function checkDefaults(source: Source, report: Report): void {
  const value = valueAt(source.value, ["defaults"]);
  const result = policySchema.shape.defaults.safeParse(value);
  if (result.success) return;
  const issues = result.error.issues.flatMap((issue) => flatten(issue, ["defaults"]));
  reportAll(issues, source, report);
  for (const { path, unknownKeys } of issues)
    for (const key of unknownKeys) cut(source.value, [...path, key]);
}

function reportAll(issues: readonly Issue[], source: Source, report: Report): void {
  const seen = new Set<string>();
  for (const issue of issues) {
    if (issue.code !== "unrecognized_keys") {
      // One value can fail several checks (whole number, range); the first says it all.
      const id = JSON.stringify(issue.path);
      if (seen.has(id)) continue;
      seen.add(id);
    }
    reportIssue(issue, source, report);
  }
}

interface Issue {
  readonly code: string;
  readonly path: Path;
  readonly message: string;
  readonly unknownKeys: readonly string[];
}

/** A union fails as a whole, unless a list in it is fine but for its entries: then those are what failed. */
function flatten(issue: z.core.$ZodIssue, around: Path): Issue[] {
  const path = [...around, ...issue.path.map((step) => (typeof step === "symbol" ? String(step) : step))];
  if (issue.code === "invalid_union") {
    for (const branch of issue.errors) {
      const inner = branch.flatMap((each) => flatten(each, path));
      if (inner.length > 0 && inner.every((each) => each.path.length > path.length)) return inner;
    }
  }
  const unknownKeys = issue.code === "unrecognized_keys" ? issue.keys : [];
  return [{ code: issue.code, path, message: issue.message, unknownKeys }];
}

function reportIssue({ code, path, message, unknownKeys }: Issue, source: Source, report: Report): void {
  if (code === "unrecognized_keys") {
    for (const key of unknownKeys) reportUnknownKey(path, key, source, report);
    return;
  }
  const value = valueAt(source.value, path);
  if (value === undefined) {
    report.error(
      source.atKey(path.slice(0, -1)),
      `${nameOf(path.slice(0, -1))} has no ${path.at(-1)}`,
      message,
    );
    return;
  }
  // Whatever stands in place of an SA or a key may be the key.
  const secret = path[2] === "esp" && (path[3] === "in" || path[3] === "out") && typeof value !== "object";
  const found = secret && path.at(-1) !== "spi" ? "a plain value (not shown)" : show(value);
  report.error(source.at(path), `${nameOf(path)} is ${found}`, message);
}

function reportUnknownKey(path: Path, key: string, source: Source, report: Report): void {
  const location = source.atKey([...path, key]);
  if (path[0] === "defaults" && NO_DEFAULTS.includes(key)) {
    report.error(location, `${key} cannot be a default`, "write it in each connection, which has its own");
    return;
  }
  const known = keysAt(path);
  const fallback = `the keys of ${nameOf(path)} are ${known.join(", ")}`;
  const near = closest(key, known);
  report.error(
    location,
    `unknown key ${show(key)}`,
    near === null ? fallback : `did you mean ${near}?`,
    near === null ? undefined : suggest(key, near),
  );
}

/** The keys that the schema has at `path`. */
function keysAt(path: Path): string[] {
  let schema: unknown = policySchema;
  for (const step of path) {
    if (schema instanceof z.ZodObject) schema = schema.shape[step];
    else if (schema instanceof z.ZodRecord) schema = schema.valueType;
    else if (schema instanceof z.ZodArray) schema = schema.element;
    if (schema instanceof z.ZodOptional) schema = schema.unwrap();
  }
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
}

function nameOf(path: Path): string {
  const last = path.at(-1);
  if (last === undefined) return "the policy";
  if (typeof last === "string") return last;
  return path.at(-2) === "rules" ? `rule ${last + 1}` : `an entry of ${path.at(-2)}`;
}

function valueAt(value: unknown, path: Path): unknown {
  let found = value;
  for (const step of path) {
    if (typeof found !== "object" || found === null) return undefined;
    found = (found as Record<string | number, unknown>)[step];
  }
  return found;
}

/** Replaces the value at `path` by undefined, so that list indexes stay what they are. */
function cut(value: unknown, path: Path): void {
  const parent = valueAt(value, path.slice(0, -1));
  const last = path.at(-1);
  if (last === undefined || typeof parent !== "object" || parent === null || !Object.hasOwn(parent, last))
    return;
  (parent as Record<string | number, unknown>)[last] = undefined;
}
