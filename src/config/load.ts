import { whyNoHost } from "../esp/endpoints.js";
import { readRegular } from "../sys/regular-file.js";
import { parseAddress } from "../sys/sockaddr.js";
import { formatAddress, parseInterfaceAddress } from "./address.js";
import { checkInterfaceName, type ReadConnection, readConnections } from "./connections.js";
import { type Diagnostic, Report } from "./diagnostics.js";
import { readFlowFiles } from "./flow-files.js";
import { NO_FLOWS } from "./flows.js";
import { IPV6_MIN_MTU, namesIpv6 } from "./ipv6.js";
import { checkOverlaps } from "./overlap.js";
import { filesOf, type Part, readParts } from "./parts.js";
import type { InterfaceConfig, Policy } from "./policy.js";
import { readProgram } from "./program.js";
import { findUnreachable } from "./reachability.js";
import { describeReadError, MAX_YAML_BYTES } from "./read-error.js";
import { readRules } from "./rules.js";
import type { PartlyRaw } from "./shape.js";
import { type Context, readEach } from "./values.js";

export interface LoadResult {
  /** Null when there is at least one error. */
  readonly policy: Policy | null;
  /** Errors and warnings in the order of the file. */
  readonly diagnostics: readonly Diagnostic[];
}

export interface LoadOptions {
  /** A program will be put in front of the rules, which may decide about any packet. */
  readonly withProgram?: boolean;
}

/** Reads a steer.yaml. Whatever is wrong with the file is a diagnostic; nothing is thrown for it. No key is opened. */
export function loadPolicy(file: string, options: LoadOptions = {}): LoadResult {
  let bytes: Buffer;
  try {
    bytes = readRegular(file, MAX_YAML_BYTES);
  } catch (error) {
    const [message, hint] = describeReadError(error, "the file");
    return { policy: null, diagnostics: [{ file, line: 1, column: 1, severity: "error", message, hint }] };
  }
  return parsePolicy(bytes, file, options);
}

/**
 * As `loadPolicy`, for what has been read already. Key files, included files and flow files are looked for relative to
 * the folder of `file`.
 */
export function parsePolicy(
  content: string | Uint8Array,
  file: string,
  options: LoadOptions = {},
): LoadResult {
  const report = new Report();
  const policy = readPolicy(content, file, report, options);
  return { policy: report.errors === 0 ? policy : null, diagnostics: report.sorted() };
}

function readPolicy(
  content: string | Uint8Array,
  file: string,
  report: Report,
  { withProgram = false }: LoadOptions,
): Policy | null {
  const parts = readParts(content, file, report);
  const main = parts?.at(-1);
  if (parts === null || main === undefined) return null;
  const { raw, context } = main;
  const connections = readAllConnections(parts);
  const program = readProgram(raw.program, context);
  const hasProgram = withProgram || program !== null;
  if (report.errors === 0 && connections.length === 0 && !hasProgram) reportNoConnections(main);
  const names = { targets: new Set(connections.map(({ name }) => name)), taken: new Map(), count: 0 };
  const rules = parts.flatMap((part) => readRules(part.raw.rules, part.misshapenRules, names, part.context));
  const unreachable = findUnreachable(rules, report);
  checkOverlaps(
    connections,
    rules.filter((rule) => !unreachable.has(rule)),
    report,
    hasProgram,
  );
  const files = parts.flatMap((part) => filesOf("flows", part));
  const flows = files.length === 0 ? NO_FLOWS : readFlowFiles(files, connections, report);
  const device = readInterface(raw.interface, context);
  checkMtu(device, namesIpv6({ interface: device, connections, rules, flows }), context);
  checkDefaultTunnel(raw, connections, context);
  return {
    version: 1,
    backend: raw.backend ?? "auto",
    interface: device,
    connections: connections.map(({ subnetLocations: _, ...connection }) => connection),
    rules: rules.map(({ complete: _, index: __, ...rule }) => rule),
    flows,
    default: raw.default ?? "drop",
    ...(program === null ? {} : { program }),
  };
}

function readAllConnections(parts: readonly Part[]): ReadConnection[] {
  const known = { names: new Map(), ifIds: new Map(), inbound: new Map(), keys: new Map() };
  return parts.flatMap(({ raw, context }) => readConnections(raw.connections, known, context));
}

function reportNoConnections({ raw, context: { source, report } }: Part): void {
  if (raw.connections === undefined)
    report.error(
      source.atKey([]),
      "the policy has no connections",
      "write a mapping of names to connections",
    );
  else
    report.error(
      source.at(["connections"]),
      "connections is an empty mapping",
      "add a connection such as site-a: {if_id: 101}",
    );
}

const DEFAULT_INTERFACE = "ipsec0";

function readInterface(raw: PartlyRaw["interface"], context: Context): InterfaceConfig {
  checkInterfaceName(raw?.name, ["interface", "name"], context);
  const addresses = readEach(raw?.addresses, ["interface", "addresses"], (text, at) => {
    const result = parseInterfaceAddress(text);
    const problem = "prefix" in result ? whyNoHost(parseAddress(formatAddress(result.prefix))) : result;
    if (problem !== null) context.report.error(context.source.at(at), problem.message, problem.hint);
    return "prefix" in result ? result.prefix : null;
  });
  return {
    ...{ name: raw?.name ?? DEFAULT_INTERFACE, mtu: raw?.mtu ?? "auto", addresses },
    ...{ guard: raw?.guard ?? true, routes: raw?.routes ?? false },
  };
}

function checkMtu(device: InterfaceConfig, ipv6: boolean, { source, report }: Context): void {
  if (!ipv6 || device.mtu === "auto" || device.mtu >= IPV6_MIN_MTU) return;
  report.error(
    source.at(["interface", "mtu"]),
    `mtu ${device.mtu} is too small for IPv6`,
    `write auto or at least ${IPV6_MIN_MTU}`,
  );
}

/**
 * A default-route tunnel needs a way for its own outer packets around it. The userspace engine's have a mark; the kernel's
 * have none that this policy could give them.
 */
function checkDefaultTunnel(
  raw: PartlyRaw,
  connections: readonly ReadConnection[],
  { source, report }: Context,
): void {
  const asked = (["guard", "routes"] as const).find((key) => raw.interface?.[key] === true);
  const backend = raw.backend ?? "auto";
  const isKernel =
    backend === "auto" ? connections.every(({ esp }) => esp === null) : backend !== "userspace";
  const owner = connections.find(({ subnets }) => subnets.some(({ length }) => length === 0));
  if (asked === undefined || !isKernel || owner === undefined) return;
  report.error(
    source.at(["interface", asked]),
    `${asked} cannot be for the default route, which ${owner.name} owns: on a kernel backend nothing keeps ESP packets themselves ` +
      "out of the tunnel",
    `leave ${asked} out, and route into the interface what is to be steered: that is guarded; or give the connections keys (esp) ` +
      "for the userspace backend, whose packets have a mark",
  );
}
