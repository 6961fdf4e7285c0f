import test from "ava";
import { Gateway, HUB_POLICY, LOSS_S, SITE_POLICY } from "./gateway.js";

/** What the kernel would do with a packet of the hub's own: a device, or unreachable. */
async function way(gateway: Gateway, to: string, ...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await gateway.exec("hub", "ip", "route", "get", to, ...words);
  if (code !== 0) return /unreachable|No route to host/i.test(stderr) ? "unreachable" : stderr;
  return /^unreachable/.test(stdout) ? "unreachable" : (/ dev (\S+)/.exec(stdout)?.[1] ?? stdout);
}

/** Everything that nobody else wants goes to the site, in the clear. */
async function withDefault(gateway: Gateway): Promise<void> {
  await gateway.ip("hub", "route add default via 192.0.2.2");
  for (const [node, address] of [
    ["hub", "2001:db8::1"],
    ["site", "2001:db8::2"],
  ] as const)
    await gateway.ip(node, `address add ${address}/64 dev wan nodad`);
  await gateway.ip("hub", "-6 route add default via 2001:db8::2");
}

const OWNED = ["10.1.0.1", "fd00:1::1"];
const ROUTED = HUB_POLICY.replace("addresses:", "routes: true, addresses:");
const UNGUARDED = HUB_POLICY.replace("addresses:", "guard: false, addresses:");

async function ways(gateway: Gateway): Promise<string[]> {
  return await Promise.all(OWNED.map((to) => way(gateway, to)));
}

async function must(gateway: Gateway, policy: string): Promise<string> {
  const { code, stderr } = await gateway.apply("hub", policy);
  if (code !== 0) throw new Error(stderr);
  return stderr;
}

/** Asked again until it is so, as the daemon answers changes of routes a moment later. */
async function until(what: () => Promise<boolean>): Promise<boolean> {
  for (const end = Date.now() + 10_000; Date.now() < end; ) if (await what()) return true;
  return false;
}

test("what connections own is unreachable without a route into the interface, and apply says which would help", async (t) => {
  const gateway = await Gateway.build(t);
  await withDefault(gateway);
  t.deepEqual(await ways(gateway), ["wan", "wan"]);
  const said = await must(gateway, HUB_POLICY);
  t.regex(said, /nothing routes 10\.1\.0\.0\/16 into ipsec0; `interface: \{routes: true\}` would/);
  t.regex(said, /nothing routes fd00:1::\/48 into ipsec0/);
  t.deepEqual(await ways(gateway), ["unreachable", "unreachable"]);
  t.is(await way(gateway, "203.0.113.1"), "wan");
});

test("routes: true makes routes, apply repairs them after down and up, and the guard holds meanwhile", async (t) => {
  const gateway = await Gateway.build(t);
  await withDefault(gateway);
  t.is(await must(gateway, ROUTED), "");
  t.deepEqual(await ways(gateway), ["ipsec0", "ipsec0"]);
  await gateway.ip("hub", "link set ipsec0 down");
  t.deepEqual(await ways(gateway), ["unreachable", "unreachable"]);
  await gateway.ip("hub", "link set ipsec0 up");
  t.false((await ways(gateway)).includes("wan"));
  t.is(await must(gateway, ROUTED), "");
  t.deepEqual(await ways(gateway), ["ipsec0", "ipsec0"]);
  await gateway.ip("hub", "route del 10.1.0.0/16 dev ipsec0");
  await must(gateway, ROUTED);
  t.deepEqual(await ways(gateway), ["ipsec0", "ipsec0"]);
  await must(gateway, HUB_POLICY);
  t.deepEqual(await ways(gateway), ["unreachable", "unreachable"]);
});

test("ip link del leaves the guard, and so does ignore_routes_with_linkdown", async (t) => {
  const gateway = await Gateway.build(t);
  await withDefault(gateway);
  await gateway.exec("hub", "sysctl", "-qw", "net.ipv4.conf.all.ignore_routes_with_linkdown=1");
  await gateway.exec("hub", "sysctl", "-qw", "net.ipv6.conf.all.ignore_routes_with_linkdown=1");
  await must(gateway, ROUTED);
  for (const pid of await gateway.servers("hub")) process.kill(pid, "SIGKILL");
  t.true(await until(async () => (await gateway.servers("hub")).length === 0));
  t.false((await ways(gateway)).includes("wan"));
  await gateway.ip("hub", "link del ipsec0");
  t.deepEqual(await ways(gateway), ["unreachable", "unreachable"]);
  await must(gateway, ROUTED);
  t.deepEqual(await ways(gateway), ["ipsec0", "ipsec0"]);
});

