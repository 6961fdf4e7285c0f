import { errno, MSG_DONTWAIT, recvmmsg } from "./libc.js";
import * as msg from "./msghdr.js";
import {
  IP_PKTINFO,
  IP_TOS,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_PKTINFO,
  IPV6_TCLASS,
  SOL_UDP,
  UDP_GRO,
} from "./udp.js";

/** Receives UDP payloads, several in one call, each into its own place, with the ifindex it came in on. */
export class ReceiveVector {
  /** Of the message last looked at: bytes received. */
  bytes = 0;
  /** Size of each datagram in it, but for a shorter last one (UDP_GRO); `bytes` when it is a single one. */
  size = 0;
  /** The ifindex on which it came in, 0 when the kernel did not say. */
  link = 0;
  /** The type of service or traffic class that it came with. */
  tos = 0;
  readonly #vector: msg.MessageVector;
  #used: number;

  /**
   * @param places addresses to receive to
   * @param capacity bytes at each
   */
  constructor(places: readonly number[], capacity: number) {
    this.#vector = new msg.MessageVector(places.length);
    this.#used = places.length;
    places.forEach((place, index) => {
      this.#vector.setPointer(this.#vector.iovec(index) + msg.IOV_BASE, place);
      this.#vector.setPointer(this.#vector.iovec(index) + msg.IOV_LEN, capacity);
    });
  }

  /** Receives at most `most` messages, without blocking. @returns how many, or the errno negated */
  receive(fd: number, most: number): number {
    const { view, base } = this.#vector;
    // The kernel writes what it used of the room for control messages.
    for (let i = 0; i < this.#used; i++) {
      view.setUint32(i * msg.MMSGHDR_SIZE + msg.MSG_CONTROLLEN, msg.CONTROL_SIZE, true);
    }
    const received = recvmmsg(fd, base, most, MSG_DONTWAIT, 0);
    this.#used = Math.max(0, received);
    return received < 0 ? -errno() : received;
  }

  /** Reads `bytes`, `size`, `link` and `tos` of one of the messages last received. */
  look(index: number): void {
    const { view } = this.#vector;
    const header = index * msg.MMSGHDR_SIZE;
    this.bytes = view.getUint32(header + msg.MSG_LEN, true);
    this.size = this.bytes;
    this.link = 0;
    this.tos = 0;
    const end = this.#vector.control(index) + view.getUint32(header + msg.MSG_CONTROLLEN, true);
    let at = this.#vector.control(index);
    while (at + msg.CMSGHDR_SIZE <= end) {
      this.#control(at);
      at += Math.max(msg.CMSGHDR_SIZE, Math.ceil(view.getUint32(at, true) / 8) * 8);
    }
  }

  #control(at: number): void {
    const { view } = this.#vector;
    const level = view.getInt32(at + msg.CMSG_LEVEL, true);
    const type = view.getInt32(at + msg.CMSG_TYPE, true);
    const data = at + msg.CMSG_DATA;
    // net/ipv4/ip_sockglue.c, ip_cmsg_recv_tos: a single byte; IPv6 gives an int.
    if (level === IPPROTO_IP && type === IP_TOS) this.tos = view.getUint8(data);
    if (level === IPPROTO_IPV6 && type === IPV6_TCLASS) this.tos = view.getInt32(data, true);
    if (level === IPPROTO_IP && type === IP_PKTINFO) this.link = view.getInt32(data + msg.IPI_IFINDEX, true);
    if (level === IPPROTO_IPV6 && type === IPV6_PKTINFO)
      this.link = view.getInt32(data + msg.IPI6_IFINDEX, true);
    if (level === SOL_UDP && type === UDP_GRO) this.size = view.getInt32(data, true);
  }
}
