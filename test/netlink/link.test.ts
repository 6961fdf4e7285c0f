import { execFileSync } from "node:child_process";
import test from "ava";
import { readAddresses, readLink } from "../../src/netlink/link.js";
import { withNetns } from "../support/netns.js";
import { rootTest } from "../support/root-test.js";

test("the loopback device has no kind and 127.0.0.1", (t) => {
  const link = readLink(1);
  t.is(link?.kind, undefined);
  t.false(link?.external);
  if (link?.up) t.true(readAddresses(1).includes("127.0.0.1/8"));
});

test("a device that is not there is null, and has no addresses to read", (t) => {
  t.is(readLink(0x7ffffff0), null);
  t.throws(() => readAddresses(0x7ffffff0), { message: /reading the addresses of network device .*ENODEV/ });
});

rootTest(
  "kind, mtu, state and addresses are what iproute2 set; other devices' addresses are not listed",
  (t) =>
    withNetns((ns) => {
      ns.ip("link add v0 type veth peer name v1");
      ns.ip("link set v0 mtu 1400 up");
      for (const address of ["10.0.0.1/24", "10.0.0.2/32", "fd00::1/64 dev v0 nodad"])
        ns.ip(`address add ${address}${address.includes("dev") ? "" : " dev v0"}`);
      ns.ip("address add 10.9.0.1/24 dev v1");
      const ifindex = ns.ifindex("v0");
      const { errors, ...link } = ns.run(() => readLink(ifindex)) ?? { errors: null };
      t.deepEqual(link, {
        ...{ name: "v0", kind: "veth", external: false, mtu: 1400, up: true, qdisc: "noqueue", tun: null },
      });
      t.deepEqual(Object.keys(errors ?? {}), ["rx_errors", "tx_errors", "rx_dropped", "tx_carrier_errors"]);
      const global = ns.run(() => readAddresses(ifindex)).filter((address) => !address.startsWith("fe80"));
      t.deepEqual(global.toSorted(), ["10.0.0.1/24", "10.0.0.2/32", "fd00::1/64"]);
    }),
);

rootTest("a dump longer than one read is whole", (t) =>
  withNetns((ns) => {
    ns.ip("link add v0 type veth peer name v1");
    const all = Array.from({ length: 1500 }, (_, i) => `10.1.${i >> 8}.${i & 255}/32`);
    const lines = all.map((address) => `address add ${address} dev v0`).join("\n");
    execFileSync("ip", ["-n", ns.name, "-batch", "-"], { input: lines });
    const ifindex = ns.ifindex("v0");
    t.deepEqual(ns.run(() => readAddresses(ifindex)).toSorted(), all.toSorted());
  }),
);
