/**
 * Prepared struct msghdr for sendmsg(2) and recvmsg(2): everything that stays the same from packet to packet is written
 * once. Layouts are those of 64-bit Linux (bits/socket.h, linux/in.h, linux/ipv6.h).
 */
import { AF_INET, errno, MSG_DONTWAIT, recvmsg, sendmsg } from "./libc.js";
import { Slab } from "./slab.js";
import { type Address, writeSockaddr } from "./sockaddr.js";
import { IP_PKTINFO, IPPROTO_IP, IPPROTO_IPV6 } from "./udp.js";

const IPV6_PKTINFO = 50;

/** struct msghdr, followed in our block by one struct iovec, a sockaddr and one control message. */
const MSG_NAME = 0;
const MSG_NAMELEN = 8;
const MSG_IOV = 16;
const MSG_IOVLEN = 24;
const MSG_CONTROL = 32;
const MSG_CONTROLLEN = 40;
const IOV_BASE = 56;
const IOV_LEN = 64;
const NAME = 72;
const CONTROL = 104;
const CMSG_LEVEL = CONTROL + 8;
const CMSG_TYPE = CONTROL + 12;
const CMSG_DATA = CONTROL + 16;
const CONTROL_SIZE = 64;
const BLOCK_SIZE = CONTROL + CONTROL_SIZE;
/** sizeof(struct cmsghdr), struct in_pktinfo and struct in6_pktinfo. */
const CMSGHDR_SIZE = 16;
const IN_PKTINFO_SIZE = 12;
const IN6_PKTINFO_SIZE = 20;
/** Offsets of the ifindex in the two. */
const IPI_IFINDEX = 0;
const IPI6_IFINDEX = 16;

function prepare(): Slab {
  const slab = new Slab(BLOCK_SIZE);
  slab.setPointer(MSG_IOV, slab.base + IOV_BASE);
  slab.setPointer(MSG_IOVLEN, 1);
  slab.setPointer(MSG_CONTROL, slab.base + CONTROL);
  return slab;
}

/** One SA's way out: source address, destination address and port, and the link to leave by. */
export class TransmitMessage {
  readonly #slab = prepare();
  readonly #ifindex: number;

  /** @param link ifindex, the scope of IPv6 link-local addresses; else unused */
  constructor(local: Address, remote: Address, remotePort: number, link: number) {
    const slab = this.#slab;
    const { view, bytes } = slab;
    slab.setPointer(MSG_NAME, slab.base + NAME);
    view.setUint32(MSG_NAMELEN, writeSockaddr(slab, NAME, remote, remotePort, link), true);
    const v4 = local.family === AF_INET;
    const size = CMSGHDR_SIZE + (v4 ? IN_PKTINFO_SIZE : IN6_PKTINFO_SIZE);
    slab.setPointer(MSG_CONTROLLEN, Math.ceil(size / 8) * 8);
    slab.setPointer(CONTROL, size);
    view.setInt32(CMSG_LEVEL, v4 ? IPPROTO_IP : IPPROTO_IPV6, true);
    view.setInt32(CMSG_TYPE, v4 ? IP_PKTINFO : IPV6_PKTINFO, true);
    // in_pktinfo is {ifindex, spec_dst (the source to use), addr}; in6_pktinfo is {addr (the source), ifindex}.
    bytes.set(local.bytes, CMSG_DATA + (v4 ? 4 : 0));
    this.#ifindex = CMSG_DATA + (v4 ? IPI_IFINDEX : IPI6_IFINDEX);
  }

  /**
   * Sends one datagram without blocking.
   * @param link ifindex that the route lookup is bound to (flowi_oif), 0 for any
   * @returns 0, or the errno
   */
  send(fd: number, data: number, length: number, link: number): number {
    const slab = this.#slab;
    slab.setPointer(IOV_BASE, data);
    slab.view.setUint32(IOV_LEN, length, true);
    slab.view.setUint32(this.#ifindex, link, true);
    return sendmsg(fd, slab.base, MSG_DONTWAIT) < 0 ? errno() : 0;
  }
}

/** Receives datagrams into one place, with the ifindex that each came in on. */
export class ReceiveMessage {
  readonly #slab = prepare();

  constructor(data: number, capacity: number) {
    this.#slab.setPointer(IOV_BASE, data);
    this.#slab.setPointer(IOV_LEN, capacity);
  }

  /** Receives one datagram without blocking. @returns its length in bytes, or the errno negated */
  receive(fd: number): number {
    const { view, base } = this.#slab;
    view.setUint32(MSG_CONTROLLEN, CONTROL_SIZE, true);
    const length = recvmsg(fd, base, MSG_DONTWAIT);
    return length < 0 ? -errno() : length;
  }

  /** The ifindex on which the last datagram came in, 0 when the kernel did not say. */
  get link(): number {
    const { view } = this.#slab;
    if (view.getUint32(MSG_CONTROLLEN, true) < CMSGHDR_SIZE) return 0;
    const type = view.getInt32(CMSG_TYPE, true);
    if (view.getInt32(CMSG_LEVEL, true) === IPPROTO_IP) {
      return type === IP_PKTINFO ? view.getInt32(CMSG_DATA + IPI_IFINDEX, true) : 0;
    }
    return type === IPV6_PKTINFO ? view.getInt32(CMSG_DATA + IPI6_IFINDEX, true) : 0;
  }
}
