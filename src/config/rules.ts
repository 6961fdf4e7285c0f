import { formatPrefix } from "./address.js";
import { checkInterfaceName } from "./connections.js";
import { show } from "./diagnostics.js";
import { familiesOf } from "./families.js";
import { SET_NOTHING } from "./match.js";
import { didYouMean, NAME_HINT, NAME_PATTERN } from "./names.js";
import type { Family, Match, Rule, Target } from "./policy.js";
import {
  DSCP_NAMES,
  dscpNumber,
  ICMP,
  ICMPV6,
  PORT_PROTOCOL_NAMES,
  PORT_PROTOCOLS,
  PROTOCOL_NAMES,
  protocolName,
  protocolNumber,
} from "./protocols.js";
import type { RawPolicy } from "./schema.js";
import type { Partly, PartlyRaw } from "./shape.js";
import type { Path } from "./source.js";
import { type Context, readMark, readPorts, readPrefixes } from "./values.js";

type RawRule = NonNullable<RawPolicy["rules"]>[number];
type RawMatch = Partly<NonNullable<RawRule["match"]>>;

/** A rule as far as it could be read; `complete` when nothing of it is missing. */
export interface ReadRule extends Rule {
  readonly complete: boolean;
  /** Index in the file's list. */
  readonly index: number;
}

/** Reads all rules. A rule whose target is unknown is left out; a part of a match that is wrong matches anything. */
export function readRules(
  raw: PartlyRaw["rules"],
  misshapen: ReadonlySet<number>,
  connections: readonly string[],
  context: Context,
): ReadRule[] {
  const { source, report } = context;
  const rules: ReadRule[] = [];
  const names = new Map<string, number>();
  const targets = new Set(connections);
  for (const [index, rule = {}] of (raw ?? []).entries()) {
    const at: Path = ["rules", index];
    const errors = report.errors;
    const name = rule.name ?? `rule-${index + 1}`;
    checkName(name, index, names, context);
    const match = readMatch(rule.match ?? {}, [...at, "match"], context);
    const to = rule.to === undefined ? null : readTarget(rule.to, targets, [...at, "to"], context);
    if (to !== null)
      rules.push({
        name,
        match,
        to,
        set: SET_NOTHING,
        location: source.at(at),
        complete: report.errors === errors && !misshapen.has(index),
        index,
      });
  }
  return rules;
}

function checkName(
  name: string,
  index: number,
  names: Map<string, number>,
  { source, report }: Context,
): void {
  const location = source.at(["rules", index, "name"]);
  const first = names.get(name);
  if (!NAME_PATTERN.test(name)) {
    report.error(location, `${show(name)} is not a valid rule name`, NAME_HINT);
  } else if (first !== undefined) {
    report.error(
      location,
      `the rule name ${name} is already that of rule ${first + 1}`,
      "give each rule its own name",
    );
  } else names.set(name, index);
}

function readTarget(
  text: string,
  targets: ReadonlySet<string>,
  at: Path,
  { source, report }: Context,
): Target | null {
  if (text === "drop" || text === "pass") return { kind: text };
  if (targets.has(text)) return { kind: "connection", connection: text, link: null };
  const hint = didYouMean(text, [...targets, "drop", "pass"], "write the name of a connection, drop or pass");
  report.error(source.at(at), `there is no connection ${show(text)}`, hint);
  return null;
}

function readMatch(raw: RawMatch, at: Path, context: Context): Match {
  checkInterfaceName(raw.iif, [...at, "iif"], context);
  const match: Match = {
    src: readPrefixes(raw.src, [...at, "src"], context),
    dst: readPrefixes(raw.dst, [...at, "dst"], context),
    proto: one(
      readNumber(raw.proto, protocolNumber, "protocol", PROTOCOL_NAMES, 255, [...at, "proto"], context),
    ),
    sport: readPorts(raw.sport, [...at, "sport"], context),
    dport: readPorts(raw.dport, [...at, "dport"], context),
    icmpType: [],
    dscp: one(readNumber(raw.dscp, dscpNumber, "code point", DSCP_NAMES, 63, [...at, "dscp"], context)),
    ecn: [],
    mark: raw.mark === undefined ? [] : one(readMark(raw.mark, [...at, "mark"], context)),
    iif: one(raw.iif ?? null),
    length: [],
    fragment: [],
    not: [],
  };
  checkPortProtocol(raw, match, at, context);
  checkFamilies(match, at, context);
  return match;
}

function one<T>(value: T | null): T[] {
  return value === null ? [] : [value];
}

function readNumber(
  raw: string | number | undefined,
  parse: (text: string) => number | null,
  what: string,
  names: readonly string[],
  max: number,
  at: Path,
  { source, report }: Context,
): number | null {
  if (raw === undefined) return null;
  const value = parse(String(raw));
  if (value === null) {
    const fallback = `write a number from 0 to ${max} or one of ${names.join(", ")}`;
    report.error(source.at(at), `${show(raw)} is not a ${what}`, didYouMean(String(raw), names, fallback));
  }
  return value;
}

function checkPortProtocol(raw: RawMatch, match: Match, at: Path, { source, report }: Context): void {
  const [proto] = match.proto;
  // A proto that could not be read has been reported; whether it has ports is not known.
  if (Object.hasOwn(raw, "proto") && proto === undefined) return;
  if (proto !== undefined && PORT_PROTOCOLS.has(proto)) return;
  for (const key of ["sport", "dport"] as const) {
    if (raw[key] === undefined) continue;
    const message =
      proto === undefined
        ? `${key} without proto`
        : `${protocolName(proto)} has no ports, so ${key} cannot match`;
    report.error(source.atKey([...at, key]), message, `add proto: ${PORT_PROTOCOL_NAMES}, or remove ${key}`);
  }
}

/** Contradictions between the families of src, dst and proto. */
function checkFamilies(match: Match, at: Path, { source, report }: Context): void {
  const src = familiesOf(match.src);
  const dst = familiesOf(match.dst);
  const both = src.filter((family) => dst.includes(family));
  if (both.length === 0) {
    report.error(
      source.at([...at, "dst"]),
      `dst is IPv${dst[0]} and src is IPv${src[0]}, so nothing can match`,
      "write src and dst of one family",
    );
    return;
  }
  for (const key of ["src", "dst"] as const) {
    for (const [index, prefix] of match[key].entries()) {
      if (both.includes(prefix.family)) continue;
      const other = key === "src" ? "dst" : "src";
      report.warning(
        source.at([...at, key, index]),
        `${formatPrefix(prefix)} can never match, as ${other} has no IPv${prefix.family} prefix`,
        `remove it, or add an IPv${prefix.family} prefix to ${other}`,
      );
    }
  }
  if (match.proto.includes(ICMP)) checkIcmp(4, "icmp", "ipv6-icmp");
  if (match.proto.includes(ICMPV6)) checkIcmp(6, "ipv6-icmp", "icmp");

  function checkIcmp(family: Family, name: string, other: string): void {
    if (both.includes(family)) return;
    report.error(
      source.at([...at, "proto"]),
      `${name} runs over IPv${family}, and the addresses are IPv${both[0]}`,
      `write proto: ${other}, or IPv${family} addresses`,
    );
  }
}
