/** Ends of tunnels with TUN devices, in namespaces of the tests' own. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { arch, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ExecutionContext } from "ava";
import { type ConnectionConfig, type Datapath, innerMtu, startDatapath } from "../../src/esp/index.js";
import { inNetns } from "../../src/sys/netns.js";
import { openTun } from "../../src/sys/tun.js";
import { ip } from "../sys/namespace.js";

/** That of the veth devices underneath is 1500. */
export const TUNNEL_MTU = innerMtu(1500, {
  suite: "aes128-gcm",
  mode: "tunnel",
  encapsulation: "udp",
  outerFamily: 4,
  innerFamily: 4,
});

/** @returns the BPF programs that give every packet to if_id 101 */
export function compileShim(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), "xs-shim-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const source = fileURLToPath(new URL("../../../test/esp/fixtures/shim.bpf.c", import.meta.url));
  const object = join(folder, "shim.bpf.o");
  const machine = arch() === "arm64" ? "aarch64" : "x86_64";
  execFileSync("clang", [
    "-O2",
    "-g",
    "-target",
    "bpf",
    `-I/usr/include/${machine}-linux-gnu`,
    "-c",
    source,
    "-o",
    object,
  ]);
  return object;
}

export interface Node {
  readonly name: string;
  readonly datapath: Datapath;
}

/**
 * Makes one end of a tunnel in a namespace: its TUN device `ipsec0` has the addresses 10.9.0.HOST and fd09::HOST.
 */
export async function makeNode(
  t: ExecutionContext,
  name: string,
  shim: string,
  host: 1 | 2,
  connection: ConnectionConfig,
): Promise<Node> {
  const tun = inNetns(name, () => openTun("ipsec0"));
  t.teardown(() => tun.close());
  const tc = (...args: string[]) =>
    execFileSync("tc", ["-n", name, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  tc("qdisc", "add", "dev", "ipsec0", "clsact");
  for (const hook of ["egress", "ingress"]) {
    tc("filter", "add", "dev", "ipsec0", hook, "bpf", "da", "obj", shim, "sec", hook);
  }
  ip("-n", name, "link", "set", "ipsec0", "mtu", String(TUNNEL_MTU), "up");
  ip("-n", name, "addr", "add", `10.9.0.${host}/24`, "dev", "ipsec0");
  ip("-n", name, "addr", "add", `fd09::${host}/64`, "dev", "ipsec0", "nodad");
  const datapath = await inNetns(name, () => startDatapath({ tunFds: [tun.fd], connections: [connection] }));
  t.teardown(() => datapath.stop().catch(() => {}));
  return { name, datapath };
}

/** One end's half of a connection between two addresses. @param keys of `host` 1's packets, and of 2's */
export const connectionOf = (
  host: 1 | 2,
  local: string,
  remote: string,
  keys: readonly [Buffer, Buffer],
): ConnectionConfig => ({
  ifId: 101,
  link: 0,
  local,
  localPort: 4500,
  remote,
  remotePort: 4500,
  suite: "aes128-gcm",
  out: { spi: 0x1000 + host, key: Buffer.from(keys[host - 1] as Buffer) },
  in: { spi: 0x1003 - host, key: Buffer.from(keys[2 - host] as Buffer) },
  replayWindow: 1024,
});
