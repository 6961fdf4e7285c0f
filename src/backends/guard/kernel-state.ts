import { existsSync, readFileSync } from "node:fs";
import { formatAddress, formatPrefix } from "../../config/address.js";
import type { Family } from "../../config/policy.js";
import { type KernelRoute, readRoutes } from "../../netlink/routes.js";
import { type KernelRule, readRules } from "../../netlink/rule.js";
import { ipBatch, ipBatchForced } from "../../sys/ip.js";
import {
  GUARD_PROTOCOL,
  guardMetric,
  LOCAL_TABLE,
  MAIN_TABLE,
  peerTable,
  ROUTES_PROTOCOL,
  RULE_PRIORITY,
  tunnelTable,
} from "./constants.js";

/** Why there is no IPv6 in the calling thread's namespace; null where there is. */
export function ipv6Off(): string | null {
  if (!existsSync(IPV6)) return "this kernel has no IPv6";
  try {
    const off = readFileSync(`${IPV6}/conf/all/disable_ipv6`, "utf8").trim() === "1";
    return off ? "net.ipv6.conf.all.disable_ipv6 is 1" : null;
  } catch {
    return null;
  }
}

const IPV6 = "/proc/sys/net/ipv6";

/** All routes but those of the table local. @throws SystemError */
export function allRoutes(): KernelRoute[] {
  const families: readonly Family[] = existsSync(IPV6) ? [4, 6] : [4];
  return families.flatMap((family) => readRoutes(family).filter(({ table }) => table !== LOCAL_TABLE));
}

/** A guard of this interface. */
export function isGuardOf(route: KernelRoute, interfaceName: string): boolean {
  const metrics = [guardMetric(interfaceName, "owned"), guardMetric(interfaceName, "followed")];
  return route.protocol === GUARD_PROTOCOL && metrics.includes(route.metric);
}

/** Of any interface's guard. */
export function isOurs({ protocol }: KernelRoute): boolean {
  return protocol === GUARD_PROTOCOL || protocol === ROUTES_PROTOCOL;
}

/** Words behind `ip route add` and `del`; equal routes have equal text, made or read. */
export type RouteText = string;
/** Words behind `ip -FAMILY rule add` and `del`, with the family in front. */
export type RuleText = string;

export function guardText(prefix: string, table: number, metric: number): RouteText {
  return `unreachable ${prefix} table ${table} proto ${GUARD_PROTOCOL} metric ${metric}`;
}

/**
 * A route that comes before other people's to the same prefix: IPv4 has no better metric than 0, IPv6 takes 0 for 1024.
 * The device goes by number, as it may be renamed.
 */
export function routeText(
  prefix: string,
  { oif, gateway, source }: { oif: number; gateway: Uint8Array | null; source: Uint8Array | null },
  table: number,
): RouteText {
  // The gateway's own route may be one that a lookup in a table of ours does not see: onlink.
  const via =
    gateway === null ? "" : ` via ${gateway.length === 4 ? "inet" : "inet6"} ${addressText(gateway)}`;
  const metric = prefix.includes(":") ? 1 : 0;
  return (
    `${prefix}${via} dev if${oif}${gateway === null ? "" : " onlink"}` +
    `${source === null ? "" : ` src ${addressText(source)}`} table ${table} proto ${ROUTES_PROTOCOL} metric ${metric}`
  );
}

function addressText(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const words = Array.from({ length: bytes.length / 4 }, (_, w) => view.getUint32(4 * w));
  return formatAddress({ family: bytes.length === 4 ? 4 : 6, words });
}

export function ruleText(rule: Omit<KernelRule, "protocol">): RuleText {
  const { family, priority, table, not, to, ipProto, dport, mark, suppress } = rule;
  return [
    ...[`${family}`, ...(not ? ["not"] : [])],
    ...(to === null ? [] : [`to ${to}`]),
    ...(ipProto === null ? [] : [`ipproto ${ipProto}`]),
    ...(dport === null ? [] : [`dport ${dport}`]),
    ...(mark === null ? [] : [`fwmark 0x${mark.toString(16)}`]),
    `lookup ${table}${suppress === null ? "" : ` suppress_prefixlength ${suppress}`}`,
    `priority ${priority} protocol ${GUARD_PROTOCOL}`,
  ].join(" ");
}

/** What there is of one interface's guard: nothing is written down elsewhere. */
export interface Installed {
  readonly guards: ReadonlySet<RouteText>;
  readonly routes: ReadonlySet<RouteText>;
  readonly rules: ReadonlySet<RuleText>;
}

/** @param ifindex of the interface, null where there is none @throws SystemError */
export function installedOf(
  interfaceName: string,
  ifindex: number | null,
  routes: readonly KernelRoute[],
): Installed {
  const tables = [peerTable(interfaceName), tunnelTable(interfaceName)];
  const guards = routes
    .filter((route) => isGuardOf(route, interfaceName))
    .map((route) => guardText(formatPrefix(route), route.table, route.metric));
  const ours = routes.flatMap((route) => {
    const [hop] = route.hops;
    if (route.protocol !== ROUTES_PROTOCOL || hop === undefined) return [];
    if (hop.oif !== ifindex && !tables.includes(route.table)) return [];
    return [routeText(formatPrefix(route), { ...hop, source: route.source }, route.table)];
  });
  return { guards: new Set(guards), routes: new Set(ours), rules: new Set(rulesOf(tables)) };
}

/** The rules to the tables, and those to the table main where only these tables need them. */
function rulesOf(tables: readonly number[]): RuleText[] {
  const rules = readRules().filter(({ protocol }) => protocol === GUARD_PROTOCOL);
  const needsMain = ({ family }: KernelRule, rule: KernelRule) =>
    rule.family === family && rule.priority === RULE_PRIORITY.tunnel && !tables.includes(rule.table);
  return rules
    .filter((rule) =>
      rule.table === MAIN_TABLE
        ? !rules.some((other) => needsMain(rule, other))
        : tables.includes(rule.table),
    )
    .map(ruleText);
}

/** @throws IpError */
export function addRoutes(texts: readonly RouteText[]): void {
  ipBatch(texts.map((text) => `route ${howToAdd(text)} ${text}`));
}

/** IPv6 has no prepend; and one of its routes to a peer takes the place of the one by another gateway. */
function howToAdd(text: RouteText): string {
  if (text.startsWith("unreachable")) return "add";
  if (!text.includes(":")) return "prepend";
  return text.includes(" via ") ? "replace" : "add";
}

/** Those that are there; the others are as they should be. */
export function deleteRoutes(texts: readonly RouteText[]): void {
  ipBatchForced(texts.map((text) => `route del ${text.replace(" onlink", "")}`));
}

/** @throws IpError */
export function addRules(texts: readonly RuleText[]): void {
  for (const family of FAMILIES) ipBatch(ofFamily(texts, family), [`-${family}`]);
}

/** Those that are there. */
export function deleteRules(texts: readonly RuleText[]): void {
  for (const family of FAMILIES) ipBatchForced(ofFamily(texts, family, "del"), [`-${family}`]);
}

const FAMILIES: readonly Family[] = [4, 6];

function ofFamily(texts: readonly RuleText[], family: Family, action = "add"): string[] {
  const mine = texts.filter((text) => text.startsWith(`${family} `));
  return mine.map((text) => `rule ${action} ${text.slice(2)}`);
}
