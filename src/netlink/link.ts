import { constants } from "node:os";
import ipaddr from "ipaddr.js";
import { SystemError } from "../sys/libc.js";
import { Attributes, LITTLE_ENDIAN, viewOf } from "./attributes.js";
import { request } from "./request.js";

/** <linux/rtnetlink.h>, <linux/if_link.h>, <linux/if_addr.h> and <linux/if.h> */
const RTM_GETLINK = 18;
const RTM_GETADDR = 22;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_QDISC = 6;
const IFLA_MASTER = 10;
const IFLA_LINKINFO = 18;
const IFLA_STATS64 = 23;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_XFRM_COLLECT_METADATA = 3;
const IFLA_TUN_OWNER = 1;
const IFLA_TUN_TYPE = 3;
const IFLA_TUN_PI = 4;
const IFLA_TUN_VNET_HDR = 5;
const IFLA_TUN_PERSIST = 6;
const IFLA_TUN_MULTI_QUEUE = 7;
const IFLA_TUN_NUM_QUEUES = 8;
const IFLA_TUN_NUM_DISABLED_QUEUES = 9;
const IFLA_VRF_TABLE = 1;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFF_UP = 1;
/** <linux/if_tun.h> */
const IFF_TUN = 1;
/** struct ifinfomsg: family, type, index, flags, change. struct ifaddrmsg: family, prefix length, flags, scope, index. */
const IFINFOMSG_SIZE = 16;
const IFADDRMSG_SIZE = 8;

/** A network device as rtnetlink tells of it. */
export interface Link {
  readonly name: string | undefined;
  /** As `ip link add type` has it; undefined for a physical one. */
  readonly kind: string | undefined;
  /** Of an xfrm interface: it takes if_id and link from each packet's metadata (collect_md). */
  readonly external: boolean;
  readonly mtu: number;
  readonly up: boolean;
  /** Its root queueing discipline; "noop" while none is needed, as of most devices that are down. */
  readonly qdisc: string | undefined;
  readonly errors: LinkErrors;
  /** Null for a device that is not of drivers/net/tun.c. */
  readonly tun: TunSettings | null;
}

/** How a TUN or TAP device was made, and who reads it. */
export interface TunSettings {
  /** Made for IP packets, with struct tun_pi and virtio_net_hdr in front, multi-queue and persistent. */
  readonly asOurs: boolean;
  /** User id; null: anybody may open a queue of a persistent one. */
  readonly owner: number | null;
  /** Queues that are open in some process. */
  readonly queues: number;
}

/** Of struct rtnl_link_stats64, packets. */
export interface LinkErrors {
  readonly rx_errors: number;
  readonly tx_errors: number;
  readonly rx_dropped: number;
  readonly tx_carrier_errors: number;
}

/** Offsets in struct rtnl_link_stats64. */
const ERRORS: Readonly<Record<keyof LinkErrors, number>> = {
  rx_errors: 32,
  tx_errors: 40,
  rx_dropped: 48,
  tx_carrier_errors: 136,
};

/** @returns null where there is no such device in the calling thread's namespace. @throws SystemError */
export function readLink(ifindex: number): Link | null {
  const [answer] = askLink(ifindex);
  return answer === undefined ? null : linkOf(answer);
}

/** Nothing where there is no such device. */
function askLink(ifindex: number): Uint8Array[] {
  const asked = new Uint8Array(IFINFOMSG_SIZE);
  viewOf(asked).setInt32(4, ifindex, LITTLE_ENDIAN);
  try {
    return request(RTM_GETLINK, asked, `reading network device ${ifindex}`);
  } catch (error) {
    if (error instanceof SystemError && error.errno === constants.errno.ENODEV) return [];
    throw error;
  }
}

/** The routing table of the VRF that a device is in; null where it is in none. @throws SystemError */
export function readVrfTable(ifindex: number): number | null {
  const [device] = askLink(ifindex);
  const master = device && new Attributes(device.subarray(IFINFOMSG_SIZE)).uint32(IFLA_MASTER);
  const [vrf] = master === undefined ? [] : askLink(master);
  const info = vrf && new Attributes(vrf.subarray(IFINFOMSG_SIZE)).nested(IFLA_LINKINFO);
  if (info?.text(IFLA_INFO_KIND) !== "vrf") return null;
  return info.nested(IFLA_INFO_DATA)?.uint32(IFLA_VRF_TABLE) ?? null;
}

