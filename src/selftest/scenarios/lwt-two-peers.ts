import { LOSS_MS } from "../patience.js";
import { scenario } from "../scenario.js";
import { connectEsp } from "../xfrm.js";
import { addExternal, addUplink, addXfrm, LWT_NEEDS, packetsBySpi } from "./hub.js";

export const lwtTwoPeers = scenario({
  name: "lwt-two-peers",
  topology: `
            hub                                  peer1
    ipsec0 (external)                     ipsec0 (if_id 11)
    192.168.1.100                         192.168.1.200
    172.16.1.100 v01 ================ v10 172.16.1.200

    172.16.2.100 v02 ================ v20 172.16.2.200
                                          192.168.1.200
                                          ipsec0 (if_id 12)
                                                 peer2

    Both peers own 192.168.1.200: the route's if_id alone says which of them is meant.
  `,
  needs: LWT_NEEDS,
  async run(t) {
    const hub = t.ns("hub");
    await addExternal(hub, "192.168.1.100/24");
    for (const i of [1, 2]) {
      const peer = t.ns(`peer${i}`);
      const outer = await addUplink(t, hub, peer, i);
      await addXfrm(peer, "ipsec0", 10 + i, "192.168.1.200/24");
      await connectEsp({
        a: { ns: hub, address: outer.hub, ifId: i },
        b: { ns: peer, address: outer.peer, ifId: 10 + i },
        spi: 0x100 * i,
        reqid: i,
      });
    }
    const wire = t.capture(hub, "v01");

    await t.step("a route without an if_id passes nothing", async () => {
      t.expect("ping", await hub.ping("192.168.1.200", { waitMs: LOSS_MS }), { sent: 3, received: 0 });
      t.expect("packets per SPI", await packetsBySpi(hub), {});
    });
    await t.step("if_id 1 leads to peer1 only", async () => {
      await hub.ip("route replace 192.168.1.200/32 dev ipsec0 encap xfrm if_id 1");
      t.expect("ping", await hub.ping("192.168.1.200", { count: 5 }), { sent: 5, received: 5 });
      t.expect("packets per SPI", await packetsBySpi(hub), { "0x100": 5, "0x101": 5 });
      t.expect("ESP packets to peer1 on the wire", wire.esp(0x100), 5);
    });
    await t.step("if_id 2 leads to peer2 only", async () => {
      await hub.ip("route replace 192.168.1.200/32 dev ipsec0 encap xfrm if_id 2");
      t.expect("ping", await hub.ping("192.168.1.200", { count: 7 }), { sent: 7, received: 7 });
      t.expect("packets per SPI", await packetsBySpi(hub), {
        ...{ "0x100": 5, "0x101": 5 },
        ...{ "0x200": 7, "0x201": 7 },
      });
    });
  },
});
