import { parsePrefix } from "./address.js";
import { type Report, show } from "./diagnostics.js";
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
      "write a value (0x66) or value/mask (0x1/0xff)",
    );
    return null;
  }
  if ((value & ~mask) !== 0) {
    const right = `0x${((value & mask) >>> 0).toString(16)}/0x${mask.toString(16)}`;
    report.error(source.at(path), `mark ${raw} has bits outside its mask`, `write ${right} or a wider mask`);
    return null;
  }
  return { value, mask };
}

function u32(text: string): number | null {
  if (!/^(0x[0-9a-f]{1,8}|\d{1,10})$/i.test(text)) return null;
  const value = Number(text);
  return value <= 0xffffffff ? value : null;
}

type OneOrMore<T> = T | readonly (T | undefined)[] | undefined;

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

export function readPrefixes(raw: OneOrMore<string>, path: Path, { source, report }: Context): Prefix[] {
  return readEach(raw, path, (text, itemPath) => {
    const result = parsePrefix(text);
    if ("prefix" in result) return result.prefix;
    report.error(source.at(itemPath), result.message, result.hint);
    return null;
  });
}

/** Reads ports as a number, "a-b" or a list of these; both ends of a range belong to it. */
export function readPorts(raw: OneOrMore<string | number>, path: Path, { source, report }: Context): Range[] {
  return readEach(raw, path, (item, itemPath) => {
    const [, fromText, toText] = /^(\d+)(?:-(\d+))?$/.exec(String(item)) ?? [];
    const error = (message: string, hint: string): null => {
      report.error(source.at(itemPath), message, hint);
      return null;
    };
    if (fromText === undefined)
      return error(`${show(item)} is not a port`, 'write a port (53) or a range ("5060-5070")');
    const from = Number(fromText);
    const to = Number(toText ?? fromText);
    if (from > 65535 || to > 65535) return error(`port ${item} is out of range`, "ports go from 0 to 65535");
    if (from > to) return error(`the port range ${item} is reversed`, `write ${to}-${from}`);
    return { from, to };
  });
}
