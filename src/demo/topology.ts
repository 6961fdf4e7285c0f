import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ip } from "../sys/ip.js";
import { packageRoot } from "../sys/paths.js";
import { PrivateFolder, removeLeftover } from "../sys/private-folder.js";
import { clearRuntimeDir, makeRuntimeRoot, RUNTIME_ROOT } from "../sys/runtime-dir.js";
import type { Scope } from "../sys/scope.js";

export const DRAWING = `
                 hub                      rules on protocol and port decide
       10.0.0.1     fd00::1                 connection site-a: if_id 101
            [ ipsec0 ]                      connection site-b: if_id 102
           192.0.2.1                        what no rule matches is dropped
          /           \\
       wan-a         wan-b                ESP in UDP, nothing in the clear
        /               \\
   192.0.2.2         192.0.2.3
    site-a             site-b
  [ ipsec0 ]         [ ipsec0 ]           BOTH own 192.168.1.200 and fd00:1::200`.slice(1);

export const HUB = { ipv4: "10.0.0.1", ipv6: "fd00::1" } as const;
export const SITE = { ipv4: "192.168.1.200", ipv6: "fd00:1::200" } as const;
export type SiteName = "site-a" | "site-b";

/** Outer addresses, suites and SPIs are those of examples/hub-and-sites, whose policy the hub runs. */
export const CONNECTIONS: Readonly<Record<SiteName, Connection>> = {
  "site-a": {
    ifId: 101,
    remote: "192.0.2.2",
    suite: "aes128-gcm",
    keyBytes: 20,
    spiOut: 0x1001,
    spiIn: 0x1002,
  },
  "site-b": {
    ifId: 102,
    remote: "192.0.2.3",
    suite: "aes256-gcm",
    keyBytes: 36,
    spiOut: 0x2001,
    spiIn: 0x2002,
  },
};
export const HUB_OUTER = "192.0.2.1";

interface Connection {
  readonly ifId: number;
  readonly remote: string;
  readonly suite: string;
  readonly keyBytes: number;
  readonly spiOut: number;
  readonly spiIn: number;
}

const PREFIX = "xfrm-steer-demo-";

/** The demo's namespaces, named after its process, and a private folder with its policies and fresh keys. */
export interface Topology {
  readonly netns: Readonly<Record<"hub" | SiteName, string>>;
  readonly folder: string;
  /** Policy file of each. */
  readonly policy: Readonly<Record<"hub" | SiteName, string>>;
}

export function buildTopology(scope: Scope): Topology {
  const name = (node: string) => `${PREFIX}${process.pid}-${node}`;
  const netns = { hub: name("hub"), "site-a": name("site-a"), "site-b": name("site-b") };
  scope.defer(() => Object.values(netns).forEach(removeNetns));
  for (const ns of Object.values(netns)) {
    ip("netns", "add", ns);
    ip("-n", ns, "link", "set", "lo", "up");
  }
  for (const [site, wan] of [
    ["site-a", "wan-a"],
    ["site-b", "wan-b"],
  ] as const) {
    const { remote } = CONNECTIONS[site];
    ip("-n", netns.hub, "link", "add", wan, "type", "veth", "peer", "name", "wan", "netns", netns[site]);
    ip("-n", netns.hub, "address", "add", HUB_OUTER, "peer", remote, "dev", wan);
    ip("-n", netns[site], "address", "add", remote, "peer", HUB_OUTER, "dev", "wan");
    for (const [ns, device] of [
      [netns.hub, wan],
      [netns[site], "wan"],
    ] as const) {
      // The wires are IPv4; IPv6 would send router solicitations and the like over them.
      ip("netns", "exec", ns, "sh", "-c", `echo 1 > /proc/sys/net/ipv6/conf/${device}/disable_ipv6`);
      // A capture is to see ESP packets as a real wire carries them, not several in one GSO packet.
      ip("-n", ns, "link", "set", device, "gso_max_segs", "1", "up");
    }
  }
  return { netns, ...writePolicies(scope) };
}

