import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { readAddresses, readLink } from "../../netlink/link.js";
import { findIfindex } from "../../sys/ifindex.js";
import { IpError, ip, ipJson } from "../../sys/ip.js";
import { BackendError } from "../errors.js";
import { changeLink, closeIpv6, type LinkState, setUpLink } from "../link-setup.js";

/** The external (collect_md) xfrm interface that a kernel backend steers on. */
export interface Device {
  /** Null between the decision to make the device and its making. */
  readonly ifindex: number | null;
  /** How it was found; null: xfrm-steer made it, and removes it. */
  readonly original: LinkSnapshot | null;
}

/** A device's settings at one moment. */
export interface LinkSnapshot extends LinkState {
  readonly up: boolean;
  readonly disableXfrm: boolean;
}

/** A device of any kind, as it is at one moment. */
export interface Found extends LinkSnapshot {
  readonly ifindex: number;
  /** As `ip link add type` has it; undefined for a physical one. */
  readonly kind: string | undefined;
  readonly external: boolean;
  /** Its root queueing discipline. */
  readonly qdisc: string | undefined;
}

interface LinkJson {
  ifname: string;
  linkinfo?: { info_kind?: string; info_data?: { external?: boolean } };
}

/** @returns null where there is no device of that name */
export function findDevice(name: string): Found | null {
  const ifindex = findIfindex(name);
  const link = ifindex === null ? null : readLink(ifindex);
  if (ifindex === null || link === null) return null;
  const { kind, external, mtu, up, qdisc } = link;
  const setting = disableXfrmPath(name);
  const disableXfrm = existsSync(setting) && readFileSync(setting, "utf8").trim() === "1";
  return { ifindex, kind, external, mtu, up, qdisc, disableXfrm, addresses: readAddresses(ifindex) };
}

/**
 * Of a device's outgoing IPv4 packets: no policy without an if_id is looked for before they reach it. Forwarding would
 * look for each packet (net/ipv4/ip_forward.c), take it away from the interface where it finds one, and cost it a thousand
 * instructions; the interface itself heeds the policies with its if_ids all the same (xfrm_lookup_with_ifid in
 * net/xfrm/xfrm_policy.c). IPv6 has no such setting.
 */
const disableXfrmPath = (name: string) => `/proc/sys/net/ipv4/conf/${name}/disable_xfrm`;

function setDisableXfrm(name: string, on: boolean): void {
  try {
    writeFileSync(disableXfrmPath(name), on ? "1" : "0");
  } catch {
    // In many containers /proc/sys cannot be written: packets go their way all the same, with a look for such policies.
  }
}

/**
 * Makes an external xfrm interface, down, and asks for the kernel's module where it takes that.
 *
 * @returns its ifindex
 */
function createExternal(name: string): number {
  const create = () => ip("link", "add", name, "type", "xfrm", "external");
  try {
    create();
  } catch (error) {
    if (!(error instanceof IpError)) throw error;
    const other = otherExternal();
    if (other !== null)
      throw new BackendError(
        `cannot make ${name}: this network namespace has an external xfrm interface already, ${other}, and the kernel ` +
          `takes one; write interface.name: ${other}, or delete it`,
      );
    // The kernel asks for a module by itself only where it may start modprobe.
    if (!loadModule()) throw error;
    create();
  }
  const ifindex = findIfindex(name);
  if (ifindex === null) throw new BackendError(`${name} was removed while it was being set up; apply again`);
  return ifindex;
}

/** @returns false where there is no such module, nor is it built in */
function loadModule(): boolean {
  return spawnSync("modprobe", ["xfrm_interface"], { stdio: "ignore" }).status === 0;
}

/** Makes the kernel functions of xfrm interfaces known, for a program that calls them to be loaded. */
export function ensureKfuncs(): void {
  if (!existsSync("/sys/kernel/btf/xfrm_interface")) loadModule(); // built in, it is in vmlinux: loading says what lacks
}

function otherExternal(): string | null {
  const all = ipJson<LinkJson>("-details", "link", "show", "type", "xfrm");
  return all.find(({ linkinfo }) => linkinfo?.info_data?.external)?.ifname ?? null;
}

/**
 * Makes the device where none was found. `known` is what was kept of it; `intend` keeps that it is ours before it is
 * made.
 *
 * @throws BackendError where a device of another kind has the name
 */
