import { scenario } from "../scenario.js";
import { connectEsp } from "../xfrm.js";
import { addExternal, addUplink, addXfrm, LWT_NEEDS } from "./hub.js";

export const linkPicksUnderlay = scenario({
  name: "link-picks-the-underlay",
  topology: `
            hub                                        peer
    ipsec0 (external)                           ipsec0 (if_id 11)
    192.168.1.100                               192.168.1.200
    lo 10.9.9.1                                 lo 10.9.9.2
    vrf1, table 101: v01 172.16.1.100 ====== v10 172.16.1.200
    vrf2, table 102: v02 172.16.2.100 ====== v20 172.16.2.200

    The outer route lookup is made in the VRF of the link (l3mdev_master_ifindex_by_index in
    net/ipv4/xfrm4_policy.c). A link that is in no VRF changes nothing.
  `,
  needs: [...LWT_NEEDS, "vrf"],
  async run(t) {
    const [hub, peer] = [t.ns("hub"), t.ns("peer")];
    await hub.ip("addr add 10.9.9.1/32 dev lo");
    await peer.ip("addr add 10.9.9.2/32 dev lo");
    for (const i of [1, 2]) {
      const outer = await addUplink(t, hub, peer, i);
      await hub.ip(`route add 10.9.9.2/32 via ${outer.peer} dev v0${i} metric ${i}`);
      await peer.ip(`route add 10.9.9.1/32 via ${outer.hub} dev v${i}0 metric ${i}`);
      // The peer answers by its preferred uplink, which need not be the one that it was asked by.
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
    const sendBy = async (link: string, count: number) => {
      await hub.ip(`route replace 192.168.1.200/32 dev ipsec0 encap xfrm if_id 1 ${link}`);
      await hub.ping("192.168.1.200", { count });
      return wires.map((wire) => wire.esp(0x100));
    };
    await t.step("without a link the main table decides: v01", async () => {
      t.expect("ESP packets by v01 and v02", await sendBy("", 3), [3, 0]);
    });
    await t.step("a link in no VRF changes nothing", async () => {
      t.expect("ESP packets by v01 and v02", await sendBy("link_dev v02", 3), [6, 0]);
    });
    for (const i of [1, 2]) {
      const outer = `172.16.${i}`;
      await hub.ip(`link add vrf${i} type vrf table 10${i}
        link set vrf${i} up
        link set v0${i} master vrf${i}
        route add 10.9.9.2/32 via ${outer}.200 dev v0${i} table 10${i}`);
    }
    await t.step("a link in vrf2 sends by v02", async () => {
      t.expect("ESP packets by v01 and v02", await sendBy("link_dev v02", 4), [6, 4]);
    });
    await t.step("the VRF device itself may be the link", async () => {
      t.expect("ESP packets by v01 and v02", await sendBy("link_dev vrf1", 5), [11, 4]);
    });
    await t.step("without a link no VRF is looked in: nothing leaves", async () => {
      t.expect("ESP packets by v01 and v02", await sendBy("", 2), [11, 4]);
    });
  },
});
