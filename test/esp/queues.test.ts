/*
 *   left namespace, three queues                      right namespace, three queues
 *   ipsec0 10.0.N.1                                   ipsec0 10.1.N.1, one N for each connection
 *     data path --- v0 192.0.2.1 ====== veth ====== v0 192.0.2.11 and on --- data path
 *                   2001:db8::1                        2001:db8::11 and on
 */
import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createInterface } from "node:readline";
import { isDeepStrictEqual, promisify } from "node:util";
import test, { type ExecutionContext } from "ava";
import { type Gateway, startGateway } from "../../src/backends/userspace/gateway.js";
import { parsePolicy } from "../../src/config/index.js";
import type { ConnectionConfig } from "../../src/esp/index.js";
import { queueOf } from "../../src/esp/queues.js";
import { inNetns } from "../../src/sys/netns.js";
import { parseAddress } from "../../src/sys/sockaddr.js";
import { ip, makeNamespace, whyNoNamespaces } from "../sys/namespace.js";
import { until } from "./site.js";

const reason = whyNoNamespaces();
const rooted = reason === null ? test.serial : test.serial.skip;
const suffix = reason === null ? "" : ` (${reason})`;
const run = promisify(execFile);

const QUEUES = 3;
const CONNECTIONS = Array.from({ length: 9 }, (_, index) => index);

type Side = "left" | "right";
const other = (side: Side): Side => (side === "left" ? "right" : "left");

/** Every third one goes over IPv6, every other one is bare ESP. */
function outer(side: Side, index: number): string {
  const host = side === "left" ? 1 : 11 + index;
  return index % 3 === 2 ? `2001:db8::${host}` : `192.0.2.${host}`;
}

interface Pair {
  readonly name: Readonly<Record<Side, string>>;
  readonly gateway: Readonly<Record<Side, Gateway>>;
  /** Those of some of the connections, with keys that the data path may wipe. */
  configs(side: Side, indices: readonly number[]): ConnectionConfig[];
}

async function startPair(t: ExecutionContext, indices: readonly number[]): Promise<Pair> {
  const name = { left: makeNamespace(t), right: makeNamespace(t) };
  ip("-n", name.left, "link", "add", "v0", "type", "veth", "peer", "name", "v0", "netns", name.right);
  const keys = CONNECTIONS.map(() => ({ left: randomBytes(20), right: randomBytes(20) }));
  const configs = (side: Side, wanted: readonly number[]): ConnectionConfig[] =>
    wanted.map((index) => {
      const sa = (end: Side) => ({
        spi: 0x1000 + 2 * index + (end === "left" ? 0 : 1),
        key: Buffer.from(keys[index]?.[end] ?? ""),
      });
      return {
        ifId: 101 + index,
        link: 0,
        local: outer(side, index),
        localPort: 4500,
        remote: outer(other(side), index),
        remotePort: 4500,
        suite: "aes128-gcm",
        encapsulation: index % 2 === 0 ? "udp" : "none",
        out: sa(side),
        in: sa(other(side)),
        replayWindow: 32,
      };
    });
  const start = async (side: Side): Promise<Gateway> => {
    const netns = name[side];
    for (const index of side === "left" ? [0, 2] : CONNECTIONS) {
      const address = outer(side, index);
      const rest = address.includes(":") ? ["/64", "nodad"] : ["/24"];
      ip("-n", netns, "addr", "add", `${address}${rest[0]}`, "dev", "v0", ...rest.slice(1));
    }
    ip("-n", netns, "link", "set", "v0", "up");
    const subnets = CONNECTIONS.map(
      (index) =>
        `  c${index}: {if_id: ${101 + index}, subnets: [10.${side === "left" ? 1 : 0}.${index}.0/24]}\n`,
    );
    const text = `version: 1\ninterface: {name: ipsec0}\nconnections:\n${subnets.join("")}`;
    const { policy } = parsePolicy(text, "queues");
    if (policy === null) throw new Error("the test's policy is wrong");
    const gateway = await startGateway({
      netns,
      policy,
      connections: () => configs(side, indices),
      mtu: 1400,
      queues: QUEUES,
    });
    t.teardown(() => gateway.stop());
    for (const index of CONNECTIONS)
      ip("-n", netns, "addr", "add", `10.${side === "left" ? 0 : 1}.${index}.1/32`, "dev", "ipsec0");
    ip("-n", netns, "route", "add", side === "left" ? "10.1.0.0/16" : "10.0.0.0/16", "dev", "ipsec0");
    return gateway;
  };
  return { name, gateway: { left: await start("left"), right: await start("right") }, configs };
}

