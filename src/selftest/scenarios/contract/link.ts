import { LOSS_MS } from "../../patience.js";
import { type Scenario, scenario } from "../../scenario.js";
import { addUplink } from "../hub.js";
import { type Branch, Hub, policyOf, type Subject } from "./subject.js";

/** The policy's `link` picks the underlay, and an apply changes it. */
export function link(subject: Subject): Scenario {
  return scenario({
    name: `contract-${subject.backend}-link`,
    topology: `
            hub                                   a
    ipsec0 10.0.0.1                        ipsec0 10.1.0.1
    lo 10.9.9.1                            lo 10.9.9.2
    172.16.1.100 v01 ================= v10 172.16.1.200
    172.16.2.100 v02 ================= v20 172.16.2.200

    The hub's route to 10.9.9.2 prefers v01. For the kernel's backends each uplink is then put in a VRF, as the kernel
    looks for the outer route in the VRF of the link.
    `,
    needs: subject.linkNeeds,
    async run(t) {
      const [ns, peer] = [t.ns("hub"), t.ns("a")];
      await ns.ip("addr add 10.9.9.1/32 dev lo");
      await peer.ip("addr add 10.9.9.2/32 dev lo");
      for (const i of [1, 2]) {
        const outer = await addUplink(t, ns, peer, i);
        await ns.ip(`route add 10.9.9.2/32 via ${outer.peer} dev v0${i} metric ${i}`);
        await peer.ip(`route add 10.9.9.1/32 via ${outer.hub} dev v${i}0 metric ${i}`);
        // The peer answers by its preferred uplink, so what comes back may not be what went out.
        ns.sysctl(`net/ipv4/conf/v0${i}/rp_filter`, 0);
        peer.sysctl(`net/ipv4/conf/v${i}0/rp_filter`, 0);
      }
      const hub = new Hub(ns);
      const branch: Branch = {
        ...{ name: "a", ifId: 1, hub: ns, peer, outer: { hub: "10.9.9.1", peer: "10.9.9.2" } },
        ...{ spi: 0x5ca1ab1e, subnets: ["10.1.0.0/24"], inner: ["10.1.0.1/24"] },
      };
      await subject.connect(branch, hub.folder);
      const spi = Buffer.alloc(4);
      spi.writeUInt32BE(branch.spi);
      await hub.use(async () => {
        const wires = [t.capture(ns, "v01"), t.capture(ns, "v02")];
        const sent = async () => wires.map((wire) => wire.count(spi));
        const sendBy = async (links: Record<string, string>, count: number, expected: number[]) => {
          await hub.apply(policyOf(subject, [branch], { links }));
          await ns.ip("route replace 10.1.0.0/16 dev ipsec0");
          // One by one: a burst may leave as one frame.
          for (let i = 0; i < count; i++) await ns.ping("10.1.0.1", { count: 1, waitMs: LOSS_MS });
          await t.eventually("ESP packets sent by v01 and v02", sent, expected);
        };
        await t.step("without a link the main table decides: v01", async () => {
          await sendBy({}, 3, [3, 0]);
        });
        await subject.separateUplinks(branch, [1, 2]);
        await t.step("link v02", async () => {
          await sendBy({ a: "v02" }, 4, [3, 4]);
        });
        await t.step("link v01", async () => {
          await sendBy({ a: "v01" }, 5, [8, 4]);
        });
      });
    },
  });
}
