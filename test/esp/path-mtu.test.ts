/*
 *   left                        router                        right
 *   ipsec0 10.9.0.1, fd09::1                                  ipsec0 10.9.0.2, fd09::2
 *   v0 ==== MTU 1500 ==== l0                r0 ==== less ==== v0
 */
import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import test, { type ExecutionContext } from "ava";
import { innerMtu } from "../../src/esp/index.js";
import { ip, makeNamespace, whyNoNamespaces } from "../sys/namespace.js";
import { compileShim, connectionOf, makeNode, type Node } from "./tun-node.js";

const reason = whyNoNamespaces();
const rooted = reason === null ? test.serial : test.serial.skip;
const suffix = reason === null ? "" : ` (${reason})`;
const run = promisify(execFile);

const PREFIX = { 4: ["192.0.2.", "198.51.100."], 6: ["2001:db8:1::", "2001:db8:2::"] } as const;
const IPV6_MIN_MTU = 1280;
const INNER_SIZE = 1400;

async function makePath(
  t: ExecutionContext,
  family: 4 | 6,
  encapsulation: "udp" | "none",
  mtu: number,
): Promise<[Node, Node]> {
  const shim = compileShim(t);
  const [left, router, right] = [makeNamespace(t), makeNamespace(t), makeNamespace(t)];
  const keys = [randomBytes(20), randomBytes(20)] as const;
  const [near, far] = PREFIX[family];
  const length = family === 4 ? 24 : 64;
  for (const [end, link, prefix] of [
    [left, "l0", near],
    [right, "r0", far],
  ] as const) {
    ip("-n", end, "link", "add", "v0", "type", "veth", "peer", "name", link, "netns", router);
    for (const [name, device, host] of [
      [end, "v0", 1],
      [router, link, 254],
    ] as const) {
      const nodad = family === 6 ? ["nodad"] : [];
      ip("-n", name, "addr", "add", `${prefix}${host}/${length}`, "dev", device, ...nodad);
      ip("-n", name, "link", "set", device, "mtu", String(end === right ? mtu : 1500), "up");
    }
    // A raw socket of IPv6 is no use to the router's answer (net/ipv6/raw.c, rawv6_err): there the route has to say it.
    const known = family === 6 && encapsulation === "none" ? ["mtu", String(mtu)] : [];
    ip("-n", end, `-${family}`, "route", "add", "default", "via", `${prefix}254`, ...known);
  }
  const forwarding = family === 4 ? "net.ipv4.ip_forward" : "net.ipv6.conf.all.forwarding";
  await run("ip", ["netns", "exec", router, "sysctl", "-qw", `${forwarding}=1`]);
  const node = (name: string, host: 1 | 2, local: string, remote: string): Promise<Node> =>
    makeNode(t, name, shim, host, { ...connectionOf(host, local, remote, keys), encapsulation });
  return [await node(left, 1, `${near}1`, `${far}1`), await node(right, 2, `${far}1`, `${near}1`)];
}

/** Sends `bytes` by TCP. @returns what either end says of them */
async function transfer(t: ExecutionContext, from: Node, to: Node, address: string, bytes: number) {
  const fixture = fileURLToPath(new URL("./tcp-fixture.js", import.meta.url));
  const receive = ["netns", "exec", to.name, process.execPath, fixture, "receive", address];
  const receiver = spawn("ip", receive, { stdio: ["ignore", "pipe", "inherit"] });
  t.teardown(() => receiver.kill());
  const lines = createInterface(receiver.stdout)[Symbol.asyncIterator]();
  t.is((await lines.next()).value, "listening");
  const send = ["netns", "exec", from.name, process.execPath, fixture, "send", address, String(bytes)];
  const { stdout } = await run("ip", send, { timeout: 60_000 });
  return [stdout.trim(), (await lines.next()).value];
}

/** Fragments that a namespace has made of packets of its own or of others, of either family. */
async function fragmentsOf(name: string): Promise<number> {
  const { stdout } = await run("ip", [
    "netns",
    "exec",
    name,
    "nstat",
    "-asz",
    "IpFragCreates",
    "Ip6FragCreates",
  ]);
  return [...stdout.matchAll(/FragCreates\s+(\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
}

for (const [outer, encapsulation, mtu] of [
  [4, "udp", 1300],
  [6, "udp", 1400],
  [4, "none", 1400],
  [6, "none", 1300],
] as const) {
  rooted(
    `DF packets and those of IPv6 that a path of ${mtu} bytes does not take are answered, ${encapsulation === "udp" ? "UDP" : "bare ESP"} over IPv${outer}${suffix}`,
    async (t) => {
      const [left, right] = await makePath(t, outer, encapsulation, mtu);
      const ping = async (address: string, size: number, ...args: string[]): Promise<string> => {
        const headers = address.includes(":") ? 48 : 28;
        const words = ["-n", "-c", "1", "-W", "1", "-s", String(size - headers), ...args, address];
        const done = await run("ip", ["netns", "exec", left.name, "ping", ...words]).catch((error) => error);
        return `${done.stdout}${done.stderr}`;
      };
      let said = "";
      for (const [address, inner] of [
        ["10.9.0.2", 4],
        ["fd09::2", 6],
      ] as const) {
        const wrapping = {
          suite: "aes128-gcm",
          mode: "tunnel",
          encapsulation,
          innerFamily: inner,
        } as const;
        const expected = innerMtu(mtu, { ...wrapping, outerFamily: outer });
        const limit = inner === 6 ? Math.max(expected, IPV6_MIN_MTU) : expected;
        // The router's answer to the first comes to the kernel, which tells us when we send the next one.
        said = "";
        for (let tries = 0; tries < 10 && !said.includes("mtu"); tries++)
          said = await ping(address, INNER_SIZE, "-M", "do");
        t.regex(said, new RegExp(`mtu[ =]+${limit}\\b`), address);
        t.regex(ip("-n", left.name, "route", "get", address), new RegExp(`mtu ${limit}\\b`));
        const before = await fragmentsOf(left.name);
        t.regex(await ping(address, limit, "-M", "do"), / 1 received/);
        const [sent, received] = await transfer(t, left, right, address, 3_000_000);
        t.is(received, sent);
        // The least MTU of IPv6 is owed to it even where that takes fragments.
        const fragments = (await fragmentsOf(left.name)) - before;
        t.is(fragments > 0, limit > expected, `${fragments} fragments`);
      }
      // Without DF it leaves in outer fragments, whole itself once the kernel has forgotten what it was told.
      const dropped = () => left.datapath.statistics().errors.XfrmOutStateModeError;
      const before = dropped();
      t.true(before > 0);
      ip("-n", left.name, "route", "flush", "cache");
      said = "";
      for (let tries = 0; tries < 10 && !said.includes(" 1 received"); tries++)
        said = await ping("10.9.0.2", INNER_SIZE, "-M", "dont");
      t.regex(said, / 1 received/);
      t.is(dropped(), before);
      t.is(left.datapath.statistics().io.txErrors, 0);
    },
  );
}
