import { covers, formatPrefix } from "../../config/address.js";
import type { Prefix } from "../../config/policy.js";
import { readLink } from "../../netlink/link.js";
import type { KernelRoute } from "../../netlink/routes.js";
import { MAIN_TABLE, tunnelTable } from "./constants.js";
import { allRoutes, isGuardOf, isOurs } from "./kernel-state.js";
import { listed } from "./wanted.js";

/** Where packets to a prefix go that was guarded. */
export interface Opened {
  readonly prefix: string;
  /** The prefix of the route that they take, such as 0.0.0.0/0. */
  readonly route: string;
  /** Name of that route's device. */
  readonly device: string | null;
}

/** Prefixes that an interface's guards stand at, in the table main and in that of a default-route tunnel. @throws SystemError */
export function guardedPrefixes(interfaceName: string): Prefix[] {
  const tables = [MAIN_TABLE, tunnelTable(interfaceName)];
  return allRoutes()
    .filter((route) => isGuardOf(route, interfaceName) && tables.includes(route.table))
    .map(({ family, words, length }) => ({ family, words, length }));
}

/** Where each of them goes by the table main, but for those that no route leads to, and what is guarded still. */
export function openedPrefixes(prefixes: readonly Prefix[]): Opened[] {
  if (prefixes.length === 0) return [];
  const routes = allRoutes().filter(({ table }) => table === MAIN_TABLE);
  return prefixes.flatMap((prefix): Opened[] => {
    const route = bestOf(routes.filter((each) => covers(each, prefix)));
    if (route === null || isOurs(route) || route.type !== "unicast") return [];
    const [hop] = route.hops;
    const device = hop === undefined ? null : (readLink(hop.oif)?.name ?? null);
    return [{ prefix: formatPrefix(prefix), route: formatPrefix(route), device }];
  });
}

function bestOf(routes: readonly KernelRoute[]): KernelRoute | null {
  return routes.reduce<KernelRoute | null>((best, route) => {
    const better = best === null || route.length > best.length;
    return better || (route.length === best.length && route.metric < best.metric) ? route : best;
  }, null);
}

/** One line for each way that packets take now. */
export function formatOpened(opened: readonly Opened[]): string[] {
  const ways = new Map<string, string[]>();
  for (const { prefix, route, device } of opened) {
    const by = /\/0$/.test(route) ? "the default route" : `the route ${route}`;
    const way = `${by}, in the clear${device === null ? "" : `: dev ${device}`}`;
    ways.set(way, [...(ways.get(way) ?? []), prefix]);
  }
  return [...ways].map(
    ([way, prefixes]) => `  ${listed(prefixes)}: not guarded any more, now goes by ${way}`,
  );
}
