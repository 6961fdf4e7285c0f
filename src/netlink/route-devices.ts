import { constants } from "node:os";
import type { Address } from "../config/address.js";
import { SystemError } from "../sys/libc.js";
import { Attributes, align, LITTLE_ENDIAN, viewOf } from "./attributes.js";
import { request } from "./request.js";

/** <linux/rtnetlink.h> */
const RTM_GETROUTE = 26;
const RTM_F_FIB_MATCH = 0x2000;
const RTN_UNICAST = 1;
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_MULTIPATH = 9;
const RTA_MARK = 16;
/** struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags. struct rtnexthop: len, flags, hops, ifindex. */
const RTMSG_SIZE = 12;
const RTM_TYPE = 7;
const NEXTHOP_SIZE = 8;
/** struct nlattr with a 32-bit value. */
const UINT32_ATTRIBUTE = 8;

export interface RouteQuery {
  /** Ifindex that the packet is to leave by (flowi_oif); 0 or left out: any. */
  readonly link?: number;
  readonly mark?: number;
}

/**
 * Devices of the route that leads to an address: several where it has several next hops; none where no route leads there, or
 * the address is this machine's own. Of the calling thread's network namespace.
 * @throws SystemError
 */
export function devicesTo(address: Address, query: RouteQuery = {}): number[] {
  // The route as it was written has all its next hops; one that a nexthop object has may show none of them.
  const found = ask(address, query, RTM_F_FIB_MATCH);
  return found.length > 0 ? found : ask(address, query, 0);
}

/** No route leads there; or a prohibit, blackhole or unreachable route does. */
const NO_ROUTE: ReadonlySet<number> = new Set(
  (["ENETUNREACH", "EHOSTUNREACH", "EACCES", "EINVAL", "ENODEV", "ESRCH"] as const).map(
    (name) => constants.errno[name] ?? 0,
  ),
);

function ask({ family, words }: Address, { link = 0, mark = 0 }: RouteQuery, flags: number): number[] {
  const bytes = 4 * words.length;
  const body = new Uint8Array(
    RTMSG_SIZE + 4 + bytes + (link ? UINT32_ATTRIBUTE : 0) + (mark ? UINT32_ATTRIBUTE : 0),
  );
  const view = viewOf(body);
  body[0] = family === 4 ? 2 : 10; // AF_INET, AF_INET6
  body[1] = 8 * bytes;
  view.setUint32(8, flags, LITTLE_ENDIAN);
  let at = RTMSG_SIZE;
  const header = (type: number, size: number) => {
    view.setUint16(at, 4 + size, LITTLE_ENDIAN);
    view.setUint16(at + 2, type, LITTLE_ENDIAN);
    at += 4;
  };
  header(RTA_DST, bytes);
  for (const word of words) {
    view.setUint32(at, word);
    at += 4;
  }
  for (const [type, value] of [
    [RTA_OIF, link],
    [RTA_MARK, mark],
  ] as const) {
    if (value === 0) continue;
    header(type, 4);
    view.setUint32(at, value, LITTLE_ENDIAN);
    at += 4;
  }
  try {
    return request(RTM_GETROUTE, body, "looking up a route").flatMap(devicesOf);
  } catch (error) {
    if (error instanceof SystemError && NO_ROUTE.has(error.errno)) return [];
    throw error;
  }
}

function devicesOf(message: Uint8Array): number[] {
  if (message[RTM_TYPE] !== RTN_UNICAST) return [];
  const attributes = new Attributes(message.subarray(RTMSG_SIZE));
  const one = attributes.uint32(RTA_OIF);
  return [...(one ? [one] : []), ...nextHops(attributes.bytes(RTA_MULTIPATH) ?? new Uint8Array())];
}

function nextHops(bytes: Uint8Array): number[] {
  const view = viewOf(bytes);
  const found: number[] = [];
  for (let at = 0; at + NEXTHOP_SIZE <= bytes.length; at += align(view.getUint16(at, LITTLE_ENDIAN))) {
    if (view.getUint16(at, LITTLE_ENDIAN) < NEXTHOP_SIZE) break;
    found.push(view.getInt32(at + 4, LITTLE_ENDIAN));
  }
  return found;
}
