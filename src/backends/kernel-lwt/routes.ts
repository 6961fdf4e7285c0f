import { formatPrefix, parseAddress, parsePrefix } from "../../config/address.js";
import { IpError, ip, ipBatch, ipJson } from "../../sys/ip.js";
import type { Route } from "./plan.js";

/** rtm_protocol of our routes (`ip route show proto 88`): tells them from other people's. Not in linux/rtnetlink.h. */
export const LWT_PROTOCOL = 88;

/** A route as `ip` takes it; equal routes have equal text. */
export type RouteText = string;

interface RouteJson {
  dst: string;
  encap?: string;
  if_id?: number;
  link_dev?: string;
}

/** IPv6 gives a route to an address's own prefix metric 256, and IPv4 0; ours are to come before those. */
const METRIC6 = 1;

/** The words behind `ip route replace` and its like. @param device the external xfrm interface */
export function routeText(device: string, { prefix, ifId, link }: Route): RouteText {
  const metric = prefix.family === 6 ? ` metric ${METRIC6}` : "";
  const to = `${formatPrefix(prefix)} dev ${device} proto ${LWT_PROTOCOL}${metric}`;
  if (ifId === 0) return to;
  // ifN stands for a number: the device may have been renamed, or be gone.
  return `${to} encap xfrm if_id ${ifId}${link === 0 ? "" : ` link_dev if${link}`}`;
}

/** Our routes into a device, by prefix. `ifindexOf` gives 0 where a name has no device. */
export function readRoutes(device: string, ifindexOf: (name: string) => number): Map<string, RouteText> {
  const found = [4, 6].flatMap((family) =>
    ipJson<RouteJson>(`-${family}`, "route", "show", "dev", device, "proto", `${LWT_PROTOCOL}`).map(
      (route) => {
        const prefix = prefixOf(route.dst, family as 4 | 6);
        const link = route.link_dev === undefined ? 0 : linkOf(route.link_dev, ifindexOf);
        return [formatPrefix(prefix), routeText(device, { prefix, ifId: route.if_id ?? 0, link })] as const;
      },
    ),
  );
  return new Map(found);
}

/** `ip` writes ifN for a device that is gone. */
function linkOf(name: string, ifindexOf: (name: string) => number): number {
  return ifindexOf(name) || Number(/^if(\d+)$/.exec(name)?.[1] ?? 0);
}

function prefixOf(text: string, family: 4 | 6) {
  if (text === "default") return { family, words: family === 4 ? [0] : [0, 0, 0, 0], length: 0 };
  const result = parsePrefix(text);
  if ("prefix" in result && parseAddress(text.split("/")[0] ?? "")?.family === family) return result.prefix;
  throw new IpError(["route", "show"], `${text} is not a prefix`);
}

/**
 * Changes routes from one set to another: only what differs, each in one step. When it throws, the former routes are
 * back.
 */
export function changeRoutes(from: ReadonlyMap<string, RouteText>, to: ReadonlyMap<string, RouteText>): void {
  try {
    ipBatch(steps(from, to));
  } catch (error) {
    for (const line of steps(to, from)) {
      try {
        ip(...line.split(" "));
      } catch {
        // It had not been changed yet.
      }
    }
    throw error;
  }
}

/** An IPv4 route of somebody else to the same prefix is left where it is, behind ours. */
function steps(from: ReadonlyMap<string, RouteText>, to: ReadonlyMap<string, RouteText>): string[] {
  const lines: string[] = [];
  for (const [prefix, text] of to) {
    const old = from.get(prefix);
    const add = prefix.includes(":") ? "add" : "prepend";
    if (old !== text) lines.push(`route ${old === undefined ? add : "replace"} ${text}`);
  }
  for (const [prefix, text] of from)
    if (!to.has(prefix)) lines.push(`route del ${text.replace(/ encap .*/, "")}`);
  return lines;
}
