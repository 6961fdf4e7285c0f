import { ENGINE_MARK } from "./engine-mark.js";
import {
  bindSocket,
  close,
  connectSocket,
  getsockopt,
  O_CLOEXEC,
  SOCK_DGRAM,
  setsockopt,
  socket,
} from "./libc.js";
import { CMSG_DATA, IN6_PKTINFO_SIZE } from "./msghdr.js";
import { Slab } from "./slab.js";
import { SOCKADDR_IN6_SIZE, writeSockaddr } from "./sockaddr.js";
import { IPPROTO_IP, IPPROTO_IPV6, IPV6_PKTINFO } from "./udp.js";
import type { Destination } from "./udp-send.js";

/** asm-generic/socket.h, linux/in.h and linux/in6.h */
const SOL_SOCKET = 1;
const SO_MARK = 36;
const SO_BINDTOIFINDEX = 62;
const IP_MTU = 14;
const IPV6_MTU = 24;
/** An MTU is asked for again after so long. The kernel forgets its own after 10 minutes (net/ipv4/route.c, mtu_expires). */
const KNOWN_MS = 60_000;

/**
 * Asks the kernel for the MTU of the path to a destination, and notes it there, unless it is known already that a
 * datagram of `size` bytes does not fit.
 * @param link ifindex that the route lookup is bound to, 0 for any
 * @returns whether there is something new
 */
export function learnPathMtu(destination: Destination, link: number, size: number): boolean {
  const now = performance.now();
  if (now < destination.mtuUntil && size + destination.headers > destination.mtu) return false;
  const mtu = askForMtu(destination, link);
  if (mtu <= 0) return false;
  destination.mtu = mtu;
  destination.mtuUntil = now + KNOWN_MS;
  return true;
}

/** @returns bytes, or -1 where there is no route */
function askForMtu(destination: Destination, link: number): number {
  const { local, v4, name, nameSize, control, ifindex } = destination;
  const fd = socket(local.family, SOCK_DGRAM | O_CLOEXEC, 0);
  if (fd < 0) return -1;
  try {
    const slab = new Slab(SOCKADDR_IN6_SIZE);
    const { base, bytes, view } = slab;
    view.setInt32(0, ENGINE_MARK, true);
    setsockopt(fd, SOL_SOCKET, SO_MARK, base, 4);
    // The route is looked up as that of a datagram: for IPv6 a bound device would forbid routes by others.
    if (v4) view.setInt32(0, link, true);
    else {
      bytes.set(control.subarray(CMSG_DATA, CMSG_DATA + IN6_PKTINFO_SIZE));
      view.setInt32(ifindex - CMSG_DATA, link, true);
    }
    const bound = v4
      ? setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, base, 4)
      : setsockopt(fd, IPPROTO_IPV6, IPV6_PKTINFO, base, IN6_PKTINFO_SIZE);
    if (bound < 0 || bindSocket(fd, base, writeSockaddr(slab, 0, local, 0, link)) < 0) return -1;
    if (connectSocket(fd, name, nameSize) < 0) return -1;
    view.setInt32(4, 4, true);
    const [level, option] = v4 ? [IPPROTO_IP, IP_MTU] : [IPPROTO_IPV6, IPV6_MTU];
    return getsockopt(fd, level, option, base, base + 4) < 0 ? -1 : view.getInt32(0, true);
  } finally {
    close(fd);
  }
}
