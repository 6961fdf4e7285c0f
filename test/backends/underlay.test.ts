import test from "ava";
import { BpfProgram } from "libbpf-ts";
import { underlayDevices } from "../../src/backends/underlay/devices.js";
import { attachedDevices, detach, install, programAt } from "../../src/backends/underlay/hooks.js";
import { parseXfrm } from "../../src/backends/underlay/outer.js";
import { loadUnderlay, PROGRAM } from "../../src/backends/underlay/program.js";
import { compileUnderlay } from "../../src/compiler/underlay.js";
import { formatAddress, parseAddress } from "../../src/config/address.js";
import { parsePolicy } from "../../src/config/index.js";
import { KtapParser } from "../../src/selftest/ktap-parser.js";
import { runScenarios } from "../../src/selftest/run.js";
import { underlayPlaintexts } from "../../src/selftest/scenarios/faults/underlay-plaintext.js";
import { type Netns, withNetns } from "../support/netns.js";
import { rootTest, serialRootTest } from "../support/root-test.js";

serialRootTest(
  "userspace: plaintext from the underlay is refused, whatever happens to the engine",
  async (t) => {
    const parser = new KtapParser();
    await runScenarios(underlayPlaintexts.slice(0, 1), { write: (text) => parser.push(text) });
    const [result] = parser.tests;
    t.true(result?.ok, result?.diagnostics.join("\n"));
    t.is(result?.skip, undefined);
  },
);

rootTest("where pins would not last, a filter of clsact is swapped, found and taken away", async (t) => {
  await withNetns((ns) => {
    ns.ip("link add w0 type veth peer name w1");
    const ifindex = ns.ifindex("w0");
    const hooks = { owner: { backend: "userspace", name: "ipsec0" }, pins: null } as const;
    const running = () => ns.run(() => attachedDevices(hooks));
    const idOf = (program: BpfProgram) => program.info().id;
    using one = load();
    using two = load();
    ns.run(() => {
      using first = install(hooks, ifindex, one);
      t.truthy(first);
      using again = install(hooks, ifindex, one);
      t.is(again, null, "it runs there already");
      using second = install(hooks, ifindex, two);
      t.is(programAt(hooks, ifindex), idOf(two));
      second?.undo();
      t.is(programAt(hooks, ifindex), idOf(one));
    });
    t.deepEqual(running(), [ifindex]);
    const other = { owner: { backend: "userspace", name: "ipsec1" }, pins: null } as const;
    t.deepEqual(
      ns.run(() => attachedDevices(other)),
      [],
      "another interface's",
    );
    ns.run(() => detach(hooks, ifindex));
    t.deepEqual(running(), []);
    t.is(
      ns.run(() => install(hooks, 4711, one)),
      null,
      "a device that is gone",
    );
  });
});

function load(): BpfProgram & Disposable {
  const { policy } = parsePolicy(
    "version: 1\nconnections: {a: {if_id: 1, subnets: [10.1.0.0/16]}}\n",
    "steer.yaml",
  );
  const tables = policy && compileUnderlay(policy, []);
  if (!tables) throw new Error("there is nothing to refuse");
  using object = loadUnderlay(tables);
  return BpfProgram.fromId(object.program(PROGRAM).info().id);
}

/** What `ip xfrm state list nokeys` and `ip xfrm policy list` of iproute2 6.1 print. */
const XFRM = `src 172.16.1.100 dst 172.16.1.200
	proto esp spi 0x00001000 reqid 1 mode tunnel
	replay-window 32 flag af-unspec
	anti-replay context: seq 0x0, oseq 0x3, bitmap 0x00000000
	output-mark 0x7/0xff
	if_id 0x1
src 172.16.9.1 dst 172.16.9.2
	proto esp spi 0x00009000 reqid 9 mode tunnel
	sel src 10.9.0.0/16 dst 10.9.0.0/16

src ::/0 dst ::/0
	dir out priority 0 ptype main
	tmpl src 172.16.2.100 dst fd00:16::2
		proto esp reqid 2 mode tunnel
	if_id 0x1f
src 10.0.0.1/32 dst 10.1.0.1/32
	dir in priority 0
	tmpl src 0.0.0.0 dst 0.0.0.0
		proto esp reqid 3 mode transport
	if_id 0x3
`;

