/** The userspace interface outlives its process: nothing that is routed into it takes another way. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { serialRootTest } from "../support/root-test.js";
import { Gateway, HUB_POLICY, LOSS_S } from "./gateway.js";

const PROTECTED = Buffer.from([10, 1, 0, 1]);

/** A gateway whose default route leads over the wire, and what of the protected network is seen on it in the clear. */
async function watched(t: Parameters<typeof Gateway.build>[0]) {
  const gateway = await Gateway.build(t);
  await gateway.up();
  await gateway.ip("hub", "route add default via 192.0.2.2 dev wan");
  const wire = gateway.capture("site", "wan");
  t.teardown(() => wire.close());
  const inTheClear = () => wire.drain().filter((frame) => frame.subarray(30, 34).equals(PROTECTED)).length;
  return { gateway, inTheClear };
}

async function device(gateway: Gateway): Promise<{ ifindex: number; flags: string[] } | undefined> {
  const links = JSON.parse(await gateway.ip("hub", "-j link show")) as {
    ifname: string;
    ifindex: number;
    flags: string[];
  }[];
  return links.find(({ ifname }) => ifname === "ipsec0");
}

/** Without the state: whether a process has it open shows there. */
const addresses = async (gateway: Gateway) =>
  (await gateway.ip("hub", "-br address show dev ipsec0")).split(/\s+/).slice(2).join(" ");

serialRootTest(
  "after kill -9 of the service nothing leaves in the clear, and apply takes over",
  async (t) => {
    const { gateway, inTheClear } = await watched(t);
    const before = await device(gateway);
    const routes = await gateway.ip("hub", "route show dev ipsec0");
    await gateway.kill("hub");
    t.is(await gateway.ping("10.1.0.1", "10.0.0.1", 3, LOSS_S), 0);
    t.is(inTheClear(), 0);
    t.is((await device(gateway))?.ifindex, before?.ifindex);
    const status = await gateway.cli("hub", "status", "ipsec0");
    t.is(status.code, 1);
    t.regex(status.stderr, /ipsec0 was left by a process that ended, and what is routed into it is dropped/);
    t.is((await gateway.apply("hub", HUB_POLICY)).code, 0);
    t.is((await device(gateway))?.ifindex, before?.ifindex);
    t.is(
      (await gateway.ip("hub", "route show dev ipsec0")).replaceAll(" linkdown", "").trim(),
      routes.trim(),
      "routes stay",
    );
    // The peer's replay window knows the numbers that the new process begins with.
    t.is((await gateway.cli("site", "unload")).code, 0);
    await gateway.up();
    await gateway.ip("site", "route replace 10.0.0.0/16 dev ipsec0");
    t.is(await gateway.ping("10.1.0.1", "10.0.0.1"), 3);
    t.is(inTheClear(), 0);
  },
);

serialRootTest("a takeover under traffic lets no packet out without its SA", async (t) => {
  const { gateway, inTheClear } = await watched(t);
  for (let round = 0; round < 3; round++) {
    const traffic = gateway.exec("hub", "ping", "-qnf", "-w", "6", "-I", "10.0.0.1", "10.1.0.1");
    await gateway.kill("hub");
    t.is((await gateway.apply("hub", HUB_POLICY)).code, 0);
    await traffic;
    const { drops } = await gateway.status("hub");
    t.is((drops.txNoShim ?? 0) + (drops.txOtherEpoch ?? 0), 0, "a frame without metadata reached the engine");
  }
  t.is(inTheClear(), 0);
});

serialRootTest("apply takes over with another policy: its addresses, and not those of before", async (t) => {
  const gateway = await Gateway.build(t);
  t.is((await gateway.apply("hub", HUB_POLICY)).code, 0);
  await gateway.ip("hub", "address add 10.0.0.77/32 dev ipsec0");
  await gateway.kill("hub");
  t.is((await gateway.apply("hub", HUB_POLICY.replace("10.0.0.1/32", "10.0.0.2/32"))).code, 0);
  const shown = await addresses(gateway);
  t.regex(shown, /10\.0\.0\.2\/32/);
  t.regex(shown, /fd00::1\/128/);
  t.regex(shown, /10\.0\.0\.77\/32/, "another's stays");
  t.notRegex(shown, /10\.0\.0\.1\/32/);
});

