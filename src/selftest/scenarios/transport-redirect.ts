import { scenario } from "../scenario.js";
import { tcpFlow, udpFlow } from "../traffic.js";
import { connectEsp } from "../xfrm.js";
import { addExternal, addUplink, LWT_NEEDS, packetsBySpi } from "./hub.js";

const MARKER = "in the clear";

export const transport = scenario({
  name: "lwt-transport",
  topology: `
            hub                               peer
    ipsec0 (external)                  ipsec0 (external)
    172.16.1.100 v01 ============= v10 172.16.1.200

    Transport mode keeps the packet's own route, so a route to the device itself would be a loop (the
    device counts it as such). The route leads to the uplink and carries the if_id; tc sends what is not ESP yet
    from there through the device.
  `,
  needs: LWT_NEEDS,
  async run(t) {
    const ends = { hub: t.ns("hub"), peer: t.ns("peer") };
    const { hub, peer } = ends;
    const outer = await addUplink(t, hub, peer, 1);
    for (const ns of [hub, peer]) await addExternal(ns);
    await connectEsp({
      a: { ns: hub, address: outer.hub, ifId: 1, selector: `${outer.hub}/32` },
      b: { ns: peer, address: outer.peer, ifId: 1, selector: `${outer.peer}/32` },
      mode: "transport",
      spi: 0x100,
      reqid: 1,
    });
    const wire = t.capture(hub, "v01");
    const flow = { from: hub, to: peer, address: outer.peer, marker: MARKER };
    // Neighbour entries by hand: the counts below are of ESP alone.
    await t.step("a route to the device itself loops and passes nothing", async () => {
      await hub.ip(`route replace ${outer.peer}/32 dev ipsec0 src ${outer.hub} encap xfrm if_id 1`);
      t.expect("datagrams received", (await udpFlow(flow)).received, 0);
      t.expect("plaintext on the wire", wire.count(MARKER), 0);
      await hub.ip(`route delete ${outer.peer}/32 dev ipsec0`);
    });
    await t.step("a route with the if_id, redirected at the uplink, encrypts every packet", async () => {
      for (const [ns, device, to] of [
        [hub, "v01", outer.peer],
        [peer, "v10", outer.hub],
      ] as const) {
        await ns.ip(`route replace ${to}/32 dev ${device} encap xfrm if_id 1`);
        for (const line of [
          `qdisc add dev ${device} clsact`,
          `filter add dev ${device} egress protocol ip prio 1 flower ip_proto 50 action ok`,
          `filter add dev ${device} egress protocol ip prio 2 matchall action mirred egress redirect dev ipsec0`,
        ]) {
          const result = await ns.exec("tc", ...line.split(" "));
          t.expect(`tc ${line}`, [result.status, result.stderr], [0, ""]);
        }
      }
      t.expect("UDP", await udpFlow(flow), { sent: 10, received: 10 });
      t.expect("packets per SPI", await packetsBySpi(hub), { "0x100": 10 });
      t.expect("TCP", await tcpFlow({ ...flow, bytes: 50_000 }), { sent: 50_000, received: 50_000 });
      t.expect("plaintext on the wire", wire.count(MARKER), 0);
    });
  },
});
