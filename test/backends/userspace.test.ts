import { existsSync, readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { serialRootTest } from "../support/root-test.js";
import { ESP, Gateway, HUB_POLICY, LOSS_S } from "./gateway.js";

serialRootTest("IPv4 and IPv6 pass in both directions, and are counted under their connection", async (t) => {
  const gateway = await Gateway.build(t);
  await gateway.up();
  t.is(await gateway.ping("10.1.0.1", "10.0.0.1"), 3);
  t.is(await gateway.ping("fd00:1::1", "fd00::1"), 3);
  const { connections, default: byDefault, backend } = await gateway.status("hub");
  t.is(backend, "userspace");
  const [site] = connections;
  t.is(site?.sent.packets, 6);
  t.is(site?.received.packets, 6);
  t.is(site?.sa?.encrypted.packets, 6);
  t.is(site?.sa?.decrypted.packets, 6);
  t.is(byDefault.matched.packets, 0);
});

serialRootTest("what neither a rule nor a subnet decides is dropped and counted", async (t) => {
  const gateway = await Gateway.build(t);
  await gateway.up();
  await gateway.ip("hub", "route add 203.0.113.0/24 dev ipsec0");
  await gateway.exec("hub", "bash", "-c", "for i in 1 2 3; do echo lost > /dev/udp/203.0.113.1/9; done");
  const status = await gateway.status("hub");
  t.is(status.default.matched.packets, 3);
  t.is(status.connections[0]?.sa?.encrypted.packets, 0);
});

serialRootTest(
  "a packet whose if_id has no SA is dropped and counted as by the kernel's xfrm interface",
  async (t) => {
    const gateway = await Gateway.build(t);
    await gateway.up(`${HUB_POLICY}  keyless: {if_id: 102, subnets: [203.0.113.0/24]}\n`);
    await gateway.ip("hub", "route add 203.0.113.0/24 dev ipsec0");
    t.is(await gateway.ping("203.0.113.1", "10.0.0.1", 3, LOSS_S), 0);
    const { drops, connections } = await gateway.status("hub");
    t.is(connections[1]?.sent.packets, 3);
    t.is(connections[1]?.sa, null);
    t.is(drops.txCarrierErrors, 3);
  },
);

serialRootTest(
  "a decrypted packet from a source that is not its connection's is dropped and counted",
  async (t) => {
    const gateway = await Gateway.build(t);
    // The hub owns 10.0.0.1 and sends from 10.9.9.9 too, which the site does not grant it.
    await gateway.up(HUB_POLICY.replace("10.0.0.1/32", "10.0.0.1/32, 10.9.9.9/32"));
    t.is(await gateway.ping("10.1.0.1", "10.9.9.9", 3, LOSS_S), 0);
    t.is(await gateway.ping("10.1.0.1", "10.0.0.1"), 3);
    const [hub] = (await gateway.status("site")).connections;
    t.is(hub?.badSource.packets, 3);
    t.is(hub?.received.packets, 3);
    t.is(hub?.sa?.decrypted.packets, 6);
  },
);

serialRootTest("packets received on a connection carry its mark", async (t) => {
  const gateway = await Gateway.build(t);
  await gateway.up(HUB_POLICY.replace("if_id: 101,", "if_id: 101, rx: {mark: 0x66},"));
  // Marked packets go to a routing table that refuses them, so that replies count as lost.
  await gateway.ip("hub", "rule add fwmark 0x66 pref 5 table 66");
  await gateway.ip("hub", "rule add pref 10 table local");
  await gateway.ip("hub", "rule del pref 0");
  await gateway.ip("hub", "route add prohibit default table 66");
  t.is(await gateway.ping("10.1.0.1", "10.0.0.1", 3, LOSS_S), 0);
  t.is((await gateway.status("hub")).connections[0]?.received.packets, 3);
});

serialRootTest("a swap keeps counters by name, SAs and traffic", async (t) => {
  const gateway = await Gateway.build(t);
  await gateway.up();
  t.is(await gateway.ping("10.1.0.1", "10.0.0.1"), 3);
  // The rule in front moves the connection's counters to other indexes.
  const changed = HUB_POLICY.replace(
    "connections:",
    "rules: [{name: icmp, match: {proto: icmp}, to: site}]\nconnections:",
  ).replace("connections:", "connections:\n  another: {if_id: 5, subnets: [10.2.0.0/16]}");
  t.is((await gateway.apply("hub", changed)).code, 0);
  t.is(await gateway.ping("10.1.0.1", "10.0.0.1"), 3);
  const { generation, connections, rules } = await gateway.status("hub");
  t.is(generation, 2);
  t.is(rules[0]?.matched.packets, 3);
  const site = connections.find(({ name }) => name === "site");
  t.is(site?.sent.packets, 6);
  t.is(site?.received.packets, 6);
  t.is(site?.sa?.encrypted.packets, 6, "the SA was kept");
});

serialRootTest("no packet is lost or misrouted by swaps under traffic", async (t) => {
  const gateway = await Gateway.build(t);
  await gateway.up();
  const { sent, received } = await gateway.pingDuring("10.1.0.1", "10.0.0.1", async () => {
    for (let i = 0; i < 6; i++) {
      const policy =
        i % 2 ? HUB_POLICY : `${HUB_POLICY}  other${i}: {if_id: ${200 + i}, subnets: [10.2.0.0/16]}\n`;
      t.is((await gateway.apply("hub", policy)).code, 0);
    }
  });
  t.is(received, sent);
  t.is((await gateway.status("hub")).connections[0]?.sent.packets, sent);
});

for (const [what, policy, message] of [
  ["a policy with an error", HUB_POLICY.replace("if_id: 101", "if_id: 0"), /error: if_id is 0/],
  [
    "a key that is not there",
    HUB_POLICY.replace("keys/out.key", "keys/gone.key"),
    /key file .*gone\.key does not exist/,
  ],
  ["a link that is not there", HUB_POLICY.replace("if_id: 101,", "if_id: 101, link: nowhere0,"), /nowhere0/],
  [
    "a local address that is not ours",
    HUB_POLICY.replace("local: 192.0.2.1", "local: 192.0.2.99"),
    /192\.0\.2\.99/,
  ],
  [
    "an interface address that the kernel refuses",
    HUB_POLICY.replace("10.0.0.1/32", '10.0.0.1/32, "::1/128"'),
    /multicast|Invalid|assign/,
  ],
] as const)
  serialRootTest(`a failed apply (${what}) leaves the running state as it was`, async (t) => {
    const gateway = await Gateway.build(t);
    await gateway.up();
    const addresses = await gateway.ip("hub", "-j address show dev ipsec0");
    const { code, stderr } = await gateway.apply("hub", policy);
    t.true(code === 1 || code === 2, `exit ${code}`);
    t.regex(stderr, message);
    t.notRegex(stderr, /\n\s+at /, "no stack trace for a user's mistake");
    t.is(await gateway.ip("hub", "-j address show dev ipsec0"), addresses);
    t.is(await gateway.ping("10.1.0.1", "10.0.0.1"), 3);
    t.is((await gateway.status("hub")).generation, 1);
  });

serialRootTest("a first apply that fails leaves no interface and no process", async (t) => {
  const gateway = await Gateway.build(t);
  const { code, stderr } = await gateway.apply(
    "hub",
    HUB_POLICY.replace("local: 192.0.2.1", "local: 192.0.2.99"),
  );
  t.is(code, 1);
  t.regex(stderr, /192\.0\.2\.99/);
  await t.throwsAsync(gateway.ip("hub", "link show ipsec0"), { message: /does not exist/ });
  await untilNoServers(gateway, "hub");
  t.deepEqual(await gateway.servers("hub"), []);
});

serialRootTest("unload takes away the interface and its process, and nothing else", async (t) => {
  const gateway = await Gateway.build(t);
  // Not whether they are up yet: of a new veth pair that takes the kernel a moment.
  const links = async () =>
    JSON.parse(await gateway.ip("hub", "-j link show")).map(
      ({ ifname, mtu, address }: Record<string, unknown>) => ({ ifname, mtu, address }),
    );
  const before = await links();
  await gateway.up();
  const { code, stdout } = await gateway.cli("hub", "unload", "--json");
  t.is(code, 0);
  t.deepEqual(JSON.parse(stdout), { removed: ["ipsec0"] });
  await untilNoServers(gateway, "hub");
  t.deepEqual(await links(), before);
  const again = await gateway.cli("hub", "unload", "--json");
  t.deepEqual(JSON.parse(again.stdout), { removed: [] });
});

serialRootTest("after kill -9 of the service, unload takes away its socket and folder", async (t) => {
  const gateway = await Gateway.build(t);
  await gateway.up();
  const folder = gateway.runtimeDir("hub");
  await gateway.kill("hub");
  t.true(existsSync(`${folder}/ipsec0.sock`));
  t.is((await gateway.cli("hub", "unload")).stdout, "removed ipsec0\n");
  t.false(existsSync(folder));
  t.is((await gateway.cli("hub", "unload", "ipsec0")).stdout, "nothing was set up here\n");
});

serialRootTest("after kill -9 of the service, apply sets the interface up again", async (t) => {
  const gateway = await Gateway.build(t);
  await gateway.up();
  await gateway.kill("hub");
  t.is((await gateway.cli("hub", "status", "ipsec0")).code, 1);
  t.is((await gateway.apply("hub", HUB_POLICY)).code, 0);
  // A new process begins at sequence number 1, which the peer's replay window refuses until it has a new SA as well.
  t.is((await gateway.cli("site", "unload")).code, 0);
  await gateway.up();
  await gateway.ip("site", "route replace 10.0.0.0/16 dev ipsec0");
  t.is(await gateway.ping("10.1.0.1", "10.0.0.1"), 3);
});

serialRootTest("a second run for an interface that is served is refused and changes nothing", async (t) => {
  const gateway = await Gateway.build(t);
  await gateway.up();
  const { code, stderr } = await gateway.cli("hub", "run", gateway.write("second.yaml", HUB_POLICY));
  t.is(code, 1);
  t.regex(stderr, /ipsec0 is run by another xfrm-steer already/);
  t.is(await gateway.ping("10.1.0.1", "10.0.0.1"), 3);
});

serialRootTest(
  "the automatic MTU leaves room for the encapsulation: full packets pass unfragmented",
  async (t) => {
    const gateway = await Gateway.build(t);
    await gateway.up();
    const [link] = JSON.parse(await gateway.ip("hub", "-j link show dev ipsec0")) as [{ mtu: number }];
    t.is(link.mtu, 1438);
    const size = `${link.mtu - 28}`;
    const { stdout } = await gateway.exec(
      "hub",
      "ping",
      "-qn",
      "-c",
      "2",
      "-W",
      "1",
      "-M",
      "do",
      "-s",
      size,
      "-I",
      "10.0.0.1",
      "10.1.0.1",
    );
    t.regex(stdout, /2 received/);
  },
);

serialRootTest("keys show in no status, answer or process list", async (t) => {
  const gateway = await Gateway.build(t);
  await gateway.up();
  const keys = gateway.keys().map((key) => key.trim());
  t.deepEqual(
    keys.map(({ length }) => length),
    [40, 40],
  );
  const servers = await gateway.servers("hub");
  t.true(servers.length > 0);
  for (const pid of servers) t.true(commandLine(pid).includes("ipsec0"), commandLine(pid));
  const answers = [
    await gateway.cli("hub", "status", "--json"),
    await gateway.apply("hub", HUB_POLICY, "--json"),
  ];
  for (const { code, stderr } of answers) t.is(code, 0, stderr);
  const processes = readdirSync("/proc").filter((entry) => /^\d+$/.test(entry));
  const shown = [
    ...answers.flatMap(({ stdout, stderr }) => [stdout, stderr]),
    ...processes.map((pid) => commandLine(Number(pid))),
  ].join("\n");
  for (const key of keys) t.false(shown.includes(key));
  for (const key of keys) t.false(ESP.hub.includes(key));
});

serialRootTest("the service has the environment without the variables that keys are in", async (t) => {
  const gateway = await Gateway.build(t);
  const [out = "", inbound = ""] = gateway.keys();
  const variables = {
    XST_KEY_OUT: out,
    XST_KEY_IN: inbound,
    XST_KEY_ALSO: "c3".repeat(20),
    XST_OTHER: "kept",
  };
  t.teardown(() => {
    for (const name of Object.keys(variables)) delete process.env[name];
  });
  Object.assign(process.env, variables);
  const policy = HUB_POLICY.replace("file:keys/out.key", "env:XST_KEY_OUT").replace(
    "file:keys/in.key}",
    "env:XST_KEY_IN}, also_in: [{spi: 0x1003, key: env:XST_KEY_ALSO}]",
  );
  await gateway.up(policy);
  t.is(await gateway.ping("10.1.0.1", "10.0.0.1"), 3);
  const pids = await gateway.servers("hub");
  t.is(pids.length, 1);
  const given = readFileSync(`/proc/${pids[0]}/environ`, "latin1").split("\0");
  t.deepEqual(
    given.map((line) => line.split("=")[0]).filter((name) => name?.startsWith("XST_")),
    ["XST_OTHER"],
  );
  t.true(given.includes(`PATH=${process.env.PATH}`));
  t.false(
    given.some((line) => Object.values(variables).some((key) => key.length === 40 && line.includes(key))),
  );
});

/** Arguments of a process, as anyone may read them; nothing of one that has ended. */

serialRootTest(
  "the threads that packets go through, and no others, get more of the CPU, in long turns",
  async (t) => {
    const gateway = await Gateway.build(t);
    await gateway.up();
    const [pid = 0] = await gateway.servers("hub");
    const threads = scheduling(pid);
    const urgent = threads.filter(({ nice }) => nice < 0);
    t.true(urgent.length >= 2 && urgent.length % 2 === 0, `${urgent.length} threads: two for each queue`);
    t.true(urgent.every(({ policy }) => policy === SCHED_BATCH));
    t.true(threads.every(({ nice }) => nice <= 0));
    t.true(threads.length > urgent.length);
  },
);

/** linux/sched.h */
const SCHED_BATCH = 3;

/** Of each thread of a process its nice value and scheduling policy (proc(5), /proc/pid/stat, fields 19 and 41). */
function scheduling(pid: number): { nice: number; policy: number }[] {
  return readdirSync(`/proc/${pid}/task`).map((thread) => {
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" "); // from field 3 on
    return { nice: Number(fields[16]), policy: Number(fields[38]) };
  });
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ");
  } catch {
    return "";
  }
}

async function untilNoServers(gateway: Gateway, node: "hub" | "site"): Promise<void> {
  for (let i = 0; i < 100 && (await gateway.servers(node)).length > 0; i++) await sleep(20);
}
