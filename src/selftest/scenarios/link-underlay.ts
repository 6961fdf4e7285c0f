import { scenario } from "../scenario.js";
import { connectEsp } from "../xfrm.js";
import { addExternal, addUplink, addXfrm, LWT_NEEDS } from "./hub.js";

export const linkPicksUnderlay = scenario({
  name: "link-picks-the-underlay",
  topology: `
            hub                                peer
    ipsec0 (external)                   ipsec0 (if_id 11)
    192.168.1.100                       192.168.1.200
    lo 10.9.9.1                         lo 10.9.9.2
    172.16.1.100 v01 ============== v10 172.16.1.200
    172.16.2.100 v02 ============== v20 172.16.2.200

    The hub's route to 10.9.9.2 prefers v01; a link sends by the other one.
  `,
  needs: LWT_NEEDS,
  async run(t) {
    const [hub, peer] = [t.ns("hub"), t.ns("peer")];
    await hub.ip("addr add 10.9.9.1/32 dev lo");
    await peer.ip("addr add 10.9.9.2/32 dev lo");
    for (const i of [1, 2]) {
      const outer = await addUplink(t, hub, peer, i);
      await hub.ip(`route add 10.9.9.2/32 via ${outer.peer} dev v0${i} metric ${i}`);
      await peer.ip(`route add 10.9.9.1/32 via ${outer.hub} dev v${i}0 metric ${i}`);
      // The peer answers by its preferred uplink, so what comes back may not be what went out.
      hub.sysctl(`net/ipv4/conf/v0${i}/rp_filter`, 0);
      peer.sysctl(`net/ipv4/conf/v${i}0/rp_filter`, 0);
    }
    await addExternal(hub, "192.168.1.100/24");
    await addXfrm(peer, "ipsec0", 11, "192.168.1.200/24");
    await connectEsp({
      a: { ns: hub, address: "10.9.9.1", ifId: 1 },
      b: { ns: peer, address: "10.9.9.2", ifId: 11 },
      spi: 0x100,
      reqid: 1,
    });
    const wires = [t.capture(hub, "v01"), t.capture(hub, "v02")];
    const sent = () => wires.map((wire) => wire.esp(0x100));
    const steps = [
      { name: "without a link the route decides: v01", link: "", count: 3, expected: [3, 0] },
      { name: "link v02", link: "link_dev v02", count: 4, expected: [3, 4] },
      { name: "link v01", link: "link_dev v01", count: 5, expected: [8, 4] },
    ];
    for (const { name, link, count, expected } of steps) {
      await t.step(name, async () => {
        await hub.ip(`route replace 192.168.1.200/32 dev ipsec0 encap xfrm if_id 1 ${link}`);
        t.expect("ping", await hub.ping("192.168.1.200", { count }), { sent: count, received: count });
        t.expect("ESP packets sent by v01 and v02", sent(), expected);
      });
    }
  },
});
