import { constants } from "node:os";
import {
  bindSocket,
  check,
  close,
  errno,
  O_CLOEXEC,
  O_NONBLOCK,
  read,
  SOCK_RAW,
  socket,
} from "../sys/libc.js";
import { Slab } from "../sys/slab.js";
import { LITTLE_ENDIAN } from "./attributes.js";

/** <linux/netlink.h>, <linux/rtnetlink.h>: RTMGRP_LINK, RTMGRP_IPV4_ROUTE and RTMGRP_IPV6_ROUTE. */
const AF_NETLINK = 16;
const NETLINK_ROUTE = 0;
const GROUPS = 0x1 | 0x40 | 0x400;
/** struct sockaddr_nl: family, padding, port, groups. */
const SOCKADDR_NL_SIZE = 12;
const BUFFER_SIZE = 65536;
const POLL_MS = 50;

/**
 * Calls `changed` after devices or routes of the calling thread's network namespace have changed, at most once in 50 ms.
 * It does not keep the process alive.
 *
 * @returns what ends it
 * @throws SystemError
 */
export function watchRoutes(changed: () => void): () => void {
  const doing = "watching the routes";
  const fd = check(socket(AF_NETLINK, SOCK_RAW | O_NONBLOCK | O_CLOEXEC, NETLINK_ROUTE), doing);
  const buffer = new Slab(BUFFER_SIZE);
  buffer.view.setUint16(0, AF_NETLINK, LITTLE_ENDIAN);
  buffer.view.setUint32(8, GROUPS, LITTLE_ENDIAN);
  try {
    check(bindSocket(fd, buffer.base, SOCKADDR_NL_SIZE), doing);
  } catch (error) {
    close(fd);
    throw error;
  }
  // Node polls no sockets but its own kinds.
  const timer = setInterval(() => {
    let some = false;
    while (read(fd, buffer.base, BUFFER_SIZE) > 0) some = true;
    // More changes than the socket's buffer took.
    if (errno() === constants.errno.ENOBUFS) some = true;
    if (some) changed();
  }, POLL_MS);
  timer.unref();
  return () => {
    clearInterval(timer);
    close(fd);
  };
}
