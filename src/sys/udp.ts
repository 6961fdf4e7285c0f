import { constants } from "node:os";
import {
  AF_INET,
  bindSocket,
  check,
  close,
  errno,
  O_CLOEXEC,
  O_NONBLOCK,
  read,
  SOCK_DGRAM,
  SOCK_RAW,
  setsockopt,
  socket,
} from "./libc.js";
import { Slab } from "./slab.js";
import { type Address, SOCKADDR_IN6_SIZE, writeSockaddr } from "./sockaddr.js";

/** asm-generic/socket.h */
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_REUSEPORT = 15;
const SO_MARK = 36;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SO_ATTACH_BPF = 50;
const SO_ATTACH_REUSEPORT_EBPF = 52;
/** linux/in.h and linux/in6.h */
export const IPPROTO_IP = 0;
export const IPPROTO_IPV6 = 41;
const IPPROTO_ESP = 50;
export const IP_PKTINFO = 8;
export const IPV6_PKTINFO = 50;
export const IP_TOS = 1;
const IP_MTU_DISCOVER = 10;
const IPV6_MTU_DISCOVER = 23;
/** Fragments where a packet does not fit the path, or EMSGSIZE; the same for both families. */
const PMTUDISC_WANT = 1;
const PMTUDISC_DO = 2;
const IP_RECVTOS = 13;
const IPV6_RECVTCLASS = 66;
export const IPV6_TCLASS = 67;
/** linux/udp.h */
export const SOL_UDP = 17;
export const UDP_SEGMENT = 103;
export const UDP_GRO = 104;
const IPV6_V6ONLY = 26;
const IPV6_RECVPKTINFO = 49;

/** A burst of a few thousand full-sized packets; the kernel doubles it for its own bookkeeping. */
const BUFFER_BYTES = 4 << 20;

/**
 * Opens a non-blocking UDP socket bound to a local address and port, in the calling thread's network namespace. Each
 * datagram comes with its ingress ifindex (IP_PKTINFO or IPV6_PKTINFO) and traffic class, and datagrams of one flow and
 * size may come together (UDP_GRO).
 * @param link ifindex, the scope of an IPv6 link-local address; else unused
 * @param mark of the packets that are sent (SO_MARK), where this process may set one
 * @returns the descriptor
 * @throws SystemError
 */
export function openUdpSocket(local: Address, port: number, link: number, mark = 0): number {
  return openUdp(local, port, link, mark, false);
}

/**
 * Opens several such sockets on one address and port, and has a program choose the socket of each datagram: of the type
 * BPF_PROG_TYPE_SOCKET_FILTER, it returns the socket's place here. No socket of another group comes between them.
 * @returns the descriptors
 * @throws SystemError
 */
export function openUdpGroup(
  local: Address,
  port: number,
  link: number,
  count: number,
  programFd: number,
  mark = 0,
): number[] {
  const doing = `sharing the UDP port ${port} of ${local.text} between sockets`;
  const fds: number[] = [];
  try {
    for (let place = 0; place < count; place++) {
      fds.push(openUdp(local, port, link, mark, place > 0));
      // The first takes the port for itself before it shares: another group of ours is to be refused.
      if (place === 0) check(setOption(fds[0] ?? -1, SOL_SOCKET, SO_REUSEPORT, 1), doing);
    }
    check(setOption(fds[0] ?? -1, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, programFd), doing);
    return fds;
  } catch (error) {
    for (const fd of fds) close(fd);
    throw error;
  }
}

function openUdp(local: Address, port: number, link: number, mark: number, shared: boolean): number {
  const doing = `binding the UDP socket ${local.text} port ${port}`;
  const advice = "the address must be up on this machine and the port free";
  return openSocket({ type: SOCK_DGRAM, protocol: 0, local, port, link, mark, doing, advice }, (option) => {
    if (local.family !== AF_INET) check(option(IPPROTO_IPV6, IPV6_V6ONLY, 1), doing);
    // Refused before Linux 5.0: datagrams come one by one then.
    option(SOL_UDP, UDP_GRO, 1);
    if (shared) check(option(SOL_SOCKET, SO_REUSEPORT, 1), doing);
  });
}

/**
 * Opens a non-blocking raw socket for ESP (IP protocol 50, RFC 4303) bound to a local address, in the calling thread's
 * network namespace. A received packet comes with its metadata as above, and with its IPv4 header in front: raw(7); an
 * IPv6 header is left out (RFC 3542 section 3).
 * @returns the descriptor
 * @throws SystemError
 */
