/**
 * What marks the routes, rules and packets that the guard makes as ours: in the kernel, and nowhere else, is written
 * which of them there are.
 */

/** rtm_protocol of the routes that stand beneath what connections own. 88 is kernel-lwt's; no routing daemon has these. */
export const GUARD_PROTOCOL = 89;
/** rtm_protocol of the routes into the interface, and of those to peers. */
export const ROUTES_PROTOCOL = 90;

/**
 * Guards have the worst metrics, from here up, so that every other route to the same prefix comes first. The kernel's
 * documentation advises the same range for the unreachable default route of a VRF (Documentation/networking/vrf.rst).
 */
const GUARD_METRIC = 0xff000000;

/** Guards are for what connections own, or for the prefix of a route into the interface that was there once. */
export type GuardKind = "owned" | "followed";

/** Metric of an interface's guards: two interfaces of one namespace do not take each other's. */
export function guardMetric(interfaceName: string, kind: GuardKind): number {
  return GUARD_METRIC + 2 * (hash(interfaceName) & 0x7fffff) + (kind === "owned" ? 0 : 1);
}

/** Table of the routes that only the engine's packets take: to peers inside of what connections own. */
export function peerTable(interfaceName: string): number {
  return 0x58600000 + (hash(interfaceName) & 0xfffff);
}

/** Table of a default-route tunnel. */
export function tunnelTable(interfaceName: string): number {
  return 0x58700000 + (hash(interfaceName) & 0xfffff);
}

export const MAIN_TABLE = 254;
export const LOCAL_TABLE = 255;

/** Priorities of the rules, behind those of VRFs (1000) and in front of the table main (32766). */
export const RULE_PRIORITY = { peers: 32700, main: 32701, tunnel: 32702 } as const;

/** Prefixes of one table, when they are aggregated: what owns more is guarded by the routes that its user made. */
export const GUARDS_MAX = 4096;
/** Guards of routes that others made. */
export const FOLLOWED_MAX = 65_536;

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (const byte of Buffer.from(text)) value = Math.imul(value ^ byte, 0x01000193) >>> 0;
  return value;
}
