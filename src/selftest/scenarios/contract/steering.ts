import { existsSync } from "node:fs";
import type { Status } from "../../../backends/backend.js";
import { inNetns } from "../../../sys/netns.js";
import { namespaceFolder } from "../../../sys/runtime-dir.js";
import { UdpSocket } from "../../netns-socket.js";
import { LOSS_MS } from "../../patience.js";
import { type Scenario, type ScenarioContext, scenario } from "../../scenario.js";
import type { SteeringOptions } from "../../steering/steering.js";
import { udpFlow } from "../../traffic.js";
import { addUplink } from "../hub.js";
import { type Branch, Hub, policyOf, type Subject } from "./subject.js";

export const TOPOLOGY = `
            hub                                   a
    ipsec0                                 ipsec0
    10.0.0.1 fd00::1                       10.1.0.1 10.1.0.77 fd00:1::1
    172.16.1.100 v01 ================= v10 172.16.1.200

    172.16.2.100 v02 ================= v20 172.16.2.200
                                           10.2.0.1 10.1.0.77 fd00:2::1
                                           ipsec0
                                                  b

    10.1.0.0/24 and fd00:1::/64 are a's, 10.2.0.0/24 and fd00:2::/64 are b's, 10.4.0.0/24 is c's, which has no SA.
    A rule sends 10.1.0.77 to b; both peers have that address.
`;

export const RULES = [`{name: moved, match: {dst: 10.1.0.77}, to: b}`];
const WITHOUT_SA = [`  c: {if_id: 3, subnets: [10.4.0.0/24]}`];
const MARKER = "in the clear";
const DISCARD = 9;

/** Makes hub, a and b, connected; nothing steers yet. */
export async function buildHub(
  t: ScenarioContext,
  subject: Subject,
  options?: SteeringOptions,
): Promise<{ hub: Hub; branches: [Branch, Branch] }> {
  const ns = t.ns("hub");
  const hub = new Hub(ns, options);
  const branch = async (i: number, name: string): Promise<Branch> => {
    const peer = t.ns(name);
    const made: Branch = {
      ...{ name, ifId: i, hub: ns, peer, outer: await addUplink(t, ns, peer, i), spi: 0x1000 * i },
      subnets: [`10.${i}.0.0/24`, `fd00:${i}::/64`],
      inner: [`10.${i}.0.1/24`, `fd00:${i}::1/64`, "10.1.0.77/32"],
    };
    await subject.connect(made, hub.folder);
    return made;
  };
  return { hub, branches: [await branch(1, "a"), await branch(2, "b")] };
}

/** What may be steered has to be routed into the interface. */
export async function routeInto(hub: Hub): Promise<void> {
  await hub.ns.ip("route add 10.0.0.0/8 dev ipsec0\nroute add fd00::/16 dev ipsec0");
}

/** Packets by connection and by rule. */
const packets = ({ connections, rules }: Status) => ({
  sent: Object.fromEntries(connections.map(({ name, sent }) => [name, sent.packets])),
  received: Object.fromEntries(connections.map(({ name, received }) => [name, received.packets])),
  rules: Object.fromEntries(rules.map(({ name, matched }) => [name, matched.packets])),
});

/** Each packet goes to its connection and to no other; what has none, or one without an SA, is dropped. */
export function steering(subject: Subject): Scenario {
  return scenario({
    name: `contract-${subject.backend}-steering`,
    topology: TOPOLOGY,
    needs: subject.needs,
    async run(t) {
      const { hub, branches } = await buildHub(t, subject);
      const [a, b] = branches;
      const folder = inNetns(hub.ns.handle, namespaceFolder);
      await hub.use(async () => {
        const policy = policyOf(subject, branches, { rules: RULES, connections: WITHOUT_SA });
        const { generation, created } = await hub.apply(policy);
        t.expect("first apply", { generation, created }, { generation: 1, created: true });
        await routeInto(hub);
        const wires = [t.capture(hub.ns, "v01"), t.capture(hub.ns, "v02")];
        const flow = { from: hub.ns, count: 10, marker: MARKER };

        await t.step("IPv4: each peer answers", async () => {
          t.expect("ping a", await hub.ns.ping("10.1.0.1", { count: 3 }), { sent: 3, received: 3 });
          t.expect("ping b", await hub.ns.ping("10.2.0.1", { count: 4 }), { sent: 4, received: 4 });
        });
        await t.step("IPv6: each peer answers", async () => {
          t.expect("ping a", await hub.ns.ping("fd00:1::1", { count: 3 }), { sent: 3, received: 3 });
          t.expect("ping b", await hub.ns.ping("fd00:2::1", { count: 4 }), { sent: 4, received: 4 });
        });
        await t.step("a rule comes before the subnets", async () => {
          const address = "10.1.0.77";
          t.expect("b", await udpFlow({ ...flow, to: b.peer, address }), { sent: 10, received: 10 });
          // Somebody listens at b too, so that no ICMP errors come back.
          const discard = new UdpSocket(b.peer.path, "0.0.0.0", DISCARD);
          try {
            const lost = await udpFlow({ ...flow, to: a.peer, address, port: DISCARD, waitMs: LOSS_MS });
            t.expect("a", lost, { sent: 10, received: 0 });
          } finally {
            discard.close();
          }
        });
        await t.step("what no rule and no subnet has is dropped", async () => {
          t.expect("ping", await hub.ns.ping("10.9.9.9", { count: 5, waitMs: LOSS_MS }), {
            sent: 5,
            received: 0,
          });
        });
        await t.step("an if_id without an SA is dropped", async () => {
          t.expect("ping", await hub.ns.ping("10.4.0.1", { count: 6, waitMs: LOSS_MS }), {
            sent: 6,
            received: 0,
          });
        });
        await t.step("nothing leaves in the clear", async () => {
          for (const wire of wires) t.expect("plaintext on the wire", wire.count(MARKER), 0);
        });
        await t.step("status counts it", async () => {
          const counted = {
            sent: { a: 6, b: 28, c: 6 },
            received: { a: 6, b: 8, c: 0 },
            rules: { moved: 20 },
          };
          const nothing = {
            sent: { a: 0, b: 0, c: 0 },
            received: { a: 0, b: 0, c: 0 },
            rules: { moved: 0 },
          };
          const status = (await hub.status()) as Status;
          t.expect("packets", packets(status), subject.counts ? counted : nothing);
          // The kernel's own multicast listener reports end here too.
          if (subject.counts) t.expect("5 by default", status.default.matched.packets >= 5, true);
        });
        if (subject.counts)
          await t.step("a source outside of the connection's subnets is refused", async () => {
            await a.peer.ip("addr add 10.2.0.99/32 dev ipsec0");
            const ping = await a.peer.ping("10.0.0.1", {
              count: 2,
              waitMs: LOSS_MS,
              args: ["-I", "10.2.0.99"],
            });
            t.expect("ping", ping, { sent: 2, received: 0 });
            const status = (await hub.status()) as Status;
            t.expect("refused", status.connections[0]?.badSource.packets, 2);
          });
        await t.step("unload leaves nothing", async () => {
          t.expect("unloaded", await hub.unload(), true);
          t.expect("status", await hub.status(), null);
          t.expect("devices", [...(await hub.ns.links()).keys()], ["lo", "v01", "v02"]);
          for (const path of [`/run/xfrm-steer/${folder}`, `/run/xfrm-steer/bpf/${folder}`])
            t.expect(path, existsSync(path), false);
        });
      });
    },
  });
}
