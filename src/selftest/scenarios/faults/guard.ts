import { LOSS_MS } from "../../patience.js";
import { type Scenario, scenario } from "../../scenario.js";
import { udpFlow } from "../../traffic.js";
import { buildHub, TOPOLOGY } from "../contract/steering.js";
import { type Branch, Hub, policyOf, type Subject } from "../contract/subject.js";
import { addUplink } from "../hub.js";

const MARKER = "in the clear";

/** Whatever becomes of the interface, the default route does not take what connections own. */
export function guard(subject: Subject): Scenario {
  return scenario({
    name: `faults-guard-${subject.backend}`,
    topology: `${TOPOLOGY}
    The hub's default routes lead to a by v01, in the clear.
    `,
    needs: subject.needs,
    async run(t) {
      const { hub, branches } = await buildHub(t, subject);
      const [a] = branches;
      await hub.ns.ip("addr add fd00:16:1::100/64 dev v01 nodad");
      await a.peer.ip("addr add fd00:16:1::200/64 dev v10 nodad");
      await hub.ns.ip("route add default via 172.16.1.200\nroute add ::/0 via fd00:16:1::200");
      const policy = policyOf(subject, branches, { device: "routes: true" });
      await hub.use(async () => {
        const wires = [t.capture(hub.ns, "v01"), t.capture(hub.ns, "v02")];
        const clear = () => wires.reduce((sum, wire) => sum + wire.count(MARKER), 0);
        const flow = { from: hub.ns, to: a.peer, marker: MARKER };
        const inner = ["10.1.0.1", "fd00:1::1"];
        const arrives = async () => {
          for (const address of inner)
            t.expect(address, await udpFlow({ ...flow, address }), { sent: 10, received: 10 });
          t.expect("in the clear", clear(), 0);
        };
        const isLost = async () => {
          for (const address of inner) {
            const { received } = await udpFlow({ ...flow, address, waitMs: LOSS_MS });
            t.expect(`${address} received`, received, 0);
          }
          t.expect("in the clear", clear(), 0);
        };
        await t.step("apply makes guard and routes", async () => {
          t.expect("notes", (await hub.apply(policy)).notes ?? [], []);
          await arrives();
        });
        await t.step("the interface is down", async () => {
          await hub.ns.ip("link set ipsec0 down");
          await isLost();
        });
        await t.step("it is up again, and applied", async () => {
          await hub.ns.ip("link set ipsec0 up");
          await hub.apply(policy);
          await arrives();
        });
        await t.step("it is applied again under traffic", async () => {
          let over = false;
          const traffic = async () => {
            while (!over) for (const address of inner) await udpFlow({ ...flow, address, waitMs: LOSS_MS });
          };
          const applies = async () => {
            for (let i = 0; i < 5; i++) await hub.apply(policy);
            over = true;
          };
          await Promise.all([traffic(), applies().finally(() => (over = true))]);
          t.expect("in the clear", clear(), 0);
        });
        await t.step("the interface is deleted", async () => {
          await hub.ns.ip("link del ipsec0");
          await isLost();
        });
        await t.step("apply repairs all", async () => {
          await hub.apply(policy);
          // The userspace engine counts anew, and a holds its first packets for replayed ones: they are there all the same.
          const spi = Buffer.alloc(4);
          spi.writeUInt32BE(a.spi);
          const before = wires[0]?.count(spi) ?? 0;
          for (const address of inner) await udpFlow({ ...flow, address, waitMs: LOSS_MS });
          await t.eventually("as ESP", async () => (wires[0]?.count(spi) ?? 0) > before, true);
          t.expect("in the clear", clear(), 0);
        });
        await t.step("unload takes guard and routes", async () => {
          await hub.unload();
          const shown = await hub.ns.exec("sh", "-c", "ip route show table all; ip -6 route show table all");
          t.expect("routes of ours", /proto (88|89|90) /.test(shown.stdout), false);
        });
      });
    },
  });
}

/** A guard over its own peer's address, with and without a link: outer packets keep their gateway. */
export function guardOverPeer(subject: Subject, link: boolean): Scenario {
  return scenario({
    name: `faults-guard-peer-${link ? "link-" : ""}${subject.backend}`,
    topology: `
            hub                                        a
    10.9.9.1 (lo), ipsec0 10.0.0.1            10.9.9.2 (lo), ipsec0 10.1.0.1
    172.16.1.100 v01 ======================== v10 172.16.1.200

    a owns 10.9.0.0/16, which its own outer address 10.9.9.2 is in; the hub's default route leads to it.
    `,
    needs: subject.needs,
    async run(t) {
      const [ns, peer] = [t.ns("hub"), t.ns("a")];
      const hub = new Hub(ns);
      await addUplink(t, ns, peer, 1);
      await ns.ip("addr add 10.9.9.1/32 dev lo\nroute add default via 172.16.1.200");
      await peer.ip("addr add 10.9.9.2/32 dev lo\nroute add 10.9.9.1/32 via 172.16.1.100");
      const branch: Branch = {
        ...{ name: "a", ifId: 1, hub: ns, peer, outer: { hub: "10.9.9.1", peer: "10.9.9.2" } },
        ...{ spi: 0x1000, subnets: ["10.1.0.0/24", "10.9.0.0/16"], inner: ["10.1.0.1/24"] },
      };
      await subject.connect(branch, hub.folder);
      await hub.use(async () => {
        const policy = policyOf(subject, [branch], {
          device: "routes: true",
          ...(link ? { links: { a: "v01" } } : {}),
        });
        t.expect("notes", (await hub.apply(policy)).notes ?? [], []);
        t.expect("ping", await ns.ping("10.1.0.1"), { sent: 3, received: 3 });
        await ns.ip("link set ipsec0 down");
        await ns.ip("link set ipsec0 up");
        await hub.apply(policy);
        t.expect("ping", await ns.ping("10.1.0.1"), { sent: 3, received: 3 });
        await hub.unload();
        t.expect("rules", /3270/.test((await ns.exec("ip", "rule", "show")).stdout), false);
      });
    },
  });
}
