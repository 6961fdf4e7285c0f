import {
  AF_INET,
  check,
  close,
  getsockopt,
  O_CLOEXEC,
  O_RDONLY,
  open,
  SOCK_DGRAM,
  setns,
  socket,
} from "./libc.js";
import { Slab } from "./slab.js";

/** linux/sched.h */
const CLONE_NEWNET = 0x40000000;

/** asm-generic/socket.h */
const SOL_SOCKET = 1;
const SO_NETNS_COOKIE = 71;

/**
 * Number of the calling thread's network namespace, which no other has until the machine starts anew (SO_NETNS_COOKIE,
 * Linux 5.14): an inode's number is given to the next namespace when one is deleted.
 */
export function netnsCookie(): bigint {
  const doing = "asking for the network namespace's cookie";
  const fd = check(socket(AF_INET, SOCK_DGRAM, 0), doing);
  try {
    const answer = new Slab(16);
    answer.view.setUint32(8, 8, true);
    check(getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, answer.base, answer.base + 8), doing);
    return answer.view.getBigUint64(0, true);
  } finally {
    close(fd);
  }
}

function setNetns(path: string, doing: string): void {
  const fd = check(
    open(path, O_RDONLY | O_CLOEXEC),
    doing,
    "`ip netns list` shows the namespaces that exist",
  );
  try {
    check(setns(fd, CLONE_NEWNET), doing, "entering a network namespace needs CAP_SYS_ADMIN");
  } finally {
    close(fd);
  }
}

/**
 * Moves the calling thread into a network namespace made by `ip netns add`. Threads that it starts later (Workers
 * included) begin there; sockets and TUN devices stay in the namespace in which they were opened.
 * /sys keeps showing the namespace in which it was mounted.
 * @throws SystemError when the namespace is missing or the right to enter it.
 */
export function enterNetns(name: string): void {
  setNetns(`/run/netns/${name}`, `entering the network namespace ${name}`);
}

/**
 * Runs `work` in a named network namespace and returns to the one before. `work` must be synchronous: whatever else
 * runs on the thread in between would find itself in the wrong namespace.
 */
export function inNetns<T>(name: string, work: () => T): T {
  const doing = "returning to the network namespace before";
  const before = check(
    open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC),
    "opening the current network namespace",
  );
  try {
    enterNetns(name);
    try {
      return work();
    } finally {
      check(setns(before, CLONE_NEWNET), doing);
    }
  } finally {
    close(before);
  }
}

/**
 * As inNetns, for work that is not synchronous: the whole thread is in the other namespace until it is done, so this is
 * only for a process that does nothing else in the meantime.
 */
export async function withinNetns<T>(name: string, work: () => Promise<T>): Promise<T> {
  const before = check(
    open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC),
    "opening the current network namespace",
  );
  try {
    enterNetns(name);
    return await work();
  } finally {
    check(setns(before, CLONE_NEWNET), "returning to the network namespace before");
    close(before);
  }
}