function linkOf(message: Uint8Array): Link {
  const attributes = new Attributes(message.subarray(IFINFOMSG_SIZE));
  const info = attributes.nested(IFLA_LINKINFO);
  const kind = info?.text(IFLA_INFO_KIND);
  const stats = attributes.bytes(IFLA_STATS64);
  const counts = Object.entries(ERRORS).map(([name, at]) => [
    name,
    stats === undefined ? 0 : Number(viewOf(stats).getBigUint64(at, LITTLE_ENDIAN)),
  ]);
  return {
    name: attributes.text(IFLA_IFNAME),
    kind,
    external: kind === "xfrm" && info?.nested(IFLA_INFO_DATA)?.has(IFLA_XFRM_COLLECT_METADATA) === true,
    mtu: attributes.uint32(IFLA_MTU) ?? 0,
    up: (viewOf(message).getUint32(8, LITTLE_ENDIAN) & IFF_UP) !== 0,
    qdisc: attributes.text(IFLA_QDISC),
    errors: Object.fromEntries(counts) as unknown as LinkErrors,
    tun: kind === "tun" ? tunSettings(info?.nested(IFLA_INFO_DATA)) : null,
  };
}

/** <linux/if_link.h>, enum of IFLA_TUN_; drivers/net/tun.c, tun_fill_info. */
function tunSettings(data: Attributes | undefined): TunSettings {
  const is = (type: number, value: number) => data?.bytes(type)?.[0] === value;
  return {
    asOurs:
      is(IFLA_TUN_TYPE, IFF_TUN) &&
      [IFLA_TUN_PI, IFLA_TUN_VNET_HDR, IFLA_TUN_PERSIST, IFLA_TUN_MULTI_QUEUE].every((flag) => is(flag, 1)),
    owner: data?.uint32(IFLA_TUN_OWNER) ?? null,
    queues: (data?.uint32(IFLA_TUN_NUM_QUEUES) ?? 0) + (data?.uint32(IFLA_TUN_NUM_DISABLED_QUEUES) ?? 0),
  };
}

/** Addresses of a device as prefixes, such as 10.0.0.1/32. @throws SystemError */
export function readAddresses(ifindex: number): string[] {
  const asked = new Uint8Array(IFADDRMSG_SIZE);
  viewOf(asked).setUint32(4, ifindex, LITTLE_ENDIAN);
  return request(RTM_GETADDR, asked, `reading the addresses of network device ${ifindex}`, {
    dump: true,
  }).map((message) => {
    const attributes = new Attributes(message.subarray(IFADDRMSG_SIZE));
    const address = attributes.bytes(IFA_LOCAL) ?? attributes.bytes(IFA_ADDRESS) ?? [];
    return `${ipaddr.fromByteArray([...address])}/${message[1]}`;
  });
}

/** A network device, as a list of all shows it. */
export interface ListedLink {
  readonly ifindex: number;
  readonly name: string;
  readonly kind: string | undefined;
  /** Ifindex of the bridge, bond or VRF that it is a port of; 0: none. */
  readonly master: number;
}

/** All devices of the calling thread's network namespace. @throws SystemError */
export function listLinks(): ListedLink[] {
  const asked = new Uint8Array(IFINFOMSG_SIZE);
  return request(RTM_GETLINK, asked, "listing network devices", { dump: true }).map((message) => {
    const attributes = new Attributes(message.subarray(IFINFOMSG_SIZE));
    return {
      ifindex: viewOf(message).getInt32(4, LITTLE_ENDIAN),
      name: attributes.text(IFLA_IFNAME) ?? "",
      kind: attributes.nested(IFLA_LINKINFO)?.text(IFLA_INFO_KIND),
      master: attributes.uint32(IFLA_MASTER) ?? 0,
    };
  });
}
