import { seenFrom, show } from "./diagnostics.js";
import { EspReader, type KnownEsp } from "./esp.js";
import { INTERFACE_NAME_HINT, isInterfaceName, NAME_HINT, NAME_PATTERN } from "./names.js";
import type { Connection, Location, Prefix } from "./policy.js";
import type { PartlyRaw } from "./shape.js";
import type { Path } from "./source.js";
import { type Context, readMark, readPrefixes } from "./values.js";

/** Words that `to:` takes besides the names of connections. */
const RESERVED = ["drop", "pass"];

/** A connection as far as it could be read, and where each of its subnets stands. */
export interface ReadConnection extends Connection {
  readonly subnetLocations: readonly Location[];
}

/** What must be unique over all files of a policy: where each name, if_id, SPI and key was first written. */
export interface KnownConnections extends KnownEsp {
  readonly names: Map<string, Location>;
  readonly ifIds: Map<number, string>;
}

/** Reads a file's connections, in the order of the file; what is wrong is reported and left out. */
export function readConnections(
  raw: PartlyRaw["connections"],
  known: KnownConnections,
  context: Context,
): ReadConnection[] {
  const { source, report } = context;
  const esp = new EspReader(context, known);
  const { ifIds } = known;
  // Objects list keys such as "101" first, whatever the order of the file.
  const names = Object.keys(raw ?? {}).toSorted((a, b) =>
    compare(source.atKey(["connections", a]), source.atKey(["connections", b])),
  );
  return names.map((name) => {
    const at: Path = ["connections", name];
    const connection = raw?.[name] ?? {};
    checkName(name, at, known.names, context);
    const ifId = connection.if_id ?? 0;
    const other = ifIds.get(ifId);
    if (other !== undefined) {
      report.error(
        source.at([...at, "if_id"]),
        `if_id ${ifId} is already that of the connection ${other}`,
        "give each connection its own if_id",
      );
    } else if (ifId !== 0) ifIds.set(ifId, name);
    checkInterfaceName(connection.link, [...at, "link"], context);
    const subnets: Prefix[] = [];
    const subnetLocations: Location[] = [];
    for (const [index, text] of (connection.subnets ?? []).entries()) {
      const path = [...at, "subnets", index];
      for (const prefix of readPrefixes(text, path, context)) {
        subnets.push(prefix);
        subnetLocations.push(source.at(path));
      }
    }
    const rxMark = connection.rx?.mark;
    return {
      name,
      ifId,
      link: connection.link ?? null,
      subnets,
      rxMark: rxMark === undefined ? null : readMark(rxMark, [...at, "rx", "mark"], context),
      esp:
        connection.esp === undefined
          ? null
          : esp.read(connection.esp, [...at, "esp"], connection.link !== undefined),
      location: source.atKey(at),
      subnetLocations,
    };
  });
}

function compare(a: Location, b: Location): number {
  return a.line - b.line || a.column - b.column;
}

function checkName(name: string, at: Path, known: Map<string, Location>, { source, report }: Context): void {
  const first = known.get(name);
  if (first !== undefined)
    report.error(
      source.atKey(at),
      `the connection ${name} is there already (${seenFrom(source.atKey(at), first)})`,
      "give each connection its own name",
    );
  else known.set(name, source.atKey(at));
  if (RESERVED.includes(name)) {
    report.error(
      source.atKey(at),
      `a connection cannot be named ${name}`,
      `'to: ${name}' has its own meaning; take another name`,
    );
  } else if (!NAME_PATTERN.test(name)) {
    report.error(source.atKey(at), `${show(name)} is not a valid connection name`, NAME_HINT);
  }
}

/**
 * Reports a device name that the kernel would refuse, and one that is a pattern elsewhere (iptables has eth+, ifupdown
 * eth*): taken as it stands it would match nothing, without a word.
 *
 * @param instead what stands for several devices, where something does
 */
export function checkInterfaceName(
  name: string | undefined,
  at: Path,
  { source, report }: Context,
  instead = "write the whole name of one device",
): void {
  if (name === undefined) return;
  if (!isInterfaceName(name))
    report.error(source.at(at), `${show(name)} is not a valid interface name`, INTERFACE_NAME_HINT);
  else if (/[*?]|\+$/.test(name))
    report.error(
      source.at(at),
      `${show(name)} looks like a pattern, and names are taken as they stand`,
      instead,
    );
}
