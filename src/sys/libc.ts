/**
 * The libc functions that the data path calls, bound once through koffi.
 *
 * Pointers and sizes are `uintptr_t` passed as JavaScript numbers: user addresses stay below 2^47, so a double holds
 * them exactly, and a number costs a third of what a BigInt or a Buffer argument does. The addresses come from a Slab.
 */
import { constants } from "node:os";
import koffi from "koffi";

const lib = koffi.load("libc.so.6");
const address = "uintptr_t";
const ssize = "intptr_t";

type Signature = (...args: number[]) => number;

const bind = (name: string, result: string, args: string[]): Signature =>
  lib.func(name, result, args) as Signature;

export const open: (path: string, flags: number) => number = lib.func("open", "int", ["str", "int"]);
export const close: (fd: number) => number = bind("close", "int", ["int"]);
export const fcntl: (fd: number, command: number, argument: number) => number = bind("fcntl", "int", [
  "int",
  "int",
  "int",
]);
/** Another descriptor of an open file, closed at an execve(2). @throws SystemError */
export function dupCloexec(fd: number): number {
  return check(fcntl(fd, F_DUPFD_CLOEXEC, 0), "duplicating a descriptor");
}
/** For requests whose argument is a pointer or a word. */
export const ioctl: (fd: number, request: number, argument: number) => number = bind("ioctl", "int", [
  "int",
  address,
  address,
]);
export const read: (fd: number, buffer: number, length: number) => number = bind("read", ssize, [
  "int",
  address,
  address,
]);
export const write: (fd: number, buffer: number, length: number) => number = bind("write", ssize, [
  "int",
  address,
  address,
]);
/** `fds` is the address of `count` struct pollfd; `timeout` in milliseconds, -1 for none. */
export const poll: (fds: number, count: number, timeout: number) => number = bind("poll", "int", [
  address,
  address,
  "int",
]);
export const eventfd: (initial: number, flags: number) => number = bind("eventfd", "int", ["int", "int"]);
export const setns: (fd: number, type: number) => number = bind("setns", "int", ["int", "int"]);
export const socket: (family: number, type: number, protocol: number) => number = bind("socket", "int", [
  "int",
  "int",
  "int",
]);
export const bindSocket: (fd: number, address: number, length: number) => number = bind("bind", "int", [
  "int",
  address,
  "int",
]);
export const connectSocket: (fd: number, address: number, length: number) => number = bind("connect", "int", [
  "int",
  address,
  "int",
]);
/** `length` is the address of the value's size, an int. */
export const getsockopt: (fd: number, level: number, name: number, value: number, length: number) => number =
  bind("getsockopt", "int", ["int", "int", "int", address, address]);
export const setsockopt: (fd: number, level: number, name: number, value: number, length: number) => number =
  bind("setsockopt", "int", ["int", "int", "int", address, "int"]);
/** `messages` is the address of `count` struct mmsghdr; `timeout` of recvmmsg is 0 for none. */
export const sendmmsg: (fd: number, messages: number, count: number, flags: number) => number = bind(
  "sendmmsg",
  "int",
  ["int", address, "uint", "int"],
);
export const recvmmsg: (
  fd: number,
  messages: number,
  count: number,
  flags: number,
  timeout: number,
) => number = bind("recvmmsg", "int", ["int", address, "uint", "int", address]);
/** `vector` is the address of `count` struct iovec. */
export const writev: (fd: number, vector: number, count: number) => number = bind("writev", ssize, [
  "int",
  address,
  "int",
]);

/** Of the calling thread where `pid` is 0; `parameters` is the address of a struct sched_param. */
export const schedSetscheduler: (pid: number, policy: number, parameters: number) => number = bind(
  "sched_setscheduler",
  "int",
  ["int", "int", address],
);

/** From asm-generic/fcntl.h, sys/poll.h and bits/socket.h; the same on every architecture that Node 20 supports. */
export const O_RDONLY = 0;
export const O_RDWR = 2;
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;
export const F_GETFL = 3;
export const F_SETFL = 4;
const F_DUPFD_CLOEXEC = 1030;
export const POLLIN = 0x001;
export const POLLOUT = 0x004;
export const POLLERR = 0x008;
export const POLLHUP = 0x010;
export const POLLNVAL = 0x020;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const MSG_DONTWAIT = 0x40;

/** The calling thread's errno. Meaningful only straight after a call that failed. */
export const errno = (): number => koffi.errno();

const errnoNames = new Map(Object.entries(constants.errno).map(([name, value]) => [value, name]));

/** A system call that failed: what was being done, the errno by name, and what to do next where we know it. */
export class SystemError extends Error {
  override readonly name = "SystemError";
  readonly errno: number;
  /** The errno's name, e.g. "EPERM". */
  readonly code: string;

  constructor(doing: string, number: number, advice?: string) {
    const code = errnoNames.get(number) ?? `errno ${number}`;
    super(advice === undefined ? `${doing}: ${code}` : `${doing}: ${code}; ${advice}`);
    this.errno = number;
    this.code = code;
  }
}

/**
 * Passes a system call's result through, or throws when it is negative.
 * @throws SystemError that says what was being done.
 */
export function check(result: number, doing: string, advice?: string): number {
  if (result < 0) throw new SystemError(doing, errno(), advice);
  return result;
}
