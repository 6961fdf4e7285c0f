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

/** <linux/socket.h>, <linux/netlink.h> */
const AF_NETLINK = 16;
const NETLINK_ROUTE = 0;
const NETLINK_XFRM = 6;
/** struct sockaddr_nl: family, padding, port, groups. */
const SOCKADDR_NL_SIZE = 12;
const BUFFER_SIZE = 65536;

/** Numbers of groups in <linux/rtnetlink.h>: links, addresses, routes and rules of both families, nexthop objects. */
const RTNLGRP = {
  LINK: 1,
  IPV4_IFADDR: 5,
  IPV4_ROUTE: 7,
  IPV4_RULE: 8,
  IPV6_IFADDR: 9,
  IPV6_ROUTE: 11,
  IPV6_RULE: 19,
  NEXTHOP: 32,
};
/** In <linux/xfrm.h>. Messages of this group have the outer addresses, and no keys as those of SAs have. */
const XFRMNLGRP_POLICY = 4;

/** A socket that the kernel tells of changes; the changes themselves are not looked at. */
class Subscription {
  readonly #fd: number;
  readonly #buffer = new Slab(BUFFER_SIZE);

  /** In the calling thread's network namespace. @throws SystemError */
  constructor(protocol: number, groups: readonly number[], doing: string) {
    this.#fd = check(socket(AF_NETLINK, SOCK_RAW | O_NONBLOCK | O_CLOEXEC, protocol), doing);
    const address = new Slab(SOCKADDR_NL_SIZE);
    address.view.setUint16(0, AF_NETLINK, LITTLE_ENDIAN);
    address.view.setUint32(
      8,
      groups.reduce((mask, group) => mask | (1 << (group - 1)), 0) >>> 0,
      LITTLE_ENDIAN,
    );
    try {
      check(bindSocket(this.#fd, address.base, SOCKADDR_NL_SIZE), doing);
    } catch (error) {
      close(this.#fd);
      throw error;
    }
  }

  /** Takes what has come; true where there was something, or more than the socket could hold (ENOBUFS). */
  drain(): boolean {
    let changed = false;
    for (;;) {
      if (read(this.#fd, this.#buffer.base, BUFFER_SIZE) < 0) {
        if (errno() !== constants.errno.ENOBUFS) return changed;
      }
      changed = true;
    }
  }

  close(): void {
    close(this.#fd);
  }
}

/** How often is looked whether something changed. */
const LOOK_MS = 100;
/** The answer to a change takes at most one part of this many of the time, however often something changes. */
const SHARE = 10;

export interface Watch {
  /** Nothing is called from now on; resolves when a call that runs has ended. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Calls `onChange` after links, addresses, routes or rules of the calling thread's network namespace have changed, with
 * `xfrm` also after IPsec policies have: once for all changes of the last moment, and never while a former call runs.
 * What `onChange` throws or rejects with goes to `onError`.
 *
 * The sockets are looked at by a timer: a thread to wait for them would cost 10 MB, and Node has no way to wait for them.
 *
 * @throws SystemError
 */
export function watchNetwork(
  onChange: () => void | Promise<void>,
  onError: (error: Error) => void,
  { xfrm = false } = {},
): Watch {
  const subscriptions = [new Subscription(NETLINK_ROUTE, Object.values(RTNLGRP), "following routes")];
  if (xfrm) {
    try {
      subscriptions.push(new Subscription(NETLINK_XFRM, [XFRMNLGRP_POLICY], "following IPsec policies"));
    } catch {
      // A kernel without CONFIG_XFRM_USER has no policies that could change.
    }
  }
  let stopped = false;
  let timer: NodeJS.Timeout;
  let looking = Promise.resolve();
  const look = async () => {
    let took = 0;
    // Not some(): each is to be emptied.
    if (subscriptions.map((each) => each.drain()).includes(true)) {
      const started = performance.now();
      try {
        await onChange();
      } catch (error) {
        if (!stopped) onError(error as Error);
      }
      took = performance.now() - started;
    }
    if (!stopped) lookIn(Math.max(LOOK_MS, SHARE * took));
  };
  const lookIn = (ms: number) => {
    timer = setTimeout(() => {
      looking = look();
    }, ms);
  };
  lookIn(LOOK_MS);
  return {
    stop: async () => {
      if (!stopped) {
        stopped = true;
        clearTimeout(timer);
        for (const each of subscriptions) each.close();
      }
      await looking;
    },
  };
}
