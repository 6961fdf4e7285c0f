import { check, close, O_CLOEXEC, O_RDONLY, open, setns } from "./libc.js";

/** linux/sched.h */
const CLONE_NEWNET = 0x40000000;

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
