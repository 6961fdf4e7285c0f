import { AF_INET, errno, MSG_DONTWAIT, sendmmsg } from "./libc.js";
import * as msg from "./msghdr.js";
import { Slab } from "./slab.js";
import { type Address, SOCKADDR_IN6_SIZE, writeSockaddr } from "./sockaddr.js";
import {
  IP_PKTINFO,
  IP_TOS,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_PKTINFO,
  IPV6_TCLASS,
  SOL_UDP,
  UDP_SEGMENT,
} from "./udp.js";

/** linux/udp.h, UDP_MAX_SEGMENTS (128 from Linux 6.8 on), and a total that fits a UDP datagram of either family. */
const MAX_SEGMENTS = 64;
const MAX_BYTES = 65_000;

/** A way out: source address, destination address and port. */
export class Destination {
  /** Whether datagrams may be handed to the kernel several at a time (UDP_SEGMENT). */
  segmentation: boolean;
  /** Address and size of the struct sockaddr. */
  readonly name: number;
  readonly nameSize: number;
  /** The control message that names the source, and where in it the ifindex goes. */
  readonly control: Uint8Array;
  readonly ifindex: number;
  readonly v4: boolean;
  readonly local: Address;
  /** Bytes in front of each datagram's payload. */
  readonly headers: number;
  /** The path's MTU as learnPathMtu has found it, which holds until a time of performance.now(). */
  mtu = 0;
  mtuUntil = 0;
  readonly #slab = new Slab(SOCKADDR_IN6_SIZE);

  /**
   * @param remotePort 0 for a raw socket, to which packets can only be handed one by one
   * @param link ifindex, the scope of IPv6 link-local addresses; else unused
   */
  constructor(local: Address, remote: Address, remotePort: number, link: number) {
    this.segmentation = remotePort !== 0;
    this.name = this.#slab.base;
    this.nameSize = writeSockaddr(this.#slab, 0, remote, remotePort, link);
    const v4 = local.family === AF_INET;
    this.v4 = v4;
    this.local = local;
    this.headers = (v4 ? 20 : 40) + (remotePort === 0 ? 0 : 8);
    const size = v4 ? msg.IN_PKTINFO_SIZE : msg.IN6_PKTINFO_SIZE;
    this.control = new Uint8Array(msg.cmsgSpace(size));
    const view = new DataView(this.control.buffer);
    view.setUint32(0, msg.CMSGHDR_SIZE + size, true);
    view.setInt32(msg.CMSG_LEVEL, v4 ? IPPROTO_IP : IPPROTO_IPV6, true);
    view.setInt32(msg.CMSG_TYPE, v4 ? IP_PKTINFO : IPV6_PKTINFO, true);
    // in_pktinfo is {ifindex, spec_dst (the source to use), addr}; in6_pktinfo is {addr (the source), ifindex}.
    this.control.set(local.bytes, msg.CMSG_DATA + (v4 ? 4 : 0));
    this.ifindex = msg.CMSG_DATA + (v4 ? msg.IPI_IFINDEX : msg.IPI6_IFINDEX);
  }
}

/** One message of a batch: datagrams of one size, the last perhaps shorter, next to each other in memory. */
interface Message {
  destination: Destination | null;
  fd: number;
  link: number;
  tos: number;
  /** Address of the first byte. */
  data: number;
  bytes: number;
  /** Size and number of the datagrams. */
  size: number;
  segments: number;
  /** A shorter datagram is the last. */
  closed: boolean;
}

/** Datagrams to be sent together: those next to each other as one (UDP_SEGMENT), and all in one call (sendmmsg). */
export class SendVector {
  /** Messages in the batch. */
  length = 0;
  readonly #vector: msg.MessageVector;
  readonly #messages: Message[];