export function ensureDevice(
  name: string,
  known: Device | null,
  found: Found | null,
  intend: (device: Device) => void,
): Device & { readonly ifindex: number } {
  if (found === null) {
    const made: Device = { ifindex: null, original: null };
    intend(made);
    return { ...made, ifindex: createExternal(name) };
  }
  const { ifindex, kind, external, mtu, up, disableXfrm, addresses } = found;
  if (!external) {
    const what = kind === "xfrm" ? "an xfrm interface for a single if_id" : `a ${kind ?? "physical"} device`;
    throw new BackendError(
      `${name} is ${what}, not an external xfrm interface; name another one under interface.name, or delete it`,
    );
  }
  return { ifindex, original: known ? known.original : { mtu, up, disableXfrm, addresses } };
}

/**
 * @param known what was kept of the device of that name
 * @throws BackendError where it goes by another name now: what runs on it is not to be taken for gone
 */
export function demandSameName(name: string, known: Device, found: Found | null): void {
  if (known.ifindex === null || known.ifindex === found?.ifindex) return;
  const link = readLink(known.ifindex);
  if (link?.external)
    throw new BackendError(
      `the interface that was ${name} is called ${link.name} now; \`ip link set ${link.name} name ${name}\` first`,
    );
}

/**
 * @throws BackendError where the device has a queue: the kernel keeps the metadata of one packet for each CPU
 * (net/xfrm/xfrm_interface_bpf.c), and those that wait would leave as the one that came last
 */
export function demandNoQueue(name: string, { qdisc }: Found): void {
  if (qdisc === undefined || qdisc === "noqueue" || qdisc === "noop") return;
  throw new BackendError(
    `${name} has a queueing discipline, ${qdisc}, in which packets would get each other's if_id; ` +
      `\`tc qdisc delete dev ${name} root\` first, and shape the underlay's device instead`,
  );
}

function demandDevice(name: string): Found {
  const found = findDevice(name);
  if (found === null) throw new BackendError(`${name} was removed while it was being set up; apply again`);
  return found;
}

/**
 * Brings a device to the wanted settings; `found` is how it is now, null where it was only just made. Of the addresses
 * that are there it takes away only those of `ours`, the ones that were added for an earlier policy.
 *
 * @returns what gives it its former settings back; when this throws, they are back
 */
export function configureDevice(
  name: string,
  device: Device,
  found: Found | null,
  ours: readonly string[],
  wanted: LinkState,
): () => void {
  const now = found ?? demandDevice(name);
  const undo = configureLink(name, device, now, ours, wanted);
  setDisableXfrm(name, true);
  return () => {
    setDisableXfrm(name, now.disableXfrm);
    undo();
  };
}

function configureLink(
  name: string,
  { original }: Device,
  now: Found,
  ours: readonly string[],
  wanted: LinkState,
): () => void {
  const removable = (address: string) => ours.includes(address) && !original?.addresses.includes(address);
  const stays = now.addresses.filter((address) => wanted.addresses.includes(address));
  const goes = now.addresses.filter((address) => !stays.includes(address) && removable(address));
  const managed = { mtu: now.mtu, addresses: [...stays, ...goes] };
  if (now.up) {
    changeLink(name, managed, wanted);
    if (original === null) closeIpv6(name, wanted.addresses);
    return () => changeLink(name, wanted, managed);
  }
  const without = { mtu: now.mtu, addresses: stays };
  changeLink(name, managed, without);
  const undo = () => {
    restore(name, now, wanted.addresses);
    changeLink(name, without, managed);
  };
  try {
    setUpLink(name, wanted);
  } catch (error) {
    undo();
    throw error;
  }
  return undo;
}

/** Deletes a device that xfrm-steer made, or gives one that it found its former settings back. */
export function releaseDevice(name: string, { original }: Device, ours: readonly string[]): void {
  if (findIfindex(name) === null) return;
  if (original === null) ip("link", "del", "dev", name);
  else restore(name, original, ours);
}

function restore(name: string, former: LinkSnapshot, added: readonly string[]): void {
  const now = demandDevice(name);
  const addresses = now.addresses.filter(
    (address) => added.includes(address) && !former.addresses.includes(address),
  );
  changeLink(name, { mtu: now.mtu, addresses }, { mtu: former.mtu, addresses: [] });
  setDisableXfrm(name, former.disableXfrm);
  ip("link", "set", "dev", name, former.up ? "up" : "down");
}
