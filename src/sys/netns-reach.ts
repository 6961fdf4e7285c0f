import { readdirSync, readFileSync, readlinkSync } from "node:fs";

const INTERVAL_MS = 5_000;
const OWN = "/proc/thread-self/ns/net";

/**
 * Calls `onUnreachable` once nobody but this process can come into its network namespace any more: `ip netns delete`
 * takes a namespace's name away, and leaves it to the processes that are in it.
 */
export function watchNamespace(onUnreachable: () => void, intervalMs = INTERVAL_MS): { close(): void } {
  let missed = 0;
  const timer = setInterval(() => {
    // Twice: a process may be on its way from one thing that reaches the namespace to another.
    missed = isReachable() ? 0 : missed + 1;
    if (missed < 2) return;
    clearInterval(timer);
    onUnreachable();
  }, intervalMs).unref();
  return { close: () => clearInterval(timer) };
}

/**
 * Whether anything but this process leads into the calling thread's network namespace: it is that of the first process, it
 * has a name (a mount of nsfs), another process is in it, or one has its descriptor.
 */
function isReachable(): boolean {
  const own = readlinkSync(OWN); // net:[4026531840]
  return link("/proc/1/ns/net") === own || isMounted(own) || processes().some((pid) => leadsTo(pid, own));
}

/** Field 4 of /proc/self/mountinfo is the root of the mount, which of nsfs is the namespace (proc(5)). */
function isMounted(namespace: string): boolean {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .some((line) => line.split(" ")[3] === namespace);
}

function processes(): string[] {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name) && name !== `${process.pid}`);
}

function leadsTo(pid: string, namespace: string): boolean {
  if (link(`/proc/${pid}/ns/net`) === namespace) return true;
  return entries(`/proc/${pid}/fd`).some((fd) => link(`/proc/${pid}/fd/${fd}`) === namespace);
}

/** Null for what is gone, or may not be seen. */
function link(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}

function entries(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