export function openEspSocket(local: Address, link: number, mark = 0): number {
  const doing = `opening a raw socket for ESP on ${local.text}`;
  const advice = "the address must be up on this machine, and raw sockets need CAP_NET_RAW";
  const fd = openSocket(
    { type: SOCK_RAW, protocol: IPPROTO_ESP, local, port: 0, link, mark, doing, advice },
    () => {},
  );
  drain(fd);
  return fd;
}

/** Whether a socket cuts what does not fit the path's MTU into fragments; if not, sending that fails with EMSGSIZE. */
export function allowFragments(fd: number, v4: boolean, allow: boolean): void {
  const value = allow ? PMTUDISC_WANT : PMTUDISC_DO;
  if (v4) setOption(fd, IPPROTO_IP, IP_MTU_DISCOVER, value);
  else setOption(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, value);
}

/** More packets than a socket's buffer holds. Where so many come meanwhile, the rest are not worth waiting for. */
const DRAIN_MAX = 2 ** 16;

/** Drops what a socket received before it was bound or filtered: a raw one takes everything from its first moment on. */
function drain(fd: number): void {
  const byte = new Slab(1);
  for (let i = 0; i < DRAIN_MAX && read(fd, byte.base, 1) >= 0; i++);
}

/**
 * Has a program choose what a socket receives from now on: of the type BPF_PROG_TYPE_SOCKET_FILTER, it returns the bytes
 * to keep.
 * @throws SystemError
 */
export function filterSocket(fd: number, programFd: number): void {
  check(setOption(fd, SOL_SOCKET, SO_ATTACH_BPF, programFd), "attaching a program to a socket");
  drain(fd);
}

interface SocketOptions {
  readonly type: number;
  readonly protocol: number;
  readonly local: Address;
  readonly port: number;
  readonly link: number;
  readonly mark: number;
  readonly doing: string;
  /** What to do where it cannot be opened or bound. */
  readonly advice: string;
}

type SetOption = (level: number, name: number, value: number) => number;

function openSocket(
  { type, protocol, local, port, link, mark, doing, advice }: SocketOptions,
  setUp: (option: SetOption) => void,
): number {
  const fd = check(socket(local.family, type | O_NONBLOCK | O_CLOEXEC, protocol), doing, advice);
  try {
    const option: SetOption = (level, name, value) => setOption(fd, level, name, value);
    // The FORCE forms ignore net.core.[rw]mem_max but need CAP_NET_ADMIN; without it take what is allowed.
    if (option(SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES) < 0) option(SOL_SOCKET, SO_RCVBUF, BUFFER_BYTES);
    if (option(SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_BYTES) < 0) option(SOL_SOCKET, SO_SNDBUF, BUFFER_BYTES);
    if (local.family === AF_INET) {
      check(option(IPPROTO_IP, IP_PKTINFO, 1), doing);
      check(option(IPPROTO_IP, IP_RECVTOS, 1), doing);
    } else {
      check(option(IPPROTO_IPV6, IPV6_RECVPKTINFO, 1), doing);
      check(option(IPPROTO_IPV6, IPV6_RECVTCLASS, 1), doing);
    }
    // Without CAP_NET_ADMIN packets have no mark: only rules of ours by it would want one.
    if (mark !== 0) option(SOL_SOCKET, SO_MARK, mark);
    allowFragments(fd, local.family === AF_INET, false);
    setUp(option);
    const name = new Slab(SOCKADDR_IN6_SIZE);
    const size = writeSockaddr(name, 0, local, port, link);
    let bound = bindSocket(fd, name.base, size);
    for (let i = 0; i < IN_USE_TRIES && bound < 0 && errno() === constants.errno.EADDRINUSE; i++) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, IN_USE_WAIT_MS);
      bound = bindSocket(fd, name.base, size);
    }
    check(bound, doing, advice);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

/**
 * A process that is just being started has copies of our descriptors until it executes its program: a socket that we have
 * closed is bound until then.
 */
const IN_USE_TRIES = 20;
const IN_USE_WAIT_MS = 10;

function setOption(fd: number, level: number, name: number, value: number): number {
  const slab = new Slab(4);
  slab.view.setInt32(0, value, true);
  return setsockopt(fd, level, name, slab.base, 4);
}