test("outer addresses are read from SAs and policies that have an if_id", (t) => {
  const found = [...parseXfrm(XFRM)].map(([ifId, peers]) => [
    ifId,
    peers.map(({ address, mark }) => `${formatAddress(address)} ${mark}`),
  ]);
  t.deepEqual(found, [
    [1, ["172.16.1.100 7", "172.16.1.200 7"]],
    [31, ["172.16.2.100 0", "fd00:16::2 0"]],
    [3, []],
  ]);
});

const route = (remote: string | null, link: string | null = null, mark = 0) => ({
  remote: remote === null ? null : parseAddress(remote),
  link,
  mark,
});

/** Names of the devices, with `ipsec0` steered on. */
function devicesOf(ns: Netns, ...routes: ReturnType<typeof route>[]): string[] {
  const names = new Map(["w0", "w1", "w2", "p0", "p1", "ipsec0"].map((name) => [ns.ifindex(name), name]));
  return ns
    .run(() => underlayDevices(routes, ["ipsec0"]))
    .map((ifindex) => names.get(ifindex) ?? `${ifindex}`);
}

rootTest("devices are those of the routes to the outer addresses", async (t) => {
  await withNetns((ns) => {
    for (const name of ["w0", "w1", "w2", "p0", "p1", "ipsec0"]) {
      ns.ip(`link add ${name} type veth peer name ${name}x`);
      for (const end of [name, `${name}x`]) ns.ip(`link set ${end} up`);
    }
    for (const i of [0, 1, 2]) ns.ip(`address add 192.0.${i}.1/24 dev w${i}`);
    ns.ip("-6 address add fd00:16::1/64 dev w1 nodad");
    ns.ip("route add default via 192.0.2.2 dev w2");
    ns.ip("route add 198.51.100.0/24 nexthop via 192.0.0.2 dev w0 nexthop via 192.0.1.2 dev w1");
    ns.ip("route add 203.0.113.0/24 dev ipsec0");
    ns.ip("route add unreachable 203.0.114.0/24");
    ns.ip("rule add fwmark 7 table 77");
    ns.ip("route add 203.0.113.9/32 via 192.0.1.2 dev w1 table 77");
    t.deepEqual(devicesOf(ns, route("192.0.0.9")), ["w0"]);
    t.deepEqual(devicesOf(ns, route("fd00:16::9")), ["w1"]);
    t.deepEqual(devicesOf(ns, route("198.51.100.9")), ["w0", "w1"], "each next hop");
    t.deepEqual(devicesOf(ns, route("203.0.113.9", null, 7)), ["w1"], "by mark");
    t.deepEqual(devicesOf(ns, route("192.0.0.9"), route("192.0.0.1")), ["w0"], "not its own address");
    t.deepEqual(devicesOf(ns, route("203.0.113.9")), ["w2"], "never the steering interface: by default");
    t.deepEqual(devicesOf(ns, route("203.0.114.9")), ["w2"], "no route: by default");
    t.deepEqual(devicesOf(ns, route(null)), ["w2"], "not known: by default");
    t.deepEqual(devicesOf(ns, route(null, "w0")), ["w0"], "not known, with a link");
    if (addVrf(ns)) t.deepEqual(devicesOf(ns, route(null, "vrf1")), ["p0", "p1"], "a VRF's ports");
    ns.ip("route del default");
    t.deepEqual(devicesOf(ns, route(null)), [], "nothing at all");
  });
});

/** @returns false where the kernel has no VRFs */
function addVrf(ns: Netns): boolean {
  try {
    ns.ip("link add vrf1 type vrf table 101");
  } catch {
    return false;
  }
  for (const port of ["p0", "p1"]) ns.ip(`link set ${port} master vrf1`);
  return true;
}