serialRootTest("a takeover that fails leaves the device as it was", async (t) => {
  const gateway = await Gateway.build(t);
  t.is((await gateway.apply("hub", HUB_POLICY)).code, 0);
  await gateway.kill("hub");
  const before = { ifindex: (await device(gateway))?.ifindex, addresses: await addresses(gateway) };
  const { code, stderr } = await gateway.apply(
    "hub",
    HUB_POLICY.replace("local: 192.0.2.1", "local: 192.0.2.99"),
  );
  t.is(code, 1);
  t.regex(stderr, /192\.0\.2\.99/);
  await gateway.kill("hub");
  t.deepEqual({ ifindex: (await device(gateway))?.ifindex, addresses: await addresses(gateway) }, before);
  t.is((await gateway.apply("hub", HUB_POLICY)).code, 0);
});

for (const signal of ["SIGTERM", "SIGINT"] as const)
  serialRootTest(`run that ends by ${signal} leaves the interface, and says so`, async (t) => {
    const gateway = await Gateway.build(t);
    const run = gateway.start("hub", "run", gateway.write("hub.yaml", HUB_POLICY), "--json");
    t.teardown(() => run.kill("SIGKILL"));
    let said = "";
    run.stderr.on("data", (text) => {
      said += text;
    });
    await once(run.stdout, "data");
    run.kill(signal);
    const [code] = await once(run, "close");
    t.is(code, 0);
    t.regex(
      said,
      /ipsec0 stays, and what is routed into it is dropped; `xfrm-steer unload ipsec0` removes it/,
    );
    t.true((await device(gateway))?.flags.includes("UP"));
    t.is((await gateway.cli("hub", "unload")).stdout, "removed ipsec0\n");
    t.is(await device(gateway), undefined);
    t.false(existsSync(gateway.runtimeDir("hub")));
  });

serialRootTest("nobody but root opens a queue of the interface, served or left", async (t) => {
  const gateway = await Gateway.build(t);
  t.is((await gateway.apply("hub", HUB_POLICY)).code, 0);
  const steal = () => gateway.exec("hub", "perl", "-e", OPEN_QUEUE);
  const served = await steal();
  t.regex(served.stderr, /attach: Operation not permitted/);
  await gateway.kill("hub");
  t.regex((await steal()).stderr, /attach: Operation not permitted/);
});

/** As nobody, who may use /dev/net/tun on Debian: opens a queue of ipsec0, a TUN with vnet_hdr and several queues. */
const OPEN_QUEUE = `use POSIX; open(F, "+<", "/dev/net/tun") or die "open: $!"; POSIX::setuid(65534) or die "setuid: $!";
my $ifreq = pack("a16 S x22", "ipsec0", 0x4101); ioctl(F, 0x400454ca, $ifreq) or die "attach: $!"`;

serialRootTest("a TUN device that another made is not taken over", async (t) => {
  const gateway = await Gateway.build(t);
  await gateway.ip("hub", "tuntap add dev ipsec0 mode tun multi_queue vnet_hdr pi");
  const { code, stderr } = await gateway.apply("hub", HUB_POLICY);
  t.is(code, 1);
  t.regex(stderr, /there is a network device ipsec0 that xfrm-steer did not make; `ip link delete ipsec0`/);
  t.truthy(await device(gateway));
});

serialRootTest("an interface that was deleted under its process is set up anew", async (t) => {
  const gateway = await Gateway.build(t);
  await gateway.up();
  await gateway.ip("hub", "link delete ipsec0");
  for (let i = 0; i < 500 && (await gateway.servers("hub")).length > 0; i++) await sleep(20);
  t.deepEqual(await gateway.servers("hub"), []);
  t.is((await gateway.apply("hub", HUB_POLICY)).code, 0);
  t.truthy(await device(gateway));
});

serialRootTest("the service ends with its network namespace", async (t) => {
  const gateway = await Gateway.build(t);
  t.is((await gateway.apply("hub", HUB_POLICY)).code, 0);
  const [pid = 0] = await gateway.servers("hub");
  const folder = gateway.runtimeDir("hub");
  // As long as another process is in it, the namespace can be reached.
  const guest = spawn("ip", ["netns", "exec", gateway.name("hub"), "sleep", "60"]);
  t.teardown(() => guest.kill());
  await once(guest, "spawn");
  for (let i = 0; i < 500 && (await gateway.servers("hub")).length < 2; i++) await sleep(20);
  await gateway.deleteNamespace("hub");
  await sleep(11_000); // longer than it takes to notice
  t.true(existsSync(`/proc/${pid}`));
  guest.kill();
  for (let i = 0; i < 1500 && existsSync(`/proc/${pid}`); i++) await sleep(20);
  t.false(existsSync(`/proc/${pid}`));
  t.false(existsSync(folder));
});
