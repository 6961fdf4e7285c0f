import { contains, formatAddress, parseAddress } from "../../config/address.js";
import type { Policy } from "../../config/policy.js";
import { readOutboundTemplates } from "../../netlink/policy.js";
import type { KernelRoute, NextHop } from "../../netlink/routes.js";
import { findIfindex } from "../../sys/ifindex.js";
import { MAIN_TABLE } from "./constants.js";

/** The other end of a tunnel. */
export interface Peer {
  /** Canonical text. */
  readonly address: string;
  readonly family: 4 | 6;
  /** Name of the device that outer packets are bound to, or null. */
  readonly link: string | null;
}

/** Peers of the connections with keys of their own. */
export function keyedPeers({ connections }: Policy): Peer[] {
  return connections.flatMap(({ esp, link }) => (esp === null ? [] : peerOf(esp.remote, link)));
}

/** Peers of the kernel's policies with the if_ids of connections, as far as there are policies. */
export function kernelPeers({ connections }: Policy): Peer[] {
  const links = new Map(connections.map(({ ifId, link }) => [ifId, link]));
  const peers = readOutboundTemplates().flatMap(({ ifId, remote }) => {
    const link = links.get(ifId);
    return link === undefined ? [] : peerOf(remote, link);
  });
  return [...new Map(peers.map((peer) => [`${peer.address} ${peer.link}`, peer])).values()];
}

function peerOf(text: string, link: string | null): Peer[] {
  const address = parseAddress(text);
  if (address === null) return [];
  return [{ address: formatAddress(address), family: address.family, link }];
}

/** The next hop that the table main has for a peer beside the interface's routes and ours; null where there is none. */
export function underlayHop(
  { address, link }: Peer,
  routes: readonly KernelRoute[],
  isOurs: (route: KernelRoute) => boolean,
): (NextHop & { readonly source: Uint8Array | null }) | null {
  const target = parseAddress(address);
  const bound = link === null ? null : findIfindex(link);
  let best: { route: KernelRoute; hop: NextHop } | null = null;
  for (const route of routes) {
    if (target === null || route.table !== MAIN_TABLE || route.type !== "unicast" || isOurs(route)) continue;
    if (!contains(route, target)) continue;
    const hop = route.hops.find(({ oif }) => bound === null || oif === bound);
    if (hop === undefined) continue;
    const better = best === null || route.length - best.route.length || best.route.metric - route.metric;
    if (better === true || (typeof better === "number" && better > 0)) best = { route, hop };
  }
  return best && { ...best.hop, source: best.route.source };
}
