import { writeFileSync } from "node:fs";
import test from "ava";
import {
  changeLink,
  closeIpv6,
  ifindexOf,
  type LinkState,
  presentLinkState,
  setUpLink,
  wantedLinkState,
} from "../../src/backends/link-setup.js";
import { parsePolicy } from "../../src/config/index.js";
import { readLink } from "../../src/netlink/link.js";
import { forgeFragNeeded } from "../../src/selftest/forged-icmp.js";
import { ipJson } from "../../src/sys/ip.js";
import { type Netns, withNetns } from "../support/netns.js";

const rootTest = process.geteuid?.() === 0 ? test : test.skip;

interface AddressJson {
  addr_info: { local: string; prefixlen: number }[];
}

function addresses(ns: Netns): string[] {
  const [device] = ns.run(() => ipJson<AddressJson>("address", "show", "dev", "v0"));
  return (device?.addr_info ?? []).map(({ local, prefixlen }) => `${local}/${prefixlen}`).sort();
}

function makeDevice(ns: Netns): void {
  ns.ip("link add v0 type veth peer name v1");
  ns.ip("link set v1 up");
}

for (const [from, to] of [
  [["10.0.0.1/24"], ["10.0.0.2/24"]],
  [["10.0.0.1/24", "10.0.0.2/24"], ["10.0.0.2/24"]],
  [
    ["10.0.0.1/24", "fd00::1/64"],
    ["10.0.0.2/24", "10.0.0.3/24", "fd00::2/64"],
  ],
] as const)
  rootTest(`addresses change from ${from} to ${to}, and back where a step fails (needs root)`, async (t) => {
    await withNetns((ns) => {
      makeDevice(ns);
      const before = { mtu: 1400, addresses: from };
      const after = { mtu: 1400, addresses: to };
      ns.run(() => setUpLink("v0", before));
      ns.run(() => changeLink("v0", before, after));
      t.deepEqual(addresses(ns), [...to].sort());
      ns.run(() => changeLink("v0", after, before));
      const refused = { mtu: 1400, addresses: [...to, "10.0.0.0/99"] };
      t.throws(() => ns.run(() => changeLink("v0", before, refused)));
      t.deepEqual(addresses(ns), [...from].sort());
    });
  });

rootTest(
  "a device without IPv6, as its MTU is below 1280, is set up as others are (needs root)",
  async (t) => {
    await withNetns((ns) => {
      makeDevice(ns);
      ns.ip("link set v0 mtu 1000");
      ns.run(() => setUpLink("v0", { mtu: 1000, addresses: ["10.0.0.1/32"] }));
      t.deepEqual(addresses(ns), ["10.0.0.1/32"]);
      ns.ip("link set v0 down");
      ns.run(() => setUpLink("v0", { mtu: 1400, addresses: ["10.0.0.1/32", "fd00::1/128"] }));
      t.deepEqual(addresses(ns), ["10.0.0.1/32", "fd00::1/128"]);
    });
  },
);

const POLICY = `version: 1
interface: {name: ipsec0}
connections:
  site:
    if_id: 101
    subnets: [10.1.0.0/16]
    esp:
      local: 192.0.2.1
      remote: 198.51.100.1
      suite: aes128-gcm
      out: {spi: 0x1001, key: "env:NONE"}
      in: {spi: 0x2001, key: "env:NEITHER"}
`;

const IPV6_POLICY = POLICY.replace("[10.1.0.0/16]", '[10.1.0.0/16, "fd00:1::/48"]');

interface Underlay {
  /** Of the device. */
  readonly mtu?: number;
  /** Of the route to the other end, as `ip route add` takes them. */
  readonly properties?: string;
  /** What is done before the MTU is asked for. */
  readonly meanwhile?: (ns: Netns) => void;
}

/** The automatic MTU in a namespace with such an underlay. */
async function mtuOver({ mtu = 1400, properties = "", meanwhile }: Underlay, text = POLICY): Promise<number> {
  const { policy, diagnostics } = parsePolicy(text, "steer.yaml");
  if (policy === null) throw new Error(JSON.stringify(diagnostics));
  return await withNetns((ns) => {
    makeDevice(ns);
    ns.ip(`link set v0 up mtu ${mtu}`);
    ns.ip("link set lo up");
    ns.ip("addr add 192.0.2.1/24 dev v0");
    ns.ip(`route add 198.51.100.0/24${properties || " via 192.0.2.2"}`);
    meanwhile?.(ns);
    return ns.run(() => wantedLinkState(policy)).mtu;
  });
}

