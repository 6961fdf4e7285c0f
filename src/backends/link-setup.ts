import { existsSync } from "node:fs";
import { formatPrefix } from "../config/address.js";
import type { Policy } from "../config/policy.js";
import { innerMtu } from "../esp/index.js";
import { findIfindex } from "../sys/ifindex.js";
import { IpError, ip, ipBatch, ipJson } from "../sys/ip.js";
import { BackendError } from "./errors.js";

const ETHERNET_MTU = 1500;
/** Where there is no connection to ask. */
const DEFAULT_MTU = innerMtu(ETHERNET_MTU, {
  suite: "aes128-gcm",
  mode: "tunnel",
  encapsulation: "udp",
  outerFamily: 4,
  innerFamily: 4,
});

/** What the policy's interface setting comes to on this machine. */
export interface LinkState {
  readonly mtu: number;
  readonly addresses: readonly string[];
}

export function wantedLinkState(policy: Policy): LinkState {
  const { mtu, addresses } = policy.interface;
  return { mtu: mtu === "auto" ? autoMtu(policy) : mtu, addresses: addresses.map(formatPrefix) };
}

/** The largest inner packet that every connection's underlay takes without a fragment. */
function autoMtu(policy: Policy): number {
  const underlays = new Map<string, number>();
  const mtus = policy.connections.flatMap(({ esp, link }) => {
    if (esp === null) return [];
    const underlay = underlays.get(`${esp.remote} ${link}`) ?? underlayMtu(esp.remote, link);
    underlays.set(`${esp.remote} ${link}`, underlay);
    const outerFamily = esp.remote.includes(":") ? 6 : 4;
    const inner = esp.mode === "transport" ? esp.remote : esp.inner?.remote;
    return innerMtu(underlay, { ...esp, outerFamily, innerFamily: inner?.includes(":") ? 6 : 4 });
  });
  return Math.min(...mtus, DEFAULT_MTU);
}

/** What `ip -json route get` prints: the route's own `mtu`, or what the kernel has learnt of the path, is in the metrics. */
interface Route {
  readonly dev: string;
  readonly metrics?: readonly { readonly mtu?: number }[];
}

function underlayMtu(remote: string, link: string | null): number {
  try {
    const [route] = ipJson<Route>("route", "get", remote, ...(link === null ? [] : ["oif", link]));
    const [device] = route ? ipJson<{ mtu: number }>("link", "show", "dev", route.dev) : [];
    const ofRoute = route?.metrics?.flatMap(({ mtu = [] }) => mtu) ?? [];
    return Math.min(device?.mtu ?? ETHERNET_MTU, ...ofRoute);
  } catch (error) {
    if (error instanceof IpError) return ETHERNET_MTU; // no route yet
    throw error;
  }
}

/** What a device's MTU must be for it to have IPv6 (RFC 8200 section 5). */
const IPV6_MIN_MTU = 1280;

/** Brings a device that is down to the wanted state, and up. */
export function setUpLink(name: string, wanted: LinkState): void {
  const hasIpv6 = existsSync("/proc/sys/net/ipv6") && wanted.mtu >= IPV6_MIN_MTU;
  ipBatch([
    `link set dev ${name} mtu ${wanted.mtu}`,
    // Nothing but steered traffic is to come out of it: no link-local address, no router solicitations.
    ...(hasIpv6 ? [`link set dev ${name} addrgenmode none`] : []),
    `link set dev ${name} up`,
    ...wanted.addresses.map((address) => addAddress(name, address)),
  ]);
}

/** Changes what differs between two states; when it throws, the old state is back. */
export function changeLink(name: string, from: LinkState, to: LinkState): void {
  const step = (a: LinkState, b: LinkState) => {
    const added = b.addresses.filter((address) => !a.addresses.includes(address));
    const removed = a.addresses.filter((address) => !b.addresses.includes(address));
    return [
      ...(a.mtu === b.mtu ? [] : [`link set dev ${name} mtu ${b.mtu}`]),
      ...added.map((address) => addAddress(name, address)),
      // With the first IPv4 address of a subnet its others go as well (net/ipv4/devinet.c, __inet_del_ifa): those that are
      // to be deleted must be there for it, and those that are to stay come back.
      ...removed.flatMap((address) => [addAddress(name, address), `address del ${address} dev ${name}`]),
      ...(removed.length > 0 ? b.addresses.map((address) => addAddress(name, address)) : []),
    ];
  };
  try {
    ipBatch(step(from, to));
  } catch (error) {
    for (const line of step(to, from)) {
      try {
        ip(...line.split(" "));
      } catch {
        // It had not been changed yet.
      }
    }
    throw error;
  }
}

function addAddress(name: string, address: string): string {
  return `address replace ${address} dev ${name}${address.includes(":") ? " nodad" : ""}`;
}

/** @throws BackendError where there is no such device */
export function ifindexOf(name: string): number {
  const ifindex = findIfindex(name);
  if (ifindex === null)
    throw new BackendError(
      `there is no network device ${name} in this network namespace; make it first, or correct the name`,
    );
  return ifindex;
}
