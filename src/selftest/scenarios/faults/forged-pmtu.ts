import { forgeFragNeeded } from "../../forged-icmp.js";
import { type Scenario, scenario } from "../../scenario.js";
import { tcpFlow, udpFlow } from "../../traffic.js";
import { buildHub, RULES, routeInto, TOPOLOGY } from "../contract/steering.js";
import { type Hub, policyOf, type Subject } from "../contract/subject.js";
import { userspace } from "../contract/userspace-subject.js";

const MARKER = "in the clear";
const FORGED_MTU = 552;
/** IN6_ADDR_GEN_MODE_NONE in <linux/if_link.h> */
const ADDR_GEN_MODE_NONE = "1";

interface DeviceJson {
  readonly mtu: number;
  readonly addr_info: readonly { readonly local: string; readonly prefixlen: number }[];
}

async function deviceOf(hub: Hub) {
  const shown = await hub.ns.exec("ip", "-json", "address", "show", "dev", "ipsec0");
  const [device] = JSON.parse(shown.stdout) as DeviceJson[];
  const mode = await hub.ns.exec("cat", "/proc/sys/net/ipv6/conf/ipsec0/addr_gen_mode");
  return {
    mtu: device?.mtu,
    makesAddresses: mode.stdout.trim() !== ADDR_GEN_MODE_NONE,
    addresses: device?.addr_info.map(({ local, prefixlen }) => `${local}/${prefixlen}`).sort(),
  };
}

/**
 * Whoever tells the gateway of a small path MTU, or sets a small MTU by hand, does not get IPv6 into the clear at the
 * next apply.
 */
export function forgedPmtu(subject: Subject): Scenario {
  return scenario({
    name: `faults-forged-pmtu-${subject.backend}`,
    topology: `${TOPOLOGY}
    The hub's IPv6 default route leads to a by v01, in the clear. Somebody forges "fragmentation needed, MTU ${FORGED_MTU}".
    `,
    needs: subject.needs,
    async run(t) {
      const { hub, branches } = await buildHub(t, subject);
      const [a] = branches;
      hub.ns.sysctl("net/ipv6/conf/default/addr_gen_mode", 0);
      await hub.ns.ip("addr add fd00:16:1::100/64 dev v01 nodad");
      await a.peer.ip("addr add fd00:16:1::200/64 dev v10 nodad");
      await hub.ns.ip("route add ::/0 via fd00:16:1::200");
      const policy = policyOf(subject, branches, { rules: RULES });
      await hub.use(async () => {
        await hub.apply(policy);
        await routeInto(hub);
        const wires = [t.capture(hub.ns, "v01"), t.capture(hub.ns, "v02")];
        const before = await deviceOf(hub);
        const flow = { from: hub.ns, to: a.peer, address: "fd00:1::1", marker: MARKER };
        // The kernel's ESP puts no IPv6 packet into outer fragments, as their DF says (net/xfrm/xfrm_output.c,
        // xfrm4_tunnel_encap_add): whom it believes has its large packets dropped, as long as it does.
        const large = subject.backend === "userspace" ? ["fd00:1::1", "10.1.0.1"] : [];
        const arrives = async () => {
          t.expect("UDP over IPv6", await udpFlow(flow), { sent: 10, received: 10 });
          for (const address of large)
            t.expect(`TCP to ${address}`, await tcpFlow({ ...flow, address }), {
              sent: 100_000,
              received: 100_000,
            });
          for (const wire of wires) t.expect("plaintext on the wire", wire.count(MARKER), 0);
        };
        await t.step("before", async () => {
          t.expect("addresses", before.addresses, ["10.0.0.1/32", "fd00::1/128"]);
          t.expect("makes addresses by itself", before.makesAddresses, false);
          await arrives();
        });
        await t.step("an apply after the forgery changes nothing, and IPv6 stays in the tunnel", async () => {
          for (const { peer, outer } of branches) {
            const lie = { victim: outer.hub, destination: outer.peer, mtu: FORGED_MTU };
            forgeFragNeeded({ path: peer.path, ...lie });
          }
          const route = await hub.ns.ip(`route get ${a.outer.peer}`);
          t.expect("what the kernel believes", Number(route.match(/mtu (\d+)/)?.[1]), FORGED_MTU);
          await hub.apply(policy);
          t.expect("the interface", await deviceOf(hub), before);
          await arrives();
        });
        await t.step("an apply after an MTU of 1000, set by hand and taken back", async () => {
          await hub.ns.ip(`link set ipsec0 mtu 1000\nlink set ipsec0 mtu ${before.mtu}`);
          await hub.apply(policy);
          t.expect("the interface", await deviceOf(hub), before);
          await hub.ns.ip("route replace fd00::/16 dev ipsec0"); // whose it was
          await arrives();
        });
        await t.step("an apply after an MTU of 1000, set by hand and left", async () => {
          await hub.ns.ip("link set ipsec0 mtu 1000");
          await hub.apply(policy);
          t.expect("the interface", await deviceOf(hub), before);
          await hub.ns.ip("route replace fd00::/16 dev ipsec0");
          await arrives();
        });
      });
    },
  });
}

/** A first apply with IPv6 where the underlay leaves less than IPv6 needs: larger packets leave in outer fragments. */
export const smallUnderlay: Scenario = scenario({
  name: "faults-small-underlay",
  topology: `${TOPOLOGY}
    v01 and v10 take 1300 bytes, of which ESP leaves an inner packet less than 1280.
    `,
  async run(t) {
    const { hub, branches } = await buildHub(t, userspace);
    const [a] = branches;
    await hub.ns.ip("link set v01 mtu 1300");
    await a.peer.ip("link set v10 mtu 1300");
    await hub.use(async () => {
      await hub.apply(policyOf(userspace, branches, { rules: RULES }));
      await routeInto(hub);
      const wire = t.capture(hub.ns, "v01");
      const { addresses, mtu = 0 } = await deviceOf(hub);
      t.expect("addresses", addresses, ["10.0.0.1/32", "fd00::1/128"]);
      t.expect(`an MTU of ${mtu} is one for IPv6`, mtu >= 1280, true);
      for (const [address, headers] of [
        ["fd00:1::1", 48],
        ["10.1.0.1", 28],
      ] as const)
        await t.step(`to ${address}`, async () => {
          // With DF, IPv4 is told by ICMP that less fits.
          const args = address.includes(":") ? [] : ["-M", "dont"];
          const ping = await hub.ns.ping(address, { size: 1280 - headers, count: 3, args });
          t.expect("pings of 1280 bytes", ping, { sent: 3, received: 3 });
          const flow = { from: hub.ns, to: a.peer, address, bytes: 1_000_000, marker: MARKER };
          t.expect("TCP", await tcpFlow(flow), { sent: 1_000_000, received: 1_000_000 });
          const back = { ...flow, from: a.peer, to: hub.ns };
          const source = address.includes(":") ? "fd00::1" : "10.0.0.1";
          t.expect("TCP back", await tcpFlow({ ...back, address: source }), {
            sent: 1_000_000,
            received: 1_000_000,
          });
          t.expect("plaintext on the wire", wire.count(MARKER), 0);
        });
    });
  },
});