test("unload takes the guard away last, and says what goes by the default route then", async (t) => {
  const gateway = await Gateway.build(t);
  await withDefault(gateway);
  await must(gateway, ROUTED);
  const { stdout } = await gateway.cli("hub", "unload");
  t.is(
    stdout,
    "removed ipsec0\n  10.1.0.0/16, fd00:1::/48: not guarded any more, now goes by the default route, in the clear: dev wan\n",
  );
  t.deepEqual(await ways(gateway), ["wan", "wan"]);
  t.notRegex(await gateway.ip("hub", "route show table all"), /proto (89|90)/);
});

test("a guard stands at the broader route's prefix, one made later too, and stays when the interface was down", async (t) => {
  const gateway = await Gateway.build(t);
  await withDefault(gateway);
  await must(gateway, HUB_POLICY);
  t.is(await way(gateway, "10.1.0.1"), "unreachable");
  await gateway.ip("hub", "route add 10.0.0.0/8 dev ipsec0");
  t.true(await until(async () => (await way(gateway, "10.1.0.1")) === "ipsec0"));
  await must(gateway, HUB_POLICY);
  t.is(await way(gateway, "10.1.0.1"), "ipsec0");
  await gateway.ip("hub", "link set ipsec0 down");
  t.is(await way(gateway, "10.1.0.1"), "unreachable");
  t.is(await way(gateway, "10.200.0.1"), "unreachable");
  await gateway.ip("hub", "link set ipsec0 up");
  t.regex(await must(gateway, HUB_POLICY), /10\.0\.0\.0\/8 was routed into ipsec0 and is no more/);
  t.is(await way(gateway, "10.200.0.1"), "unreachable");
  await gateway.ip("hub", "route add 10.0.0.0/8 dev ipsec0");
  t.is(await way(gateway, "10.1.0.1"), "ipsec0");
});

test("guard: false has no guard, and takes one away", async (t) => {
  const gateway = await Gateway.build(t);
  await withDefault(gateway);
  await must(gateway, HUB_POLICY);
  await must(gateway, UNGUARDED);
  t.deepEqual(await ways(gateway), ["wan", "wan"]);
});

test("a failed first apply takes its guard back, a failed later one leaves it as it was", async (t) => {
  const gateway = await Gateway.build(t);
  await withDefault(gateway);
  const broken = HUB_POLICY.replace("10.1.0.0/16", "10.7.0.0/16").replace(
    "if_id: 101",
    "if_id: 101, link: nowhere",
  );
  t.is((await gateway.apply("hub", broken)).code, 1);
  t.is(await way(gateway, "10.7.0.1"), "wan");
  await must(gateway, HUB_POLICY);
  t.is((await gateway.apply("hub", broken)).code, 1);
  t.is(await way(gateway, "10.7.0.1"), "wan");
  t.deepEqual(await ways(gateway), ["unreachable", "unreachable"]);
});

test("a route table of its own, as of a VRF, has its guard too", async (t) => {
  const gateway = await Gateway.build(t);
  await withDefault(gateway);
  await must(gateway, HUB_POLICY);
  await gateway.ip("hub", "route add 10.1.0.0/16 dev ipsec0 table 77");
  await gateway.ip("hub", "route add default dev ipsec0 table 78");
  const table = (number: number) => gateway.ip("hub", `route show table ${number}`);
  t.true(await until(async () => /unreachable default/.test(await table(78))));
  t.regex(await table(77), /unreachable 10\.1\.0\.0\/16/);
  await gateway.cli("hub", "unload");
  for (const number of [77, 78])
    t.is((await gateway.exec("hub", "ip", "route", "show", "table", `${number}`)).stdout, "");
});

test("without IPv6 the guard has none, and says why", async (t) => {
  const gateway = await Gateway.build(t);
  await gateway.exec("hub", "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1");
  const policy = HUB_POLICY.replace(', "fd00::1/128"', "");
  t.regex(
    await must(gateway, policy),
    /no guard and no routes for IPv6: net\.ipv6\.conf\.all\.disable_ipv6 is 1/,
  );
  t.is(await way(gateway, "10.1.0.1"), "unreachable");
});

