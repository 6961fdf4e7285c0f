import { formatPrefix } from "./address.js";
import { checkInterfaceName } from "./connections.js";
import { suggest } from "./diagnostics.js";
import { matchFamilies, sideFamilies } from "./families.js";
import { DEVICE_GROUP, type Family, type FragmentState, type Match, type MatchField } from "./policy.js";
import {
  DSCP_NAMES,
  dscpNumber,
  ECN_NAMES,
  ecnNumber,
  ICMP,
  ICMPV6,
  IPV6_EXTENSIONS,
  PORT_PROTOCOL_NAMES,
  PORT_PROTOCOLS,
  PROTOCOL_NAMES,
  protocolName,
  protocolNumber,
} from "./protocols.js";
import type { RawPolicy } from "./schema.js";
import type { Partly } from "./shape.js";
import type { Path } from "./source.js";
import {
  type Context,
  ICMP_TYPES,
  LENGTHS,
  type OneOrMore,
  PORTS,
  readEach,
  readMark,
  readNumber,
  readPrefix,
  readRange,
} from "./values.js";

type RawMatch = Partly<NonNullable<NonNullable<RawPolicy["rules"]>[number]["match"]>>;

/** Values as written, or `{not: values}`. */
type Negatable<T> = OneOrMore<T> | { readonly not?: OneOrMore<T> };

/** Reads a match; a part that is wrong is reported, and matches anything. */
export function readMatch(raw: RawMatch, at: Path, context: Context): Match {
  const not: MatchField[] = [];
  const field = <T extends string | number, R>(
    name: MatchField,
    key: keyof RawMatch,
    values: Negatable<T>,
    read: (item: T, path: Path) => R | null,
  ): R[] => {
    const path = [...at, key];
    if (!isNegated(values)) return readEach(values, path, read);
    const results = readEach(values.not, [...path, "not"], read);
    if (results.length > 0) not.push(name);
    return results;
  };
  const prefix = (text: string, path: Path) => readPrefix(text, path, context);
  const port = (item: string | number, path: Path) => readRange(item, path, PORTS, context);
  const match: Match = {
    src: field("src", "src", raw.src, prefix),
    dst: field("dst", "dst", raw.dst, prefix),
    proto: field("proto", "proto", raw.proto, (item: string | number, path) =>
      readNumber(item, protocolNumber, "protocol", PROTOCOL_NAMES, 255, path, context),
    ),
    sport: field("sport", "sport", raw.sport, port),
    dport: field("dport", "dport", raw.dport, port),
    icmpType: field("icmpType", "icmp_type", raw.icmp_type, (item: string | number, path) =>
      readRange(item, path, ICMP_TYPES, context),
    ),
    dscp: field("dscp", "dscp", raw.dscp, (item: string | number, path) =>
      readNumber(item, dscpNumber, "code point", DSCP_NAMES, 63, path, context),
    ),
    ecn: field("ecn", "ecn", raw.ecn, (item: string | number, path) =>
      readNumber(item, ecnNumber, "ECN code point", ECN_NAMES, 3, path, context),
    ),
    mark: field("mark", "mark", raw.mark, (item: string | number, path) => readMark(item, path, context)),
    iif: field("iif", "iif", raw.iif, (name: string, path) => {
      if (!isGroup(name)) checkInterfaceName(name, path, context, SEVERAL_DEVICES);
      return name;
    }),
    length: field("length", "length", raw.length, (item: string | number, path) =>
      readRange(item, path, LENGTHS, context),
    ),
    fragment: field("fragment", "fragment", raw.fragment, (state: FragmentState) => state),
    not,
  };
  checkProtocol(raw, match, at, context);
  checkFamilies(raw, match, at, context);
  checkExtensions(match, at, context);
  return match;
}

function isNegated<T>(values: Negatable<T>): values is { readonly not?: OneOrMore<T> } {
  return typeof values === "object" && values !== null && !Array.isArray(values);
}

