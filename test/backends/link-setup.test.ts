import test from "ava";
import { changeLink, setUpLink } from "../../src/backends/link-setup.js";
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
