import { AF_INET, AF_INET6 } from "../sys/libc.js";
import { Attributes, align, LITTLE_ENDIAN, viewOf } from "./attributes.js";
import { request } from "./request.js";

/** <linux/rtnetlink.h> */
const RTM_GETROUTE = 26;
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_MULTIPATH = 9;
const RTA_TABLE = 15;
const RTA_VIA = 18;
const RTN_UNICAST = 1;
const RTN_UNREACHABLE = 7;
/** struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags. struct rtnexthop: length, flags, hops, ifindex. */
const RTMSG_SIZE = 12;
const RTNEXTHOP_SIZE = 8;

export interface NextHop {
  /** Ifindex. */
  readonly oif: number;
  /** Network byte order, of either family (RTA_VIA: of the other one); null where the destination is on the link. */
  readonly gateway: Uint8Array | null;
}

/** A route as rtnetlink tells of it. */
export interface KernelRoute {
  readonly family: 4 | 6;
  /** Words of the destination as in `Prefix`. */
  readonly words: readonly number[];
  readonly length: number;
  readonly table: number;
  readonly protocol: number;
  /** 0 of IPv4 where none is given. */
  readonly metric: number;
  readonly type: "unicast" | "unreachable" | "other";
  /** Several of a multipath route. */
  readonly hops: readonly NextHop[];
  /** Preferred source address, network byte order. */
  readonly source: Uint8Array | null;
}

/** All routes of one family in the calling thread's namespace, of all tables. @throws SystemError */
export function readRoutes(family: 4 | 6): KernelRoute[] {
  const asked = new Uint8Array(RTMSG_SIZE);
  asked[0] = family === 4 ? AF_INET : AF_INET6;
  const doing = `reading the IPv${family} routes`;
  return request(RTM_GETROUTE, asked, doing, { dump: true }).map((message) => routeOf(message, family));
}

function routeOf(message: Uint8Array, family: 4 | 6): KernelRoute {
  const attributes = new Attributes(message.subarray(RTMSG_SIZE));
  const types = { [RTN_UNICAST]: "unicast", [RTN_UNREACHABLE]: "unreachable" } as const;
  return {
    family,
    words: wordsOf(attributes.bytes(RTA_DST), family),
    length: message[1] ?? 0,
    table: attributes.uint32(RTA_TABLE) ?? message[4] ?? 0,
    protocol: message[5] ?? 0,
    metric: attributes.uint32(RTA_PRIORITY) ?? 0,
    type: types[message[7] as keyof typeof types] ?? "other",
    hops: hopsOf(attributes),
    source: attributes.bytes(RTA_PREFSRC) ?? null,
  };
}

function wordsOf(bytes: Uint8Array | undefined, family: 4 | 6): number[] {
  const count = family === 4 ? 1 : 4;
  if (bytes === undefined || bytes.length < 4 * count) return new Array<number>(count).fill(0);
  const view = viewOf(bytes);
  return Array.from({ length: count }, (_, index) => view.getUint32(4 * index));
}

function hopsOf(attributes: Attributes): NextHop[] {
  const several = attributes.bytes(RTA_MULTIPATH);
  if (several !== undefined) return multipath(several);
  const oif = attributes.uint32(RTA_OIF);
  return oif === undefined ? [] : [{ oif, gateway: gatewayOf(attributes) }];
}

function multipath(bytes: Uint8Array): NextHop[] {
  const hops: NextHop[] = [];
  const view = viewOf(bytes);
  for (let at = 0; at + RTNEXTHOP_SIZE <= bytes.length; ) {
    const length = view.getUint16(at, LITTLE_ENDIAN);
    if (length < RTNEXTHOP_SIZE || at + length > bytes.length) break;
    const attributes = new Attributes(bytes.subarray(at + RTNEXTHOP_SIZE, at + length));
    hops.push({ oif: view.getInt32(at + 4, LITTLE_ENDIAN), gateway: gatewayOf(attributes) });
    at += align(length);
  }
  return hops;
}

/** struct rtvia: a family of two bytes in front of the address. */
function gatewayOf(attributes: Attributes): Uint8Array | null {
  return attributes.bytes(RTA_GATEWAY) ?? attributes.bytes(RTA_VIA)?.subarray(2) ?? null;
}
