/*
 *   left namespace                                  right namespace
 *   ipsec0 10.9.0.1, fd09::1                        ipsec0 10.9.0.2, fd09::2
 *     | shim, if_id 101                               | shim, if_id 101
 *   data path --- v0 192.0.2.1 ==== veth ==== 192.0.2.2 v0 --- data path
 */
import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import test, { type ExecutionContext } from "ava";
import { close } from "../../src/sys/libc.js";
import { inNetns } from "../../src/sys/netns.js";
import { PollSet } from "../../src/sys/poll-set.js";
import { Slab } from "../../src/sys/slab.js";
import { parseAddress } from "../../src/sys/sockaddr.js";
import { openUdpSocket } from "../../src/sys/udp.js";
import { ReceiveVector } from "../../src/sys/udp-receive.js";
import { Destination, SendVector } from "../../src/sys/udp-send.js";
import { ip, makeNamespace, whyNoNamespaces } from "../sys/namespace.js";
import { compileShim, connectionOf, makeNode, type Node, TUNNEL_MTU } from "./tun-node.js";

const reason = whyNoNamespaces();
const rooted = reason === null ? test.serial : test.serial.skip;
const suffix = reason === null ? "" : ` (${reason})`;
const run = promisify(execFile);

async function makeTunnel(t: ExecutionContext): Promise<[Node, Node]> {
  const shim = compileShim(t);
  const left = makeNamespace(t);
  const right = makeNamespace(t);
  ip("-n", left, "link", "add", "v0", "type", "veth", "peer", "name", "v0", "netns", right);
  const keys = [randomBytes(20), randomBytes(20)] as const;
  const node = (name: string, host: 1 | 2): Promise<Node> => {
    const [local, remote] = [`192.0.2.${host}`, `192.0.2.${3 - host}`];
    ip("-n", name, "addr", "add", `${local}/24`, "dev", "v0");
    ip("-n", name, "link", "set", "v0", "up");
    return makeNode(t, name, shim, host, connectionOf(host, local, remote, keys));
  };
  return [await node(left, 1), await node(right, 2)];
}

