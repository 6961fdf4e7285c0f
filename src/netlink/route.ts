import ipaddr from "ipaddr.js";
import { AF_INET, AF_INET6 } from "../sys/libc.js";
import { Attributes, align, LITTLE_ENDIAN, viewOf } from "./attributes.js";
import { request } from "./request.js";

/** <linux/rtnetlink.h> */
const RTM_GETROUTE = 26;
const RTM_F_FIB_MATCH = 0x2000;
const RTN_LOCAL = 2;
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_METRICS = 8;
const RTA_MULTIPATH = 9;
const RTA_MARK = 16;
const RTAX_MTU = 2;
/** struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags. */
const RTMSG_SIZE = 12;
const RTM_TYPE = 7;
const RTM_FLAGS = 8;
/** struct rtnexthop: length with its attributes, flags, hops, ifindex. */
const RTNEXTHOP_SIZE = 8;
const RTNH_IFINDEX = 4;

/** An entry of the routing table. */
export interface Route {
  /** To an address of this machine: the packet never leaves it. */
  readonly local: boolean;
  /** ifindex of each next hop's device. */
  readonly devices: readonly number[];
  /** Bytes, where the entry has an `mtu` (`ip route ... mtu N`, `mtu lock N`). */
  readonly mtu: number | undefined;
}

/**
 * The routing table's entry for packets to an address, as it was configured: what the kernel has learnt of a path since
 * (ICMP "fragmentation needed", which anybody can forge) is kept beside the entry and is not in it. With RTM_F_FIB_MATCH
 * inet_rtm_getroute (net/ipv4/route.c) dumps the fib_info, and inet6_rtm_getroute (net/ipv6/route.c) the fib6_info.
 *
 * @param oif ifindex that the look-up is bound to, 0 for any
 * @param mark of the packets that it is for
 * @throws SystemError such as ENETUNREACH
 */
export function readRoute(address: string, oif: number, mark = 0): Route {
  const bytes = ipaddr.parse(address).toByteArray();
  const destination = attribute(RTA_DST, bytes);
  const device = oif === 0 ? new Uint8Array() : attribute(RTA_OIF, uint32(oif));
  const marked = mark === 0 ? new Uint8Array() : attribute(RTA_MARK, uint32(mark));
  const asked = new Uint8Array(RTMSG_SIZE + destination.length + device.length + marked.length);
  asked[0] = bytes.length === 4 ? AF_INET : AF_INET6;
  asked[1] = bytes.length * 8;
  viewOf(asked).setUint32(RTM_FLAGS, RTM_F_FIB_MATCH, LITTLE_ENDIAN);
  asked.set(destination, RTMSG_SIZE);
  asked.set(device, RTMSG_SIZE + destination.length);
  asked.set(marked, RTMSG_SIZE + destination.length + device.length);
  const [answer] = request(RTM_GETROUTE, asked, `looking for the route to ${address}`);
  return routeOf(answer ?? new Uint8Array(RTMSG_SIZE));
}

function routeOf(message: Uint8Array): Route {
  const attributes = new Attributes(message.subarray(RTMSG_SIZE));
  const only = attributes.uint32(RTA_OIF);
  const several = attributes.bytes(RTA_MULTIPATH);
  return {
    local: message[RTM_TYPE] === RTN_LOCAL,
    devices: [...(only === undefined ? [] : [only]), ...(several === undefined ? [] : nextHops(several))],
    mtu: attributes.nested(RTA_METRICS)?.uint32(RTAX_MTU),
  };
}

function nextHops(bytes: Uint8Array): number[] {
  const view = viewOf(bytes);
  const devices: number[] = [];
  for (let at = 0; at + RTNEXTHOP_SIZE <= bytes.length; ) {
    const length = view.getUint16(at, LITTLE_ENDIAN);
    if (length < RTNEXTHOP_SIZE) break;
    devices.push(view.getInt32(at + RTNH_IFINDEX, LITTLE_ENDIAN));
    at += align(length);
  }
  return devices;
}

/** struct rtattr. */
function attribute(type: number, content: ArrayLike<number>): Uint8Array {
  const bytes = new Uint8Array(4 + align(content.length));
  viewOf(bytes).setUint16(0, 4 + content.length, LITTLE_ENDIAN);
  viewOf(bytes).setUint16(2, type, LITTLE_ENDIAN);
  bytes.set(content, 4);
  return bytes;
}

function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  viewOf(bytes).setUint32(0, value, LITTLE_ENDIAN);
  return bytes;
}