rootTest("the automatic MTU is what the route takes, or else its device (needs root)", async (t) => {
  const byDevice = await mtuOver({});
  t.is(byDevice, 1338);
  for (const properties of [" via 192.0.2.2 mtu 1300", " via 192.0.2.2 mtu lock 1300"])
    t.is(await mtuOver({ properties }), byDevice - 100);
  const nextHops = " nexthop via 192.0.2.2 nexthop via 192.0.2.3";
  t.is(await mtuOver({ properties: nextHops }), byDevice);
  t.is(await mtuOver({ properties: ` mtu 1300${nextHops}` }), byDevice - 100);
});

rootTest(
  "what the kernel has learnt of a path, which may be forged, is not the automatic MTU (needs root)",
  async (t) => {
    const meanwhile = (ns: Netns) => {
      const path = `/run/netns/${ns.name}`;
      forgeFragNeeded({ path, victim: "192.0.2.1", destination: "198.51.100.1", mtu: 552 });
      t.regex(ns.ip("route get 198.51.100.1"), /mtu 552/);
    };
    t.is(await mtuOver({ meanwhile }), 1338);
    t.is(await mtuOver({ meanwhile }, IPV6_POLICY), 1338);
  },
);

for (const [where, text] of [
  ["nowhere", POLICY],
  ["in a subnet", IPV6_POLICY],
  ["in a rule", `${POLICY}rules:\n  - {match: {dst: "fd00:2::/48"}, to: drop}\n`],
  ["among what a rule takes", `${POLICY}rules:\n  - {match: {proto: udp}, to: site}\n`],
  ["on the interface", POLICY.replace("ipsec0}", 'ipsec0, addresses: ["fd00::1/128"]}')],
] as const)
  rootTest(
    `over an underlay of 1300 bytes the MTU is one for IPv6 where that is: ${where} (needs root)`,
    async (t) => {
      t.is(await mtuOver({ mtu: 1300 }, text), where === "nowhere" ? 1238 : 1280);
    },
  );

rootTest("IPv6 routes into the interface keep its MTU at 1280 or above (needs root)", async (t) => {
  const route = (ns: Netns) => {
    ns.ip("link add ipsec0 type veth peer name other");
    ns.ip("link set other up");
    ns.ip("link set ipsec0 up");
    t.is(ns.run(() => readLink(ifindexOf("ipsec0")))?.mtu, 1500);
    ns.ip("route add fd00:2::/48 dev ipsec0");
  };
  t.is(await mtuOver({ mtu: 1300, meanwhile: route }), 1280);
  await t.throwsAsync(mtuOver({ meanwhile: route }, POLICY.replace("ipsec0}", "ipsec0, mtu: 1000}")), {
    message: /^ipsec0 has IPv6 routes, such as fd00:2::\/48, .* write mtu: auto or at least 1280$/,
  });
});

interface Ipv6Json {
  inet6_addr_gen_mode?: string;
}

rootTest(
  "after an MTU below 1280, which takes IPv6 away, addresses are back and none is made up (needs root)",
  async (t) => {
    await withNetns((ns) => {
      makeDevice(ns);
      ns.run(() => writeFileSync("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "0"));
      const wanted = { mtu: 1400, addresses: ["10.0.0.1/32", "fd00::1/128"] };
      const mode = () =>
        ns.run(() => ipJson<Ipv6Json>("-details", "link", "show", "dev", "v0"))[0]?.inet6_addr_gen_mode;
      const change = (from: LinkState, to: LinkState) => ns.run(() => changeLink("v0", from, to));
      const present = () => ns.run(() => presentLinkState("v0", wanted.addresses));
      ns.run(() => setUpLink("v0", wanted));
      t.deepEqual([present(), addresses(ns), mode()], [wanted, wanted.addresses, "none"]);

      ns.ip("link set v0 mtu 1000");
      t.deepEqual(present(), { mtu: 1000, addresses: ["10.0.0.1/32"] });
      change(present(), wanted);
      t.deepEqual([present(), addresses(ns), mode()], [wanted, wanted.addresses, "none"]);

      ns.ip("link set v0 mtu 1000");
      ns.ip("link set v0 mtu 1400");
      t.not(mode(), "none");
      change(present(), wanted);
      ns.run(() => closeIpv6("v0", wanted.addresses));
      t.deepEqual([present(), addresses(ns), mode()], [wanted, wanted.addresses, "none"]);

      const without = { mtu: 1000, addresses: ["10.0.0.1/32"] };
      change(wanted, without);
      t.deepEqual([present(), addresses(ns)], [without, without.addresses]);
      change(without, wanted);
      t.deepEqual([present(), addresses(ns), mode()], [wanted, wanted.addresses, "none"]);
    });
  },
);
