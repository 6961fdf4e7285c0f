import { isDeepStrictEqual } from "node:util";
import { formatPrefix } from "../config/address.js";
import type { Connection, Policy, Rule } from "../config/policy.js";
import { formatTarget } from "../config/target.js";
import { formatField, formatSet, keyOf } from "./explain.js";
import { planFlows } from "./plan-flows.js";
import { planProgram } from "./plan-program.js";
import { MATCH_FIELDS } from "./reference.js";

/** One thing that an apply would change. */
export interface Change {
  readonly action: "add" | "remove" | "change" | "move";
  /** What kind of thing: interface, backend, default, program, connection, rule or flows. */
  readonly what: string;
  /** Empty where there is one of the kind only. */
  readonly name: string;
  /** What of it, a line each. */
  readonly details: readonly string[];
}

/**
 * What becomes different when `after` takes the place of `before` (null: nothing is loaded). Where things stand in their
 * files does not count, nor does the order of connections; keys are compared by where they are kept.
 */
export function planChanges(before: Policy | null, after: Policy): Change[] {
  if (before === null) return [add("interface", after.interface.name, everything(after))];
  return [
    ...settings(before, after),
    ...planProgram(before, after),
    ...named("connection", before.connections, after.connections, connectionDetails),
    ...named("rule", before.rules, after.rules, ruleDetails),
    ...moves(before.rules, after.rules),
    ...planFlows(before, after),
  ];
}

/** One line for each change, with its details below. */
export function formatChange({ action, what, name, details }: Change): string {
  const sign = { add: "+", remove: "-", change: "~", move: "^" }[action];
  return [`${sign} ${what}${name === "" ? "" : ` ${name}`}`, ...details.map((line) => `    ${line}`)].join(
    "\n",
  );
}

function add(what: string, name: string, details: readonly string[] = []): Change {
  return { action: "add", what, name, details };
}

function everything({ connections, rules, flows, program }: Policy): string[] {
  const rows = [flows.subnets4, flows.subnets6, flows.exact4, flows.exact6];
  const count = rows.reduce((sum, { line }) => sum + line.length, 0);
  return [
    `${connections.length} connections`,
    `${rules.length} rules`,
    ...(count > 0 ? [`${count} flows`] : []),
    ...(program ? [`the program ${program.file}`] : []),
  ];
}

function settings(before: Policy, after: Policy): Change[] {
  const change = (what: string, details: string[]): Change[] =>
    details.length === 0 ? [] : [{ action: "change", what, name: "", details }];
  const [a, b] = [before.interface, after.interface];
  return [
    ...change("backend", differing([["", before.backend, after.backend]])),
    ...change(
      "interface",
      differing([
        ["name", a.name, b.name],
        ["mtu", String(a.mtu), String(b.mtu)],
        ["addresses", list(a.addresses.map(formatPrefix)), list(b.addresses.map(formatPrefix))],
        ["guard", String(a.guard), String(b.guard)],
        ["routes", String(a.routes), String(b.routes)],
      ]),
    ),
    ...change("default", differing([["", before.default, after.default]])),
  ];
}

interface Named {
  readonly name: string;
}

function named<T extends Named>(
  what: string,
  before: readonly T[],
  after: readonly T[],
  details: (a: T, b: T) => string[],
): Change[] {
  const old = new Map(before.map((each) => [each.name, each]));
  const kept = new Set(after.map(({ name }) => name));
  return [
    ...before
      .filter(({ name }) => !kept.has(name))
      .map(({ name }): Change => ({ action: "remove", what, name, details: [] })),
    ...after.flatMap((each): Change[] => {
      const was = old.get(each.name);
      if (was === undefined) return [add(what, each.name)];
      const lines = details(was, each);
      return lines.length === 0 ? [] : [{ action: "change", what, name: each.name, details: lines }];
    }),
  ];
}

function connectionDetails(a: Connection, b: Connection): string[] {
  const mark = ({ rxMark }: Connection) => formatSet({ mark: rxMark, dscp: null });
  return [
    ...differing([
      ["if_id", String(a.ifId), String(b.ifId)],
      ["link", a.link ?? "none", b.link ?? "none"],
      ["rx", mark(a), mark(b)],
      ["subnets", list(a.subnets.map(formatPrefix)), list(b.subnets.map(formatPrefix))],
    ]),
    ...(isDeepStrictEqual(withoutPlaces(a.esp), withoutPlaces(b.esp)) ? [] : ["esp differs"]),
  ];
}

/** Plain data without the places in files. */
function withoutPlaces(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value, (key, each) => (key === "location" ? undefined : each)));
}

function ruleDetails(a: Rule, b: Rule): string[] {
  return differing([
    ...MATCH_FIELDS.map((field): [string, string, string] => [
      keyOf(field),
      formatField(field, a.match),
      formatField(field, b.match),
    ]),
    ["to", formatTarget(a.to), formatTarget(b.to)],
    ["set", formatSet(a.set), formatSet(b.set)],
  ]);
}

/** A line for each that is not what it was. */
export function differing(
  values: readonly (readonly [what: string, before: string, after: string])[],
): string[] {
  return values
    .filter(([, before, after]) => before !== after)
    .map(([what, before, after]) => `${what === "" ? "" : `${what}: `}${before} -> ${after}`);
}

function list(items: readonly string[]): string {
  return items.length === 0 ? "none" : items.join(", ");
}

/** Rules of both whose order among themselves changed: as few as explain it. */
function moves(before: readonly Rule[], after: readonly Rule[]): Change[] {
  const places = new Map(before.map(({ name }, index) => [name, index]));
  const common = after.filter(({ name }) => places.has(name));
  const inOrder = longestRise(common.map(({ name }) => places.get(name) as number));
  return common
    .filter((_, index) => !inOrder.has(index))
    .map(({ name }) => ({ action: "move", what: "rule", name, details: [] }));
}

/** Indexes of a longest rising subsequence (patience sorting). */
function longestRise(values: readonly number[]): Set<number> {
  /** Index of the lowest value that ends a rise of length i + 1, and for each index the one before it in its rise. */
  const ends: number[] = [];
  const previous: number[] = [];
  values.forEach((value, index) => {
    let low = 0;
    let high = ends.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((values[ends[middle] as number] as number) < value) low = middle + 1;
      else high = middle;
    }
    previous.push(low > 0 ? (ends[low - 1] as number) : -1);
    ends[low] = index;
  });
  const rise = new Set<number>();
  for (let index = ends.at(-1) ?? -1; index >= 0; index = previous[index] as number) rise.add(index);
  return rise;
}
