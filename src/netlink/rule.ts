import { existsSync } from "node:fs";
import ipaddr from "ipaddr.js";
import { AF_INET, AF_INET6 } from "../sys/libc.js";
import { Attributes, LITTLE_ENDIAN, viewOf } from "./attributes.js";
import { request } from "./request.js";

/** <linux/rtnetlink.h> and <linux/fib_rules.h> */
const RTM_GETRULE = 34;
const FRA_DST = 1;
const FRA_PRIORITY = 6;
const FRA_FWMARK = 10;
const FRA_SUPPRESS_PREFIXLEN = 14;
const FRA_TABLE = 15;
const FRA_PROTOCOL = 21;
const FRA_IP_PROTO = 22;
const FRA_DPORT_RANGE = 24;
const FIB_RULE_INVERT = 2;
/** struct fib_rule_hdr: family, dst_len, src_len, tos, table, two reserved, action, flags u32. */
const HEADER_SIZE = 12;

/** A routing policy rule as rtnetlink tells of it. */
export interface KernelRule {
  readonly family: 4 | 6;
  readonly priority: number;
  /** FRA_PROTOCOL, Linux 4.17. */
  readonly protocol: number;
  readonly table: number;
  /** It is for what does not match. */
  readonly not: boolean;
  /** Address or prefix. */
  readonly to: string | null;
  readonly ipProto: number | null;
  /** The first of a range. */
  readonly dport: number | null;
  readonly mark: number | null;
  /** Routes of at most so many bits do not count. */
  readonly suppress: number | null;
}

/** All rules of the calling thread's namespace. @throws SystemError */
export function readRules(): KernelRule[] {
  return ([4, 6] as const).flatMap((family) => {
    if (family === 6 && !existsSync("/proc/sys/net/ipv6")) return [];
    const asked = new Uint8Array(HEADER_SIZE);
    asked[0] = family === 4 ? AF_INET : AF_INET6;
    const doing = `reading the IPv${family} routing rules`;
    return request(RTM_GETRULE, asked, doing, { dump: true }).map((message) => ruleOf(message, family));
  });
}

function ruleOf(message: Uint8Array, family: 4 | 6): KernelRule {
  const attributes = new Attributes(message.subarray(HEADER_SIZE));
  const destination = attributes.bytes(FRA_DST);
  const suppress = attributes.uint32(FRA_SUPPRESS_PREFIXLEN);
  const length = message[1] ?? 0;
  const ports = attributes.bytes(FRA_DPORT_RANGE);
  return {
    family,
    priority: attributes.uint32(FRA_PRIORITY) ?? 0,
    protocol: attributes.bytes(FRA_PROTOCOL)?.[0] ?? 0,
    table: attributes.uint32(FRA_TABLE) ?? message[4] ?? 0,
    not: (viewOf(message).getUint32(8, LITTLE_ENDIAN) & FIB_RULE_INVERT) !== 0,
    to: destination === undefined ? null : `${ipaddr.fromByteArray([...destination])}/${length}`,
    ipProto: attributes.bytes(FRA_IP_PROTO)?.[0] ?? null,
    dport: ports === undefined ? null : viewOf(ports).getUint16(0, LITTLE_ENDIAN),
    mark: attributes.uint32(FRA_FWMARK) ?? null,
    // -1 where there is none.
    suppress: suppress === undefined || suppress === 0xffffffff ? null : suppress,
  };
}