  constructor(capacity: number) {
    this.#vector = new msg.MessageVector(capacity);
    this.#messages = Array.from({ length: capacity }, () => ({
      destination: null,
      fd: -1,
      link: 0,
      tos: 0,
      data: 0,
      bytes: 0,
      size: 0,
      segments: 0,
      closed: false,
    }));
  }

  /**
   * Adds a datagram of `size` bytes at the address `data`.
   * @param link ifindex that the route lookup is bound to (flowi_oif), 0 for any
   * @param tos type of service or traffic class
   * @returns false when the batch is full: send it first
   */
  add(fd: number, destination: Destination, link: number, tos: number, data: number, size: number): boolean {
    const last = this.#messages[this.length - 1];
    if (
      last !== undefined &&
      !last.closed &&
      last.destination === destination &&
      destination.segmentation &&
      last.link === link &&
      last.tos === tos &&
      last.fd === fd &&
      last.data + last.bytes === data &&
      size <= last.size &&
      last.segments < MAX_SEGMENTS &&
      last.bytes + size <= MAX_BYTES
    ) {
      last.bytes += size;
      last.segments++;
      last.closed = size < last.size;
      return true;
    }
    const next = this.#messages[this.length];
    if (next === undefined) return false;
    next.destination = destination;
    next.fd = fd;
    next.link = link;
    next.tos = tos;
    next.data = data;
    next.bytes = size;
    next.size = size;
    next.segments = 1;
    next.closed = false;
    this.length++;
    return true;
  }

  /** The message at `index`. */
  at(index: number): Readonly<Message> {
    return this.#messages[index] as Message;
  }

  /** How many messages from `from` on go to the same socket. */
  run(from: number): number {
    let to = from + 1;
    while (to < this.length && this.at(to).fd === this.at(from).fd) to++;
    return to - from;
  }

  /**
   * Sends `count` messages from `from` on without blocking; all of one socket.
   * @returns how many were sent, or, when the first failed, the errno negated
   */
  send(from: number, count: number): number {
    for (let i = from; i < from + count; i++)
      this.#write(i, this.at(i).data, this.at(i).bytes, this.at(i).size);
    return this.#call(from, count);
  }

  /** As `send`, of one datagram of a message. @returns 0, or the errno */
  sendSegment(index: number, segment: number): number {
    const { data, bytes, size } = this.at(index);
    const offset = segment * size;
    const length = Math.min(size, bytes - offset);
    this.#write(index, data + offset, length, length);
    const sent = this.#call(index, 1);
    return sent < 0 ? -sent : 0;
  }

  #call(from: number, count: number): number {
    const sent = sendmmsg(this.at(from).fd, this.#vector.base + from * msg.MMSGHDR_SIZE, count, MSG_DONTWAIT);
    return sent < 0 ? -errno() : sent;
  }

  #write(index: number, data: number, bytes: number, size: number): void {
    const vector = this.#vector;
    const { view } = vector;
    const { destination, link, tos } = this.at(index);
    if (destination === null) return;
    const header = index * msg.MMSGHDR_SIZE;
    const iovec = vector.iovec(index);
    const control = vector.control(index);
    vector.setPointer(header + msg.MSG_NAME, destination.name);
    view.setUint32(header + msg.MSG_NAMELEN, destination.nameSize, true);
    vector.setPointer(iovec + msg.IOV_BASE, data);
    view.setUint32(iovec + msg.IOV_LEN, bytes, true);
    vector.bytes.set(destination.control, control);
    view.setUint32(control + destination.ifindex, link, true);
    let controlSize = destination.control.length;
    if (tos !== 0) {
      const at = control + controlSize;
      if (destination.v4) this.#control(at, IPPROTO_IP, IP_TOS, 4);
      else this.#control(at, IPPROTO_IPV6, IPV6_TCLASS, 4);
      view.setInt32(at + msg.CMSG_DATA, tos, true);
      controlSize += msg.cmsgSpace(4);
    }
    if (bytes > size) {
      this.#control(control + controlSize, SOL_UDP, UDP_SEGMENT, 2);
      view.setUint16(control + controlSize + msg.CMSG_DATA, size, true);
      controlSize += msg.cmsgSpace(2);
    }
    view.setUint32(header + msg.MSG_CONTROLLEN, controlSize, true);
  }

  #control(at: number, level: number, type: number, size: number): void {
    const { view } = this.#vector;
    view.setUint32(at, msg.CMSGHDR_SIZE + size, true);
    view.setUint32(at + 4, 0, true);
    view.setInt32(at + msg.CMSG_LEVEL, level, true);
    view.setInt32(at + msg.CMSG_TYPE, type, true);
  }
}
