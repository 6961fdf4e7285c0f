import test from "ava";
import { changeLink, setUpLink, wantedLinkState } from "../../src/backends/link-setup.js";
import { parsePolicy } from "../../src/config/index.js";
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

/** The automatic MTU in a namespace whose route to the other end has more properties. */
async function mtuOver(properties: string): Promise<number> {
  const { policy, diagnostics } = parsePolicy(POLICY, "steer.yaml");
  if (policy === null) throw new Error(JSON.stringify(diagnostics));
  return await withNetns((ns) => {
    makeDevice(ns);
    ns.ip("link set v0 up mtu 1400");
    ns.ip("addr add 192.0.2.1/24 dev v0");
    ns.ip(`route add 198.51.100.0/24 via 192.0.2.2${properties}`);
    return ns.run(() => wantedLinkState(policy)).mtu;
  });
}

rootTest("the automatic MTU is what the route takes, or else its device (needs root)", async (t) => {
  const byDevice = await mtuOver("");
  t.is(byDevice, 1338);
  t.is(await mtuOver(" mtu 1300"), byDevice - 100);
  t.is(await mtuOver(" mtu lock 1300"), byDevice - 100);
});