for (const link of ["", "link: wan, "])
  for (const inside of [true, false])
    test(`a peer ${inside ? "inside" : "outside"} of what connections own is reached ${link ? "with" : "without"} a link`, async (t) => {
      const gateway = await Gateway.build(t);
      const [hub, site] = inside ? ["10.1.255.1", "10.1.255.2"] : ["172.16.0.1", "172.16.0.2"];
      // Behind a router, as it were: the way there is by a gateway.
      await gateway.ip("hub", `address add ${hub}/32 dev lo`);
      await gateway.ip("site", `address add ${site}/32 dev lo`);
      await gateway.ip("hub", "route add default via 192.0.2.2");
      await gateway.ip("site", `route add ${hub}/32 via 192.0.2.1`);
      const moved = (text: string) => text.replaceAll("192.0.2.1", hub).replaceAll("192.0.2.2", site);
      const own = moved(HUB_POLICY).replace("addresses:", "routes: true, addresses:");
      await must(gateway, own.replace("if_id: 101", `${link}if_id: 101`));
      t.is(
        (await gateway.apply("site", moved(SITE_POLICY).replace("addresses:", "routes: true, addresses:")))
          .code,
        0,
      );
      t.is(await gateway.ping("10.1.0.1", "10.0.0.1"), 3);
      // Nothing but ESP takes the way to the peer.
      t.is(await way(gateway, site), inside ? "ipsec0" : "wan");
      await gateway.ip("hub", "link set ipsec0 down");
      t.is(await way(gateway, site), inside ? "unreachable" : "wan");
      t.is((await gateway.cli("hub", "unload")).code, 0);
      t.notRegex(await gateway.ip("hub", "rule show"), /0x4553/);
    });

test("a default-route tunnel has a table of its own, and the engine's packets stay out of it", async (t) => {
  const gateway = await Gateway.build(t);
  await withDefault(gateway);
  const all = ROUTED.replace('10.1.0.0/16, "fd00:1::/48"', '0.0.0.0/0, "::/0"');
  await must(gateway, all);
  await gateway.apply("site", SITE_POLICY.replace("addresses:", "routes: true, addresses:"));
  t.is(await way(gateway, "203.0.113.1"), "ipsec0");
  t.is(await way(gateway, "2001:db8:1::1"), "ipsec0");
  t.is(await way(gateway, "192.0.2.2", "mark", "0x45530000"), "wan");
  t.is(await gateway.ping("10.1.0.1", "10.0.0.1"), 3);
  await gateway.ip("hub", "link set ipsec0 down");
  t.is(await way(gateway, "203.0.113.1"), "unreachable");
  t.is(await way(gateway, "2001:db8:1::1"), "unreachable");
  t.is(await gateway.ping("10.1.0.1", "10.0.0.1", 1, LOSS_S), 0);
  await gateway.ip("hub", "link set ipsec0 up");
  await must(gateway, all);
  t.is(await way(gateway, "203.0.113.1"), "ipsec0");
  await gateway.cli("hub", "unload");
  t.is(await way(gateway, "203.0.113.1"), "wan");
  for (const family of ["-4", "-6"])
    t.notRegex(await gateway.ip("hub", `${family} rule show`), /suppress|0x4553/);
});

test("what a connection owns without a route is not the machine's default route", async (t) => {
  const gateway = await Gateway.build(t);
  await withDefault(gateway);
  await must(gateway, HUB_POLICY.replace('10.1.0.0/16, "fd00:1::/48"', '0.0.0.0/0, "::/0"'));
  t.deepEqual(await ways(gateway), ["wan", "wan"]);
  await gateway.ip("hub", "route add 10.1.0.0/16 dev ipsec0");
  t.true(await until(async () => /unreachable 10\.1\.0\.0\/16/.test(await gateway.ip("hub", "route show"))));
  await gateway.ip("hub", "link set ipsec0 down");
  t.is(await way(gateway, "10.1.0.1"), "unreachable");
});

test("run makes a guard, and a signal leaves it", async (t) => {
  const gateway = await Gateway.build(t);
  await withDefault(gateway);
  const child = gateway.start("hub", "run", gateway.write("hub.yaml", ROUTED));
  const over = new Promise((resolve) => child.once("exit", resolve));
  await new Promise((resolve) => child.stdout.once("data", resolve));
  t.deepEqual(await ways(gateway), ["ipsec0", "ipsec0"]);
  child.kill("SIGTERM");
  await over;
  t.false((await ways(gateway)).includes("wan"));
});
