import { readFileSync } from "node:fs";
import { parseInterfaceAddress } from "./address.js";
import { checkInterfaceName, readConnections } from "./connections.js";
import { type Diagnostic, Report } from "./diagnostics.js";
import { NO_FLOWS } from "./flows.js";
import { checkOverlaps } from "./overlap.js";
import type { InterfaceConfig, Policy } from "./policy.js";
import { findUnreachable } from "./reachability.js";
import { readRules } from "./rules.js";
import { checkShape, type PartlyRaw } from "./shape.js";
import { readSource } from "./source.js";
import { type Context, readEach } from "./values.js";

export interface LoadResult {
  /** Null when there is at least one error. */
  readonly policy: Policy | null;
  /** Errors and warnings in the order of the file. */
  readonly diagnostics: readonly Diagnostic[];
}

/** Reads a steer.yaml. Whatever is wrong with the file is a diagnostic; nothing is thrown for it. No key is opened. */
export function loadPolicy(file: string): LoadResult {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const [message, hint] = READ_ERRORS[code ?? ""] ?? [
      `the file cannot be read (${code ?? cause})`,
      "name a readable file",
    ];
    return { policy: null, diagnostics: [{ file, line: 1, column: 1, severity: "error", message, hint }] };
  }
  return parsePolicy(bytes, file);
}

const READ_ERRORS: Readonly<Record<string, readonly [message: string, hint: string]>> = {
  ENOENT: ["the file does not exist", "check the path"],
  EISDIR: ["this is a directory", "name the steer.yaml in it"],
  EACCES: ["the file may not be read", "give yourself read permission"],
};

/** As `loadPolicy`, for what has been read already. Key files are looked for relative to the folder of `file`. */
export function parsePolicy(content: string | Uint8Array, file: string): LoadResult {
  const report = new Report();
  const policy = readPolicy(content, file, report);
  return { policy: report.errors === 0 ? policy : null, diagnostics: report.sorted() };
}

function readPolicy(content: string | Uint8Array, file: string, report: Report): Policy | null {
  const text = typeof content === "string" ? content : decode(content, file, report);
  const source = text === null ? null : readSource(text, file, report);
  const shape = source === null ? null : checkShape(source, report);
  if (source === null || shape === null) return null;
  const { raw, misshapenRules } = shape;
  const context: Context = { source, report };
  const connections = readConnections(raw.connections, context);
  if (report.errors === 0 && connections.length === 0) {
    report.error(
      source.at(["connections"]),
      "connections is an empty mapping",
      "add a connection such as site-a: {if_id: 101}",
    );
  }
  const rules = readRules(
    raw.rules,
    misshapenRules,
    connections.map(({ name }) => name),
    context,
  );
  const unreachable = findUnreachable(rules, report);
  checkOverlaps(
    connections,
    rules.filter((rule) => !unreachable.has(rule)),
    report,
  );
  const device = readInterface(raw.interface, context);
  checkMtu(
    device,
    connections.some(({ subnets }) => subnets.some(({ family }) => family === 6)),
    context,
  );
  return {
    version: 1,
    backend: raw.backend ?? "auto",
    interface: device,
    connections: connections.map(({ subnetLocations: _, ...connection }) => connection),
    rules: rules.map(({ complete: _, index: __, ...rule }) => rule),
    flows: NO_FLOWS,
    default: raw.default ?? "drop",
  };
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

const DEFAULT_INTERFACE = "ipsec0";

function readInterface(raw: PartlyRaw["interface"], context: Context): InterfaceConfig {
  checkInterfaceName(raw?.name, ["interface", "name"], context);
  const addresses = readEach(raw?.addresses, ["interface", "addresses"], (text, at) => {
    const result = parseInterfaceAddress(text);
    if ("prefix" in result) return result.prefix;
    context.report.error(context.source.at(at), result.message, result.hint);
    return null;
  });
  return { name: raw?.name ?? DEFAULT_INTERFACE, mtu: raw?.mtu ?? "auto", addresses };
}

/** RFC 8200 section 5 */
const IPV6_MIN_MTU = 1280;

function checkMtu(device: InterfaceConfig, ipv6: boolean, { source, report }: Context): void {
  if (device.mtu === "auto" || device.mtu >= IPV6_MIN_MTU) return;
  if (!ipv6 && !device.addresses.some(({ family }) => family === 6)) return;
  report.error(
    source.at(["interface", "mtu"]),
    `mtu ${device.mtu} is too small for IPv6`,
    `write auto or at least ${IPV6_MIN_MTU}`,
  );
}