/** Routes into the sites' steering interfaces, once these are up; the hub's policy makes its own. */
export function addRoutes({ netns }: Topology): void {
  const route = (ns: string, ...destinations: string[]) => {
    for (const destination of destinations) ip("-n", ns, "route", "add", destination, "dev", "ipsec0");
  };
  route(netns["site-a"], HUB.ipv4, HUB.ipv6);
  route(netns["site-b"], HUB.ipv4, HUB.ipv6);
}

function writePolicies(scope: Scope): Pick<Topology, "folder" | "policy"> {
  makeRuntimeRoot();
  const own = new PrivateFolder(`${PREFIX}${process.pid}-`, RUNTIME_ROOT);
  scope.defer(() => own.remove());
  const folder = own.path;
  mkdirSync(join(folder, "keys"), { mode: 0o700 });
  const policy = {
    hub: join(folder, "hub.yaml"),
    "site-a": join(folder, "site-a.yaml"),
    "site-b": join(folder, "site-b.yaml"),
  };
  writeFileSync(policy.hub, readFileSync(join(packageRoot, "examples", "hub-and-sites", "steer.yaml")));
  for (const site of ["site-a", "site-b"] as const) {
    const { keyBytes } = CONNECTIONS[site];
    for (const direction of ["out", "in"])
      writeFileSync(keyFile(folder, site, direction), `${randomBytes(keyBytes).toString("hex")}\n`, {
        mode: 0o600,
      });
    writeFileSync(policy[site], sitePolicy(site));
  }
  return { folder, policy };
}

/** The file with a hub SA's key; the site's SA of the other direction has the same. */
export function keyFile(folder: string, site: SiteName, direction: string): string {
  return join(folder, "keys", `${site}-${direction}.key`);
}

function sitePolicy(site: SiteName): string {
  const { remote, suite, spiOut, spiIn } = CONNECTIONS[site];
  return `version: 1
interface: {name: ipsec0, addresses: [${SITE.ipv4}/32, "${SITE.ipv6}/128"]}
connections:
  hub:
    if_id: 1
    subnets: [${HUB.ipv4}/32, "${HUB.ipv6}/128"]
    esp:
      local: ${remote}
      remote: ${HUB_OUTER}
      suite: ${suite}
      out: {spi: ${spiIn}, key: file:keys/${site}-in.key}
      in: {spi: ${spiOut}, key: file:keys/${site}-out.key}
`;
}

/** Removes a namespace, ends what still runs in it, and clears what a killed service left of itself. */
function removeNetns(ns: string): void {
  if (!netnsNames().includes(ns)) return;
  for (const pid of ip("netns", "pids", ns).split("\n").filter(Boolean)) {
    try {
      process.kill(Number(pid), "SIGKILL");
    } catch {
      // It has ended by itself.
    }
  }
  clearRuntimeDir(ns);
  ip("netns", "delete", ns);
}

function netnsNames(): string[] {
  return ip("netns", "list")
    .split("\n")
    .map((line) => line.split(" ")[0] ?? "")
    .filter(Boolean);
}

/** Clears what demos left that were killed and could not do it themselves. */
export function clearLeftovers(): string[] {
  const stale = (name: string) => {
    const pid = Number(/^xfrm-steer-demo-(\d+)-/.exec(name)?.[1]);
    return pid > 0 && pid !== process.pid && !isDemo(pid);
  };
  const namespaces = netnsNames().filter(stale);
  namespaces.forEach(removeNetns);
  // Where nobody but root makes folders: in /tmp anybody can make one of such a name.
  makeRuntimeRoot();
  for (const folder of readdirSync(RUNTIME_ROOT).filter(stale)) removeLeftover(join(RUNTIME_ROOT, folder));
  return namespaces;
}

function isDemo(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1").split("\0").includes("demo");
  } catch {
    return false;
  }
}