const nonZero = (counters: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(Object.entries(counters).filter(([, count]) => count !== 0));

/** ICMP headers are 8 bytes in both families. */
const fullSize = (family: 4 | 6): number => TUNNEL_MTU - (family === 4 ? 20 : 40) - 8;

rooted(
  `pings of every size up to the MTU cross between two TUN devices, IPv4 and IPv6${suffix}`,
  async (t) => {
    const [left] = await makeTunnel(t);
    for (const [address, family] of [
      ["10.9.0.2", 4],
      ["fd09::2", 6],
    ] as const) {
      for (const size of [0, 1, 2, 3, 56, fullSize(family)]) {
        // With -w, ping succeeds once it has three answers; small packets carry no timestamp to wait by.
        const ping = ["ping", "-M", "do", "-c", "3", "-i", "0.02", "-w", "10", "-s", String(size), address];
        await t.notThrowsAsync(
          run("ip", ["netns", "exec", left.name, ...ping]),
          `${size} bytes to ${address}`,
        );
      }
    }
    const { errors } = left.datapath.statistics();
    t.deepEqual(nonZero(errors), {});
  },
);

rooted(
  `TCP over IPv4 and IPv6 crosses whole both ways, segmented and coalesced by the data path${suffix}`,
  async (t) => {
    const [left, right] = await makeTunnel(t);
    const fixture = fileURLToPath(new URL("./tcp-fixture.js", import.meta.url));
    const bytes = 20_000_000;
    for (const [from, to, address] of [
      [left, right, "10.9.0.2"],
      [left, right, "fd09::2"],
      [right, left, "10.9.0.1"],
      [right, left, "fd09::1"],
    ] as const) {
      const receive = ["netns", "exec", to.name, process.execPath, fixture, "receive", address];
      const receiver = spawn("ip", receive, { stdio: ["ignore", "pipe", "inherit"] });
      t.teardown(() => receiver.kill());
      const lines = createInterface(receiver.stdout)[Symbol.asyncIterator]();
      t.is((await lines.next()).value, "listening");
      const send = ["netns", "exec", from.name, process.execPath, fixture, "send", address, String(bytes)];
      const { stdout } = await run("ip", send, { timeout: 60_000 });
      t.is((await lines.next()).value, stdout.trim());
    }
    for (const { datapath } of [left, right]) {
      const { errors, io, connections, work } = datapath.statistics();
      t.deepEqual(nonZero({ ...errors, ...io }), {});
      const connection = connections.get(101);
      if (connection === undefined) throw new Error("the connection is gone");
      const { in: received, out: sent } = connection;
      t.true(received.bytes > 2 * bytes && sent.bytes > 2 * bytes);
      // Segments come out of GSO packets and go into GSO packets: far fewer calls than packets.
      t.true(work.copiedBytes > 0 && work.sends < sent.packets / 4, `${work.sends} of ${sent.packets}`);
      t.true(work.tunWrites < received.packets / 2, `${work.tunWrites} of ${received.packets}`);
    }
  },
);

for (const [family, from, to] of [
  ["IPv4", "10.9.0.1", "10.9.0.2"],
  ["IPv6", "fd09::1", "fd09::2"],
] as const) {
  rooted(`a burst of UDP datagrams over ${family} crosses as one GSO packet${suffix}`, async (t) => {
    const [left, right] = await makeTunnel(t);
    const [local, remote] = [parseAddress(from), parseAddress(to)];
    const sender = inNetns(left.name, () => openUdpSocket(local, 6000, 0));
    const receiver = inNetns(right.name, () => openUdpSocket(remote, 6001, 0));
    t.teardown(() => [sender, receiver].map(close));
    const [count, size] = [40, 1200];
    const sent = new Slab(count * size);
    for (let i = 0; i < sent.bytes.length; i++) sent.bytes[i] = (i * 31 + (i >>> 8)) & 0xff;
    const vector = new SendVector(1);
    const destination = new Destination(local, remote, 6001, 0);
    for (let i = 0; i < count; i++) vector.add(sender, destination, 0, 0, sent.base + i * size, size);
    t.is(vector.send(0, 1), 1);
    const place = new Slab(2 ** 16);
    const received = new ReceiveVector([place.base], 2 ** 16 - 1);
    const readable = PollSet.forReading([receiver]);
    const got: Buffer[] = [];
    for (let bytes = 0; bytes < count * size; bytes += received.bytes) {
      readable.wait(5000);
      t.is(received.receive(receiver, 1), 1);
      received.look(0);
      t.is(received.size, size);
      got.push(Buffer.from(place.bytes.slice(0, received.bytes)));
    }
    t.deepEqual(Buffer.concat(got), Buffer.from(sent.bytes));
    t.true((left.datapath.statistics().connections.get(101)?.out.packets ?? 0) >= count);
    t.true(right.datapath.statistics().work.tunWrites < count);
  });
}

rooted(
  `a TUN device that goes down and comes up again carries on; deleted, it ends the data path${suffix}`,
  async (t) => {
    const [left, right] = await makeTunnel(t);
    const ping = () => run("ip", ["netns", "exec", left.name, "ping", "-c", "1", "-W", "2", "10.9.0.2"]);
    await ping();
    ip("-n", right.name, "link", "set", "ipsec0", "down");
    await t.throwsAsync(run("ip", ["netns", "exec", left.name, "ping", "-c", "1", "-W", "1", "10.9.0.2"]));
    t.true(right.datapath.statistics().io.rxDropped >= 1);
    ip("-n", right.name, "link", "set", "ipsec0", "up");
    await t.notThrowsAsync(ping());
    ip("-n", right.name, "link", "del", "ipsec0");
    await t.throwsAsync(right.datapath.ended, { message: /reading from the TUN device/ });
  },
);
