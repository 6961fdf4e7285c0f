import ipaddr from "ipaddr.js";
import { sendIcmp } from "./netns-socket.js";

const ICMP_DEST_UNREACH = 3;
const ICMP_FRAG_NEEDED = 4;
const IPV4_SIZE = 20;
const ICMP_SIZE = 8;

export interface Forgery {
  /** Namespace that it is sent from, as a path. */
  readonly path: string;
  /** Who is to believe it, and to which address it is to have sent. */
  readonly victim: string;
  readonly destination: string;
  readonly mtu: number;
  /** Protocol and first 8 bytes of what the victim is to have sent; an echo reply if left out. */
  readonly quoted?: { readonly protocol: number; readonly bytes: Uint8Array };
}

/** No socket has to have sent it: the kernel takes errors about it from anybody (net/ipv4/icmp.c, icmp_err). */
const ECHO_REPLY = { protocol: 1, bytes: new Uint8Array(ICMP_SIZE) };

/** Tells a host by ICMP "fragmentation needed" (RFC 1191) that packets to a destination are too big. */
export function forgeFragNeeded({
  path,
  victim,
  destination,
  mtu,
  quoted: about = ECHO_REPLY,
}: Forgery): void {
  const message = Buffer.alloc(ICMP_SIZE + IPV4_SIZE + ICMP_SIZE);
  message.writeUInt8(ICMP_DEST_UNREACH, 0);
  message.writeUInt8(ICMP_FRAG_NEEDED, 1);
  message.writeUInt16BE(mtu, 6);
  const quoted = message.subarray(ICMP_SIZE);
  quoted.writeUInt8(0x45, 0);
  quoted.writeUInt16BE(1400, 2);
  quoted.writeUInt16BE(0x4000, 6); // DF
  quoted.writeUInt8(64, 8);
  quoted.writeUInt8(about.protocol, 9);
  quoted.set(ipaddr.parse(victim).toByteArray(), 12);
  quoted.set(ipaddr.parse(destination).toByteArray(), 16);
  quoted.set(about.bytes.subarray(0, ICMP_SIZE), IPV4_SIZE);
  message.writeUInt16BE(internetChecksum(message), 2);
  sendIcmp(path, message, victim);
}

/** RFC 1071, of an even number of bytes. */
function internetChecksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