/** Until so many answers have come. */
const ping = (netns: string, index: number, count: number) =>
  run("ip", [
    ...["netns", "exec", netns, "ping", "-q", "-i", "0.002", "-c", String(count), "-w", "20"],
    ...["-I", `10.0.${index}.1`, `10.1.${index}.1`],
  ]);

/** Waits until all that one end has sent has come to the other, and nothing else was counted. */
async function assertWhole(
  t: ExecutionContext,
  { gateway }: Pair,
  indices: readonly number[],
): Promise<void> {
  const packets = (side: Side, direction: "out" | "in") => {
    const { connections } = gateway[side].datapath.statistics();
    return indices.map((index) => connections.get(101 + index)?.[direction].packets);
  };
  const same = (): boolean =>
    isDeepStrictEqual(
      [packets("left", "out"), packets("right", "out")],
      [packets("right", "in"), packets("left", "in")],
    );
  await until(same);
  for (const side of ["left", "right"] as const) {
    t.deepEqual(packets(other(side), "in"), packets(side, "out"), `from ${side}`);
    t.deepEqual(nonZero(gateway[side].datapath.statistics().errors), {}, side);
  }
}

const nonZero = (counters: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(Object.entries(counters).filter(([, count]) => count !== 0));

test("connections are spread over the queues by their peers", (t) => {
  const queue = (index: number, side: Side) =>
    queueOf(parseAddress(outer(side, index)), parseAddress(outer(other(side), index)), QUEUES);
  for (const side of ["left", "right"] as const)
    t.is(new Set(CONNECTIONS.map((index) => queue(index, side))).size, QUEUES);
});

rooted(`each packet finds the queue that has its SA: IPv4 and IPv6, in UDP and bare${suffix}`, async (t) => {
  const pair = await startPair(t, CONNECTIONS);
  const left = pair.name.left;
  const { stdout } = await run("ip", ["netns", "exec", left, "ls", "/sys/class/net/ipsec0/queues"]);
  t.is(stdout.match(/tx-/g)?.length, QUEUES);
  await Promise.all(CONNECTIONS.map((index) => ping(left, index, 30)));
  await assertWhole(t, pair, CONNECTIONS);
});

rooted(`connections that stay lose nothing while others come and go${suffix}`, async (t) => {
  const staying = [0, 3, 5];
  const pair = await startPair(t, staying);
  const { name, gateway, configs } = pair;
  let done = false;
  const traffic = Promise.all(staying.map((index) => ping(name.left, index, 300))).finally(() => {
    done = true;
  });
  const update = (side: Side, indices: readonly number[]): Promise<void> =>
    inNetns(name[side], () => gateway[side].datapath.update(configs(side, indices)));
  let updates = 0;
  for (; !done; updates++) {
    const indices = updates % 2 === 0 ? CONNECTIONS : staying;
    for (const side of ["left", "right"] as const) await update(side, indices);
  }
  await traffic;
  t.true(updates > 2);
  await assertWhole(t, pair, staying);
  await update("left", CONNECTIONS);
  await update("right", CONNECTIONS);
  await Promise.all(CONNECTIONS.map((index) => ping(name.left, index, 3)));
  await assertWhole(t, pair, CONNECTIONS);
});

rooted(`an SA that comes to another queue goes on from its last number${suffix}`, async (t) => {
  const pair = await startPair(t, [0]);
  const { name, gateway, configs } = pair;
  const from = parseAddress(outer("left", 0));
  const queue = (index: number) => queueOf(from, parseAddress(outer("right", index)), QUEUES);
  const moved = [1, 3, 4, 6, 7].find((index) => queue(index) !== queue(0)) ?? 0;
  t.not(moved, 0);
  await ping(name.left, 0, 5);
  await assertWhole(t, pair, [0]);
  const last = (side: Side) => gateway[side].datapath.states().map(({ sequence }) => sequence);
  const before = { left: last("left"), right: last("right") };
  for (const [side, end] of [
    ["right", "local"],
    ["left", "remote"],
  ] as const) {
    const connections = configs(side, [0]).map((each) => ({ ...each, [end]: outer("right", moved) }));
    await inNetns(name[side], () => gateway[side].datapath.update(connections));
    t.deepEqual(last(side), before[side]);
  }
  await ping(name.left, 0, 5);
  await assertWhole(t, pair, [0]);
  for (const side of ["left", "right"] as const) {
    const packets = gateway[side].datapath.states().map((state) => state.packets);
    t.true(packets.every((count) => count >= 5));
    t.deepEqual(
      last(side),
      packets.map((count, index) => count + (before[side][index] ?? 0)),
    );
  }
});

rooted(`an SA takes packets from any address, and what has no SA is counted${suffix}`, async (t) => {
  const { name, gateway } = await startPair(t, [0, 4, 6]);
  const errors = () => nonZero(gateway.left.datapath.statistics().errors);
  /** From the address of no peer. */
  const send = async (spi: number): Promise<void> => {
    const script = `const packet = Buffer.alloc(100, 1);
      packet.writeUInt32BE(${spi}, 0);
      const socket = require("node:dgram").createSocket("udp4");
      socket.bind(0, "${outer("right", 7)}", () =>
        socket.send(packet, 4500, "${outer("left", 0)}", () => socket.close()));`;
    await run("ip", ["netns", "exec", name.right, process.execPath, "-e", script]);
  };
  // Forged: they are refused where the SA is, by its integrity check.
  for (const index of [0, 4, 6]) await send(0x1000 + 2 * index + 1);
  await until(() => errors().XfrmInStateProtoError === 3);
  await send(0x9999);
  await until(() => errors().XfrmInNoStates === 1);
  t.deepEqual(errors(), { XfrmInStateProtoError: 3, XfrmInNoStates: 1 });
});

rooted(`another data path cannot join the sockets of one${suffix}`, async (t) => {
  const { name, configs } = await startPair(t, [0]);
  const { policy } = parsePolicy(
    "version: 1\ninterface: {name: ipsec1}\nconnections: {a: {if_id: 1}}\n",
    "queues",
  );
  if (policy === null) throw new Error("the test's policy is wrong");
  const options = {
    netns: name.left,
    policy,
    connections: () => configs("left", [0]),
    mtu: 1400,
    queues: QUEUES,
  };
  await t.throwsAsync(startGateway(options), { message: /192\.0\.2\.1 port 4500: .*EADDRINUSE/ });
});

rooted(`TCP streams through several queues at once arrive whole${suffix}`, async (t) => {
  const pair = await startPair(t, CONNECTIONS);
  const { name } = pair;
  const streams = [0, 1, 4].map(async (index) => {
    const address = `10.1.${index}.1`;
    const server = spawn(
      "ip",
      ["netns", "exec", name.right, "iperf3", "-s", "-1", "-B", address, "--forceflush"],
      {
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    t.teardown(() => server.kill());
    for await (const line of createInterface(server.stdout)) if (line.includes("listening")) break;
    server.stdout.resume();
    const client = [
      "netns",
      "exec",
      name.left,
      "iperf3",
      "-c",
      address,
      "-B",
      `10.0.${index}.1`,
      "-n",
      "20M",
      "-J",
    ];
    const { stdout } = await run("ip", client, { maxBuffer: 2 ** 24, timeout: 60_000 });
    return JSON.parse(stdout).end.sum_received.bytes as number;
  });
  // What was under way when iperf3 asked is not in its count.
  for (const bytes of await Promise.all(streams)) t.true(bytes > 10e6, `${bytes} bytes`);
  // In order, too: a window of 32 packets would not have taken all else.
  await assertWhole(t, pair, [0, 1, 4]);
});
