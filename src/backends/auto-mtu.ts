import { IPV6_MIN_MTU, mayCarryIpv6 } from "../config/ipv6.js";
import type { Policy } from "../config/policy.js";
import { innerMtu } from "../esp/index.js";
import { readLink } from "../netlink/link.js";
import { readRoute } from "../netlink/route.js";
import { ENGINE_MARK } from "../sys/engine-mark.js";
import { findIfindex } from "../sys/ifindex.js";
import { ipJson } from "../sys/ip.js";
import { SystemError } from "../sys/libc.js";
import { BackendError } from "./errors.js";

const ETHERNET_MTU = 1500;
/** What stays on this machine goes by lo (drivers/net/loopback.c). */
const LOOPBACK_MTU = 65536;
/** Where there is no connection to ask. */
const DEFAULT_MTU = innerMtu(ETHERNET_MTU, {
  suite: "aes128-gcm",
  mode: "tunnel",
  encapsulation: "udp",
  outerFamily: 4,
  innerFamily: 4,
});

/**
 * The MTU that a policy's interface is to have on this machine: never one that takes IPv6 away from the interface while
 * there is IPv6 to go through it, as its packets would then leave by other routes, in the clear.
 *
 * @throws BackendError where the policy wants such an MTU
 */
export function wantedMtu(policy: Policy): number {
  const { name, mtu } = policy.interface;
  if (mtu === "auto") {
    const fitting = fittingMtu(policy);
    const hasIpv6 = () => mayCarryIpv6(policy) || ipv6RouteInto(name) !== null;
    return fitting < IPV6_MIN_MTU && hasIpv6() ? IPV6_MIN_MTU : fitting;
  }
  const route = mtu < IPV6_MIN_MTU ? ipv6RouteInto(name) : null;
  if (route !== null)
    throw new BackendError(
      `${name} has IPv6 routes, such as ${route}, and with an MTU of ${mtu} the kernel would remove them: ` +
        `what they take would leave by other routes; delete them first, or write mtu: auto or at least ${IPV6_MIN_MTU}`,
    );
  return mtu;
}

/** The largest inner packet that every connection's underlay takes without a fragment. */
function fittingMtu(policy: Policy): number {
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

function underlayMtu(remote: string, link: string | null): number {
  try {
    const {
      local,
      devices,
      mtu = Number.POSITIVE_INFINITY,
    } = readRoute(remote, link === null ? 0 : (findIfindex(link) ?? 0), ENGINE_MARK);
    if (local) return Math.min(mtu, LOOPBACK_MTU);
    const known = devices.flatMap((ifindex) => readLink(ifindex)?.mtu ?? []);
    return Math.min(mtu, ...(known.length === 0 ? [ETHERNET_MTU] : known));
  } catch (error) {
    if (error instanceof SystemError) return ETHERNET_MTU; // no route yet
    throw error;
  }
}

interface RouteJson {
  readonly dst: string;
  readonly protocol?: string;
}

/** Made by the kernel with the device's addresses, or by kernel-lwt for what is steered: a policy's change changes them. */
const NOT_OF_OTHERS = ["kernel", "88"];

/** A route that somebody else has made; null without any. */
function ipv6RouteInto(name: string): string | null {
  if (findIfindex(name) === null) return null;
  const routes = ipJson<RouteJson>("-6", "route", "show", "table", "all", "dev", name);
  return routes.find(({ protocol = "" }) => !NOT_OF_OTHERS.includes(protocol))?.dst ?? null;
}
