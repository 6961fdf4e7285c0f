/** Layouts of 64-bit Linux that sendmmsg(2) and recvmmsg(2) read and write (bits/socket.h, linux/in.h, linux/ipv6.h). */
import { Slab } from "./slab.js";

/** struct mmsghdr: a struct msghdr and, behind it, how many bytes were sent or received. */
export const MMSGHDR_SIZE = 64;
export const MSG_NAME = 0;
export const MSG_NAMELEN = 8;
const MSG_IOV = 16;
const MSG_IOVLEN = 24;
const MSG_CONTROL = 32;
export const MSG_CONTROLLEN = 40;
export const MSG_LEN = 56;

export const IOVEC_SIZE = 16;
export const IOV_BASE = 0;
export const IOV_LEN = 8;

/** struct cmsghdr: size_t len (with this header), int level, int type; and the data, padded to 8 bytes. */
export const CMSGHDR_SIZE = 16;
export const CMSG_LEVEL = 8;
export const CMSG_TYPE = 12;
export const CMSG_DATA = 16;
export const cmsgSpace = (dataSize: number): number => CMSGHDR_SIZE + Math.ceil(dataSize / 8) * 8;

/** sizeof(struct in_pktinfo) and sizeof(struct in6_pktinfo), and where their ifindex is. */
export const IN_PKTINFO_SIZE = 12;
export const IN6_PKTINFO_SIZE = 20;
export const IPI_IFINDEX = 0;
export const IPI6_IFINDEX = 16;

/** Control messages of one packet: in6_pktinfo, traffic class, and the segment size of UDP_SEGMENT or UDP_GRO. */
export const CONTROL_SIZE = cmsgSpace(IN6_PKTINFO_SIZE) + 2 * cmsgSpace(4);

/** An array of struct mmsghdr, each with one struct iovec and room for control messages. */
export class MessageVector extends Slab {
  readonly count: number;

  constructor(count: number) {
    super(count * (MMSGHDR_SIZE + IOVEC_SIZE + CONTROL_SIZE));
    this.count = count;
    for (let i = 0; i < count; i++) {
      const header = i * MMSGHDR_SIZE;
      this.setPointer(header + MSG_IOV, this.base + this.iovec(i));
      this.setPointer(header + MSG_IOVLEN, 1);
      this.setPointer(header + MSG_CONTROL, this.base + this.control(i));
    }
  }

  /** Offset of a message's struct iovec. */
  iovec(index: number): number {
    return this.count * MMSGHDR_SIZE + index * IOVEC_SIZE;
  }

  /** Offset of a message's control messages. */
  control(index: number): number {
    return this.count * (MMSGHDR_SIZE + IOVEC_SIZE) + index * CONTROL_SIZE;
  }
}
