import { parsePrefix } from "./address.js";
import { type Report, show, suggest } from "./diagnostics.js";
import { closest } from "./names.js";
import type { Masked, Prefix, Range } from "./policy.js";
import type { Path, Source } from "./source.js";

/** What every reader of values needs: where they stand and where problems go. */
export interface Context {
  readonly source: Source;
  readonly report: Report;
}

/** Reads a mark as `value`, or `value/mask`, in decimal or 0x hexadecimal; a bare value has the mask 0xffffffff. */
export function readMark(raw: string | number, path: Path, { source, report }: Context): Masked | null {
  const [valueText = "", maskText = "0xffffffff", ...rest] = String(raw).split("/");
  const value = u32(valueText);
  const mask = u32(maskText);
  if (value === null || mask === null || rest.length > 0) {
    report.error(
      source.at(path),
      `mark ${show(raw)} is not a mark`,
      decimal(raw, "write a value (0x66) or value/mask (0x1/0xff)"),
    );
    return null;
  }
  if ((value & ~mask) !== 0) {
    const right = `0x${((value & mask) >>> 0).toString(16)}/0x${mask.toString(16)}`;
    report.error(
      source.at(path),
      `mark ${raw} has bits outside its mask`,
      `write ${right} or a wider mask`,
      suggest(raw, right),
    );
    return null;
  }
  return { value, mask };
}

function u32(text: string): number | null {
  if (!/^(0x[0-9a-f]{1,8}|0|[1-9]\d{0,9})$/i.test(text)) return null;
  const value = Number(text);
  return value <= 0xffffffff ? value : null;
}

/** A hint, and why a number with a zero in front is none: strtoul() takes 010 for 8, most others for 10. */
const decimal = (raw: string | number, hint: string): string =>
  /(?:^|[-/])0\d/.test(String(raw)) ? `${hint}, without zeros in front` : hint;

export type OneOrMore<T> = T | readonly (T | undefined)[] | undefined;

/** Calls `read` for each entry that has the right shape, with its path; returns what it made of them. */
export function readEach<T extends string | number, R>(
  raw: OneOrMore<T>,
  path: Path,
  read: (item: T, path: Path) => R | null,
): R[] {
  const results: R[] = [];
  const add = (item: T | undefined, itemPath: Path) => {
    const result = item === undefined ? null : read(item, itemPath);
    if (result !== null) results.push(result);
  };
  if (typeof raw === "object") for (const [index, item] of raw.entries()) add(item, [...path, index]);
  else add(raw, path);
  return results;
}

export function readPrefixes(raw: OneOrMore<string>, path: Path, context: Context): Prefix[] {
  return readEach(raw, path, (text, itemPath) => readPrefix(text, itemPath, context));
}

export function readPrefix(text: string, path: Path, { source, report }: Context): Prefix | null {
  const result = parsePrefix(text);
  if ("prefix" in result) return result.prefix;
  const { message, hint, right } = result;
  report.error(source.at(path), message, hint, right === undefined ? undefined : suggest(text, right));
  return null;
}

/** What a range is of, for messages; `text` is how the noun follows "is not". */
export interface RangeKind {
  readonly noun: string;
  readonly plural: string;
  readonly text: string;
  readonly max: number;
  readonly example: string;
}

export const PORTS: RangeKind = {
  noun: "port",
  plural: "ports",
  text: "a port",
  max: 65535,
  example: 'write a port (53) or a range ("5060-5070")',
};

export const ICMP_TYPES: RangeKind = {
  noun: "ICMP type",
  plural: "ICMP types",
  text: "an ICMP type",
  max: 255,
  example: 'write a number (8) or a range ("133-137")',
};

/** The largest payload of IPv6 behind its header (RFC 8200 section 3). */
export const LENGTHS: RangeKind = {
  noun: "length",
  plural: "lengths",
  text: "a length",
  max: 65535 + 40,
  example: 'write bytes (1400) or a range ("0-128")',
};

/** Reads a number or "a-b"; both ends of a range belong to it. */
export function readRange(
  item: string | number,
  path: Path,
  { noun, plural, text, max, example }: RangeKind,
  { source, report }: Context,
): Range | null {
  const [, fromText, toText] = /^(0|[1-9]\d*)(?:-(0|[1-9]\d*))?$/.exec(String(item)) ?? [];
  const from = Number(fromText);
  const to = Number(toText ?? fromText);
  if (fromText === undefined)
    report.error(source.at(path), `${show(item)} is not ${text}`, decimal(item, example));
  else if (from > max || to > max)
    report.error(source.at(path), `${noun} ${item} is out of range`, `${plural} go from 0 to ${max}`);
  else if (from > to)
    report.error(
      source.at(path),
      `the ${noun} range ${item} is reversed`,
      `write ${to}-${from}`,
      suggest(item, `${to}-${from}`),
    );
  else return { from, to };
  return null;
}

/** Reads a number by its decimal text or one of its names. */
export function readNumber(
  raw: string | number,
  parse: (text: string) => number | null,
  what: string,
  names: readonly string[],
  max: number,
  path: Path,
  { source, report }: Context,
): number | null {
  const value = parse(String(raw));
  if (value === null) {
    const near = closest(String(raw), names);
    report.error(
      source.at(path),
      `${show(raw)} is not ${/^[aeiou]/i.test(what) ? "an" : "a"} ${what}`,
      near === null
        ? `write a number from 0 to ${max} or one of ${names.join(", ")}`
        : `did you mean ${near}?`,
      near === null ? undefined : suggest(raw, near),
    );
  }
  return value;
}
