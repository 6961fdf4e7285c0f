import { listLinks } from "../../netlink/link.js";
import { devicesTo } from "../../netlink/route-devices.js";
import { IpError, ipJson } from "../../sys/ip.js";
import type { OuterRoute } from "./outer.js";

/** What `ip -json route show` prints of a route. */
interface RouteJson {
  readonly dev?: string;
  readonly nexthops?: readonly { readonly dev?: string }[];
}

/**
 * Devices by which plaintext could come from where encrypted packets do: those of the routes to the outer addresses. Where an
 * address is not known, or no route leads there, those of the link or of all default routes.
 *
 * @param steering names of the interfaces that are steered on; a program of theirs looks at what comes in there
 * @returns ifindexes in the calling thread's network namespace, ascending
 * @throws SystemError
 */
export function underlayDevices(routes: readonly OuterRoute[], steering: readonly string[]): number[] {
  const links = listLinks();
  const byName = new Map(links.map((link) => [link.name, link]));
  const excluded = new Set(["lo", ...steering].map((name) => byName.get(name)?.ifindex));
  const found = new Set<number>();
  const usable = (ifindexes: readonly number[]) => ifindexes.filter((ifindex) => !excluded.has(ifindex));
  let defaults: readonly number[] | null = null;
  for (const { remote, link, mark } of routes) {
    const device = link === null ? undefined : byName.get(link);
    const oif = device?.ifindex ?? 0;
    let devices: readonly number[] = remote === null ? [] : usable(devicesTo(remote, { link: oif, mark }));
    if (device !== undefined && devices.length === 0)
      // Packets come in by a VRF's ports (l3mdev_ip_rcv in net/ipv4/ip_input.c): none is seen at its own ingress.
      devices =
        device.kind === "vrf"
          ? links.flatMap(({ ifindex, master }) => (master === device.ifindex ? [ifindex] : []))
          : [device.ifindex];
    // This machine's own addresses, which an SA has too, have no route by a device: no reason to take others.
    if (devices.length === 0 && device === undefined && remote === null) {
      defaults ??= usable(defaultDevices().flatMap((name) => byName.get(name)?.ifindex ?? []));
      devices = defaults;
    }
    for (const ifindex of usable(devices)) found.add(ifindex);
  }
  if (found.size === 0)
    for (const ifindex of usable(defaultDevices().flatMap((name) => byName.get(name)?.ifindex ?? [])))
      found.add(ifindex);
  return [...found].sort((a, b) => a - b);
}

/** Names of the devices of all default routes, of every table. */
function defaultDevices(): string[] {
  return ["-4", "-6"].flatMap((family) => {
    try {
      return ipJson<RouteJson>(family, "route", "show", "table", "all", "default").flatMap(
        ({ dev, nexthops = [] }) => [dev, ...nexthops.map((each) => each.dev)].flatMap((name) => name ?? []),
      );
    } catch (error) {
      if (error instanceof IpError) return []; // without IPv6
      throw error;
    }
  });
}
