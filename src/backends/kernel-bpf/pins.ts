import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readlinkSync, rmdirSync, rmSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { BpfMap, type BpfObject, ensureBpffs, TcxLink } from "libbpf-ts";
import { withLock } from "../../sys/lock.js";
import { namespaceFolder } from "../../sys/runtime-dir.js";
import { BackendError } from "../errors.js";
import type { LiveFlowMaps } from "../live-flows.js";

/**
 * Where links, programs and counters are pinned. Not below /sys/fs/bpf, which `ip netns exec` covers with a /sys of its
 * own: what is pinned from in there would be gone with the command.
 *
 *   /run/xfrm-steer/bpf/             a bpffs of our own, mounted while something is pinned
 *     net-COOKIE/if-IFINDEX/         one interface (a name could hold a dot, which bpffs refuses)
 *       egress, ingress              tcx links
 *       gen-N/                       xfrm_egress, xfrm_ingress, tx_counters, rx_counters; with live flows their maps
 *     net-COOKIE/underlay-.../       see src/backends/underlay/pins.ts
 */
const PARENT = "/run/xfrm-steer";
export const PIN_ROOT = join(PARENT, "bpf");
/** BPF_FS_MAGIC, linux/magic.h. */
const BPF_FS_MAGIC = 0xcafe4a11;

const LIVE_FLOWS = ["live_flows", "live_flows_used"] as const;
export type Pinned =
  | "xfrm_egress"
  | "xfrm_ingress"
  | "tx_counters"
  | "rx_counters"
  | (typeof LIVE_FLOWS)[number];

/** The folder of pins of one interface in the calling thread's network namespace. */
export class PinDir {
  readonly path: string;

  constructor(ifindex: number) {
    this.path = join(PIN_ROOT, namespaceFolder(), `if-${ifindex}`);
  }

  link(direction: "egress" | "ingress"): string {
    return join(this.path, direction);
  }

  generation(number: number, what: Pinned): string {
    return join(this.path, `gen-${number}`, what);
  }

  /** See makePinFolder(). */
  make(): Promise<void> {
    return makePinFolder(this.path);
  }

  pinGeneration(number: number, object: BpfObject, live: LiveFlowMaps | null): void {
    mkdirSync(join(this.path, `gen-${number}`), { mode: 0o700 });
    for (const name of ["xfrm_egress", "xfrm_ingress"] as const)
      object.program(name).pin(this.generation(number, name));
    for (const name of ["tx_counters", "rx_counters"] as const)
      object.map(name).pin(this.generation(number, name));
    live?.flows.pin(this.generation(number, "live_flows"));
    live?.used.pin(this.generation(number, "live_flows_used"));
  }

  /** The live flows' maps of a generation, for the caller to close; null where it has none. */
  openLiveFlows(number: number): (LiveFlowMaps & Disposable) | null {
    if (!existsSync(this.generation(number, "live_flows"))) return null;
    const [flows, used] = LIVE_FLOWS.map((name) => BpfMap.openPinned(this.generation(number, name))) as [
      BpfMap,
      BpfMap,
    ];
    return {
      flows,
      used,
      [Symbol.dispose]: () => {
        flows.close();
        used.close();
      },
    };
  }

  /** Unpins all generations but these. */
  keepGenerations(numbers: readonly number[]): void {
    if (!existsSync(this.path)) return;
    const keep = new Set(["egress", "ingress", ...numbers.map((number) => `gen-${number}`)]);
    for (const name of readdirSync(this.path)) if (!keep.has(name)) removePins(join(this.path, name));
  }

  /** Unpins everything, and unmounts bpffs where nothing else is pinned. */
  remove(): Promise<void> {
    return removePinFolder(this.path);
  }
}

/** Makes a folder, and mounts bpffs where it is not. @throws BackendError where the mount would not last */
export async function makePinFolder(path: string): Promise<void> {
  await withLock(PARENT, () => {
    mountPinRoot();
    sweepDead();
    mkdirSync(path, { recursive: true, mode: 0o700 });
  });
}

/** Unpins everything of a folder, and unmounts bpffs where nothing else is pinned. */
export async function removePinFolder(path: string): Promise<void> {
  await withLock(PARENT, () => {
    removePins(path);
    sweepDead();
    if (existsSync(PIN_ROOT) && isMounted() && namespaces().length === 0) unmountPinRoot();
  });
}

function isMounted(): boolean {
  return statfsSync(PIN_ROOT).type === BPF_FS_MAGIC;
}

/** Folders of network namespaces; the kernel may put files of its own beside them (CONFIG_BPF_PRELOAD). */
function namespaces(): string[] {
  return readdirSync(PIN_ROOT).filter((name) => name.startsWith("net-"));
}

function mountPinRoot(): void {
  if (existsSync(PIN_ROOT) && isMounted()) return;
  if (!isInitsMountNamespace())
    throw new BackendError(
      "this process has a mount namespace of its own, as under `ip netns exec`, and what it pins would end with that; " +
        `use \`xfrm-steer --netns NAME\`, or first \`mount -t bpf bpf ${PIN_ROOT}\` where it is to last`,
    );
  ensureBpffs(PIN_ROOT);
}

/** Where we may not look at init, as in some sandboxes, we take it for granted. */
function isInitsMountNamespace(): boolean {
  try {
    return readlinkSync("/proc/self/ns/mnt") === readlinkSync("/proc/1/ns/mnt");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EACCES") return true;
    throw error;
  }
}

function unmountPinRoot(): void {
  if (spawnSync("umount", [PIN_ROOT], { stdio: "ignore" }).status === 0) rmdirSync(PIN_ROOT);
}

/** Removes what is pinned for devices that are gone, with their network namespaces for example. */
function sweepDead(): void {
  if (!existsSync(PIN_ROOT)) return;
  for (const netns of namespaces()) {
    const folder = join(PIN_ROOT, netns);
    for (const device of readdirSync(folder))
      if (isDead(join(folder, device))) removePins(join(folder, device));
    if (readdirSync(folder).length === 0) rmdirSync(folder);
  }
}

/** Tcx links whose devices are gone say ifindex 0. Without a link (clsact) one cannot tell. */
function isDead(folder: string): boolean {
  const links = readdirSync(folder).filter((name) => name === "egress" || name.startsWith("link-"));
  return links.length > 0 && links.every((name) => !isAttached(join(folder, name)));
}

/** Whether a pinned tcx link still has its device. */
export function isAttached(path: string): boolean {
  using link = TcxLink.openPinned(path);
  return link.ifindex !== 0;
}

function removePins(path: string): void {
  rmSync(path, { recursive: true, force: true });
}
