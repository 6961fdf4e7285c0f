import { existsSync, readFileSync } from "node:fs";
import { formatPrefix } from "../config/address.js";
import { IPV6_MIN_MTU } from "../config/ipv6.js";
import type { Policy } from "../config/policy.js";
import { readAddresses, readLink } from "../netlink/link.js";
import { findIfindex } from "../sys/ifindex.js";
import { ip, ipBatch } from "../sys/ip.js";
import { wantedMtu } from "./auto-mtu.js";
import { BackendError } from "./errors.js";

/** What the policy's interface setting comes to on this machine. */
export interface LinkState {
  readonly mtu: number;
  readonly addresses: readonly string[];
}

/** @throws BackendError where the MTU would take IPv6 away from what is routed into the interface */
export function wantedLinkState(policy: Policy): LinkState {
  return { mtu: wantedMtu(policy), addresses: policy.interface.addresses.map(formatPrefix) };
}

/** A device's state as it is now: of `addresses`, those that are still there. */
export function presentLinkState(name: string, addresses: readonly string[]): LinkState {
  const ifindex = ifindexOf(name);
  const present = readAddresses(ifindex);
  return {
    mtu: readLink(ifindex)?.mtu ?? 0,
    addresses: addresses.filter((address) => present.includes(address)),
  };
}

/** Brings a device to the wanted state, and up. */
export function setUpLink(name: string, wanted: LinkState): void {
  ip("link", "set", "dev", name, "mtu", `${wanted.mtu}`);
  closeIpv6(name, wanted.addresses);
  ipBatch([`link set dev ${name} up`, ...wanted.addresses.map((address) => addAddress(name, address))]);
}

/**
 * Changes what differs between two states; when it throws, the old state is back.
 * @param from how the device is: with an MTU below 1280 it has no IPv6 addresses
 */
export function changeLink(name: string, from: LinkState, to: LinkState): void {
  try {
    ipBatch(steps(name, from, to));
    if (from.mtu < IPV6_MIN_MTU) closeIpv6(name, to.addresses);
  } catch (error) {
    for (const line of steps(name, to, from)) {
      try {
        ip(...line.split(" "));
      } catch {
        // It had not been changed yet.
      }
    }
    throw error;
  }
}

function steps(name: string, from: LinkState, to: LinkState): string[] {
  const added = to.addresses.filter((address) => !from.addresses.includes(address));
  const removed = from.addresses.filter((address) => !to.addresses.includes(address));
  const mtu = from.mtu === to.mtu ? [] : [`link set dev ${name} mtu ${to.mtu}`];
  const ipv6Goes = to.mtu < IPV6_MIN_MTU;
  return [
    // IPv6 addresses can be added and deleted only where the MTU is one for IPv6.
    ...(ipv6Goes ? [] : mtu),
    ...added.map((address) => addAddress(name, address)),
    // With the first IPv4 address of a subnet its others go as well (net/ipv4/devinet.c, __inet_del_ifa): those that are
    // to be deleted must be there for it, and those that are to stay come back.
    ...removed.flatMap((address) => [addAddress(name, address), `address del ${address} dev ${name}`]),
    ...(removed.length > 0 ? to.addresses.map((address) => addAddress(name, address)) : []),
    ...(ipv6Goes ? mtu : []),
  ];
}

/** IN6_ADDR_GEN_MODE_NONE in <linux/if_link.h> */
const ADDR_GEN_MODE_NONE = "1";

/**
 * Sees to it that nothing but steered traffic comes out of a device: no link-local address, no router solicitations.
 * The kernel makes them anew when the MTU comes back from below 1280 (net/ipv6/addrconf.c, addrconf_notify). A device
 * without IPv6 has no such setting.
 * @param keep addresses that stay
 */
export function closeIpv6(name: string, keep: readonly string[]): void {
  const setting = `/proc/sys/net/ipv6/conf/${name}/addr_gen_mode`;
  if (!existsSync(setting) || readFileSync(setting, "utf8").trim() === ADDR_GEN_MODE_NONE) return;
  const generated = readAddresses(ifindexOf(name)).filter(
    (address) => address.startsWith("fe80:") && !keep.includes(address),
  );
  ipBatch([
    `link set dev ${name} addrgenmode none`,
    ...generated.map((address) => `address del ${address} dev ${name}`),
  ]);
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
