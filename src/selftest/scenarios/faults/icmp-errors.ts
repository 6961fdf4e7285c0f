import type { Status } from "../../../backends/backend.js";
import { forgeFragNeeded } from "../../forged-icmp.js";
import { type Scenario, type ScenarioContext, scenario } from "../../scenario.js";
import { tcpFlow } from "../../traffic.js";
import { kernelBpf } from "../contract/kernel-subject.js";
import { type Branch, Hub, policyOf, type Subject } from "../contract/subject.js";
import { userspace } from "../contract/userspace-subject.js";
import { addUplink } from "../hub.js";

const [HOST, LAN, ROUTER] = ["10.1.0.77", "10.0.5.5", "10.77.0.1"];
/** What the last links take, on both sides of the tunnel. */
const LINK_MTU = 1300;
const FORGED_MTU = 700;
const BYTES = 500_000;

/** Both sites have the same network; b has the services from port 5000 on. */
const RULES = [
  `{name: b-out, match: {dst: 10.1.0.0/24, proto: tcp, dport: 5000-5999}, to: b}`,
  `{name: b-pings, match: {dst: 10.1.0.0/24, proto: icmp, icmp_type: [0, 8]}, to: b}`,
  `{name: a-all, match: {dst: 10.1.0.0/24}, to: a}`,
];

/** The start of a TCP header. */
const tcpTo = (port: number) => ({
  protocol: 6,
  bytes: Uint8Array.of(0x9c, 0x40, port >>> 8, port, 0, 0, 0, 0),
});

async function build(t: ScenarioContext, subject: Subject) {
  const ns = t.ns("hub");
  const [lan, host] = [t.ns("lan"), t.ns("host")];
  const hub = new Hub(ns);
  const branch = async (i: number, name: string, subnets: string[], inner: string[]): Promise<Branch> => {
    const peer = t.ns(name);
    const made: Branch = {
      ...{ name, ifId: i, hub: ns, peer, outer: await addUplink(t, ns, peer, i), spi: 0x1000 * i },
      ...{ subnets, inner },
    };
    await subject.connect(made, hub.folder);
    return made;
  };
  const a = await branch(1, "a", ["10.1.0.0/24", "10.3.0.0/24"], ["10.3.0.1/24", `${HOST}/32`]);
  const b = await branch(2, "b", ["10.1.0.0/24"], [`${ROUTER}/32`]);
  await t.veth(
    { ns: lan, device: "v90", addresses: [`${LAN}/24`] },
    { ns, device: "v09", addresses: ["10.0.5.1/24"] },
  );
  await t.veth(
    { ns: b.peer, device: "v20h", addresses: ["10.78.0.1/24"] },
    { ns: host, device: "v02h", addresses: ["10.78.0.2/24", `${HOST}/32`] },
  );
  // One end alone, so that neither host learns of it from its own device.
  await ns.ip(`link set v09 mtu ${LINK_MTU}`);
  await b.peer.ip(`link set v20h mtu ${LINK_MTU}
    route add ${HOST}/32 via 10.78.0.2
    route add 10.0.5.0/24 dev ipsec0`);
  await host.ip(`route add default via 10.78.0.1 src ${HOST}`);
  await lan.ip("route add default via 10.0.5.1");
  for (const router of [ns, b.peer]) router.sysctl("net/ipv4/ip_forward", 1);
  return { hub, lan, host, a, b };
}

/**
 * An ICMP error belongs to the connection whose packet it quotes (RFC 4301 section 6), also where it comes from a router that no
 * connection has; and no tenant forges one about another's flow.
 */
export function icmpErrors(subject: Subject): Scenario {
  return scenario({
    name: `faults-icmp-errors-${subject.backend}`,
    topology: `
      lan                  hub                                a
      10.0.5.5       ipsec0                            ipsec0
      v90 ==== v09   10.0.0.1                          10.3.0.1 10.1.0.77
        (MTU ${LINK_MTU})   172.16.1.100 v01 ============ v10 172.16.1.200

                     172.16.2.100 v02 ============ v20 172.16.2.200
                                                       10.77.0.1                      host
                                                       ipsec0   v20h ========== v02h  10.1.0.77
                                                              b      (MTU ${LINK_MTU})

      10.1.0.0/24 is at both sites: rules send TCP to its ports 5000-5999 and pings to b, all else to a. Nobody has 10.77.0.1.
    `,
    needs: subject.needs,
    async run(t) {
      const { hub, lan, host, a, b } = await build(t, subject);
      await hub.use(async () => {
        await hub.apply(policyOf(subject, [a, b], { rules: RULES }));
        await hub.ns.ip("route add 10.1.0.0/24 dev ipsec0\nroute add 10.3.0.0/24 dev ipsec0");
        const counted = async () => {
          const { connections } = (await hub.status()) as Status;
          const [of] = connections;
          return { received: of?.received.packets ?? 0, badSource: of?.badSource.packets ?? 0 };
        };
        const pathMtu = async (ns: typeof host, address: string) =>
          Number((await ns.ip(`route get ${address}`)).match(/ mtu (\d+)/)?.[1] ?? 0);

        const lie = { path: a.peer.path, victim: "10.0.0.1", destination: HOST, mtu: FORGED_MTU };

        await t.step("received: a router beyond b, of no subnet, is heard", async () => {
          const flow = { from: hub.ns, source: "10.0.0.1", to: host, address: HOST, port: 5000 };
          t.expect("TCP to the host", await tcpFlow({ ...flow, bytes: BYTES }), {
            sent: BYTES,
            received: BYTES,
          });
          t.expect("path MTU", await pathMtu(hub.ns, HOST), LINK_MTU);
        });
        await t.step("sent: what the hub says of b's flow goes to b", async () => {
          const flow = { from: host, source: HOST, sourcePort: 5001, to: lan, address: LAN };
          t.expect("TCP to the LAN", await tcpFlow({ ...flow, bytes: BYTES }), {
            sent: BYTES,
            received: BYTES,
          });
          t.expect("path MTU", await pathMtu(host, LAN), LINK_MTU);
        });
        await t.step("forged: a's error about b's flow is refused and counted", async () => {
          const before = await counted();
          forgeFragNeeded(lie); // about an echo reply
          forgeFragNeeded({ ...lie, quoted: tcpTo(5000) });
          await t.eventually(
            "a's refused packets",
            async () => (await counted()).badSource - before.badSource,
            2,
          );
          t.expect("path MTU", await pathMtu(hub.ns, HOST), LINK_MTU);
        });
        await t.step("and one about its own flow is not", async () => {
          const before = await counted();
          forgeFragNeeded({ ...lie, quoted: tcpTo(80) });
          await t.eventually(
            "a's accepted packets",
            async () => (await counted()).received - before.received,
            1,
          );
          t.expect("a's refused packets", (await counted()).badSource, before.badSource);
        });
      });
    },
  });
}

export const icmpErrorScenarios: readonly Scenario[] = [userspace, kernelBpf].map(icmpErrors);
