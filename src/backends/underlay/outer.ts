import { configuredPeers, type PeersOf } from "../../compiler/underlay.js";
import { type Address, formatAddress, parseAddress } from "../../config/address.js";
import type { BackendName, Policy } from "../../config/policy.js";
import { targetConnections } from "../../config/target.js";
import { IpError, ip } from "../../sys/ip.js";

/** A way that encrypted packets take: a route to look up. */
export interface OuterRoute {
  /** Null: not known yet. */
  readonly remote: Address | null;
  /** Underlay device by name; null: routing chooses. */
  readonly link: string | null;
  /** Of the outer packets; 0: none. */
  readonly mark: number;
}

/** Outer addresses of the kernel's SAs and policies, by if_id. */
type KernelPeers = ReadonlyMap<number, readonly KernelPeer[]>;

interface KernelPeer {
  readonly address: Address;
  readonly mark: number;
}

/** Other ends of the connections, and the ways there. */
export interface Outer {
  readonly peersOf: PeersOf;
  readonly routes: readonly OuterRoute[];
}

/** As things are now, in the calling thread's network namespace: the SAs of kernel backends come and go. */
export function outerOf(policy: Policy, backend: BackendName): Outer {
  const known = backend === "userspace" ? new Map() : kernelPeers();
  const peersOf: PeersOf = (connection) => [
    ...configuredPeers(connection),
    ...(known.get(connection.ifId) ?? []).map(({ address }: KernelPeer) => address),
  ];
  return { peersOf, routes: outerRoutes(policy, backend, known) };
}

function outerRoutes(policy: Policy, backend: BackendName, known: KernelPeers): OuterRoute[] {
  const links = new Map(policy.connections.map(({ name, link }) => [name, new Set([link])]));
  for (const { to } of policy.rules)
    if (to.kind === "connection" && to.link !== null)
      for (const name of targetConnections(to)) links.get(name)?.add(to.link);
  const routes = new Map<string, OuterRoute>();
  const add = (route: OuterRoute) =>
    routes.set(`${route.remote && formatAddress(route.remote)} ${route.link} ${route.mark}`, route);
  for (const connection of policy.connections) {
    const peers =
      backend === "userspace"
        ? configuredPeers(connection).map((address) => ({ address, mark: 0 }))
        : (known.get(connection.ifId) ?? []);
    // Without an SA of its own, the userspace engine sends nothing.
    if (backend === "userspace" && peers.length === 0) continue;
    for (const link of links.get(connection.name) ?? [null]) {
      for (const { address, mark } of peers) add({ remote: address, link, mark });
      if (peers.length === 0) add({ remote: null, link, mark: 0 });
    }
  }
  if (routes.size === 0) add({ remote: null, link: null, mark: 0 });
  return [...routes.values()];
}

/** Reads SAs and policies as `ip xfrm` prints them; without keys. A kernel that has neither has no peers. */
function kernelPeers(): KernelPeers {
  try {
    return parseXfrm(`${ip("xfrm", "state", "list", "nokeys")}\n${ip("xfrm", "policy", "list")}`);
  } catch (error) {
    if (error instanceof IpError) return new Map();
    throw error;
  }
}

/**
 * Both ends of what has an if_id: one of them is this machine's, to which no route of a device leads.
 *
 * @param text `ip xfrm state` and `ip xfrm policy`: entries begin at the left margin, with an SA's addresses or
 * a policy's selector; a policy's outer addresses are in its templates
 */
export function parseXfrm(text: string): KernelPeers {
  const found = new Map<number, KernelPeer[]>();
  for (const entry of text.split(/^(?=\S)/m)) {
    const ifId = Number(/\bif_id (0x[0-9a-f]+|\d+)/.exec(entry)?.[1] ?? 0);
    if (ifId === 0) continue;
    const pairs = [...entry.matchAll(/(?:^|\btmpl )src (\S+) dst (\S+)/g)];
    const mark = Number(/\boutput-mark (0x[0-9a-f]+|\d+)/.exec(entry)?.[1] ?? 0);
    const list = found.get(ifId) ?? [];
    found.set(ifId, list);
    for (const text of pairs.flatMap(([, src, dst]) => [src, dst])) {
      const address = parseAddress(text ?? "");
      // Selectors are prefixes, and templates of transport mode have no addresses.
      if (address?.words.some((word) => word !== 0)) list.push({ address, mark });
    }
  }
  return found;
}