const SEVERAL_DEVICES =
  "list the devices, or give them a group (ip link set DEVICE group 7) and write iif: group:7";

/** `group:` and a name or number of a device group. */
function isGroup(name: string): boolean {
  return name.startsWith(DEVICE_GROUP) && /^[\w.-]+$/.test(name.slice(DEVICE_GROUP.length));
}

interface Need {
  readonly key: "sport" | "dport" | "icmp_type";
  readonly has: (proto: number) => boolean;
  readonly what: string;
  readonly names: string;
}

const isPorted = (proto: number) => PORT_PROTOCOLS.has(proto);
const isIcmp = (proto: number) => proto === ICMP || proto === ICMPV6;

const NEEDS: readonly Need[] = [
  { key: "sport", has: isPorted, what: "ports", names: PORT_PROTOCOL_NAMES },
  { key: "dport", has: isPorted, what: "ports", names: PORT_PROTOCOL_NAMES },
  { key: "icmp_type", has: isIcmp, what: "ICMP types", names: "icmp or ipv6-icmp" },
];

/** A field of some protocols only needs a proto that says which. */
function checkProtocol(raw: RawMatch, match: Match, at: Path, { source, report }: Context): void {
  const listed = match.not.includes("proto") ? [] : match.proto;
  // A proto that could not be read has been reported; whether it has the field is not known.
  if (raw.proto !== undefined && match.proto.length === 0) return;
  for (const { key, has, what, names } of NEEDS) {
    if (raw[key] === undefined) continue;
    const lacking = listed.find((proto) => !has(proto));
    if (listed.length > 0 && lacking === undefined) continue;
    const message =
      lacking === undefined
        ? `${key} without proto`
        : `${protocolName(lacking)} has no ${what}, so ${key} cannot match`;
    report.error(source.atKey([...at, key]), message, `add proto: ${names}, or remove ${key}`);
  }
}

/** Where an address asks for IPv6, an extension header is the protocol of later fragments only. */
function checkExtensions(match: Match, at: Path, { source, report }: Context): void {
  const listsIpv6 = (["src", "dst"] as const).some(
    (side) => !match.not.includes(side) && match[side].some(({ family }) => family === 6),
  );
  const admits = (state: FragmentState) =>
    match.fragment.length === 0 || match.fragment.includes(state) !== match.not.includes("fragment");
  if (match.not.includes("proto") || !listsIpv6 || !matchFamilies(match).includes(6)) return;
  if (!admits("none") && !admits("first")) return;
  for (const [index, proto] of match.proto.entries())
    if (IPV6_EXTENSIONS.has(proto))
      report.warning(
        source.at([...at, "proto", index]),
        `${protocolName(proto)} can never match a whole IPv6 packet: it is an extension header, which is walked over`,
        "write the protocol behind it, IPv4 addresses, or fragment: later",
      );
}

/** Contradictions between the families of src, dst and proto. */
function checkFamilies(raw: RawMatch, match: Match, at: Path, { source, report }: Context): void {
  const src = sideFamilies(match, "src");
  const dst = sideFamilies(match, "dst");
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
    if (match.not.includes(key)) continue;
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
  const [proto] = match.proto;
  if (match.proto.length !== 1 || match.not.includes("proto")) return;
  if (proto === ICMP) checkIcmp(4, "icmp", "ipv6-icmp");
  if (proto === ICMPV6) checkIcmp(6, "ipv6-icmp", "icmp");

  function checkIcmp(family: Family, name: string, other: string): void {
    if (both.includes(family)) return;
    const [written] = readEach(raw.proto as OneOrMore<string | number>, [], (item) => item);
    report.error(
      source.at([...at, "proto"]),
      `${name} runs over IPv${family}, and the addresses are IPv${both[0]}`,
      `write proto: ${other}, or IPv${family} addresses`,
      written === undefined ? undefined : suggest(written, other),
    );
  }
}
