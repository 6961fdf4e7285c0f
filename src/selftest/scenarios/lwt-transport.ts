import type { Namespace } from "../namespace.js";
import { LOSS_MS } from "../patience.js";
import { type ScenarioContext, scenario } from "../scenario.js";
import { tcpFlow, udpFlow } from "../traffic.js";
import { connectEsp } from "../xfrm.js";
import { addExternal, addUplink, addXfrm, LWT_NEEDS, packetsBySpi } from "./hub.js";

const MARKER = "in the clear";

/** Sends what leaves by `device` and is not ESP yet through ipsec0. */
async function redirectToIpsec(t: ScenarioContext, namespace: Namespace, device: string): Promise<void> {
  for (const line of [
    `qdisc add dev ${device} clsact`,
    // u32, for flower does not find ESP's protocol number in a packet that ipsec0 sends.
    `filter add dev ${device} egress protocol ip prio 1 u32 match ip protocol 50 0xff action ok`,
    `filter add dev ${device} egress protocol ip prio 2 matchall action mirred egress redirect dev ipsec0`,
  ]) {
    const { status, stderr } = await namespace.exec("tc", ...line.split(" "));
    t.expect(`tc ${line}`, [status, stderr], [0, ""]);
  }
}

export const lwtTransport = scenario({
  name: "lwt-transport",
  topology: `
            hub                               peer
    ipsec0 (external)                  ipsec0 (if_id 11)
    172.16.1.100 v01 ============= v10 172.16.1.200

    Transport mode keeps the packet's own route, so a route to ipsec0 would be a loop, which the device
    refuses. Instead the route leads to the uplink and carries the if_id; tc sends what is not ESP yet from there
    through ipsec0.
  `,
  needs: LWT_NEEDS,
  async run(t) {
    const [hub, peer] = [t.ns("hub"), t.ns("peer")];
    const outer = await addUplink(t, hub, peer, 1);
    await addExternal(hub);
    await addXfrm(peer, "ipsec0", 11);
    await connectEsp({
      a: { ns: hub, address: outer.hub, ifId: 1, selector: `${outer.hub}/32` },
      b: { ns: peer, address: outer.peer, ifId: 11, selector: `${outer.peer}/32` },
      mode: "transport",
      spi: 0x100,
      reqid: 1,
    });
    const wire = t.capture(hub, "v01");
    const toPeer = { from: hub, to: peer, address: outer.peer, marker: MARKER };
    const toHub = { from: peer, to: hub, address: outer.hub, marker: MARKER };

    await t.step("a route to the device itself is a loop: nothing passes", async () => {
      await hub.ip(`route replace ${outer.peer}/32 dev ipsec0 src ${outer.hub} encap xfrm if_id 1`);
      t.expect("datagrams received", (await udpFlow({ ...toPeer, waitMs: LOSS_MS })).received, 0);
      t.expect("ipsec0 errors", (await hub.link("ipsec0")).txErrors, 10);
      await hub.ip(`route delete ${outer.peer}/32 dev ipsec0`);
    });
    await t.step("a route with the if_id, redirected at the uplink, encrypts every packet", async () => {
      await hub.ip(`route replace ${outer.peer}/32 dev v01 encap xfrm if_id 1`);
      await redirectToIpsec(t, hub, "v01");
      await redirectToIpsec(t, peer, "v10");
      t.expect("UDP", await udpFlow(toPeer), { sent: 10, received: 10 });
      t.expect("packets per SPI", await packetsBySpi(hub), { "0x100": 10 });
    });
    await t.step("inbound, the external device decrypts but cannot deliver transport mode", async () => {
      // It leaves its metadata as the packet's dst, which xfrm4_rcv_encap_finish takes for a route.
      t.expect("UDP", await udpFlow({ ...toHub, waitMs: LOSS_MS }), { sent: 10, received: 0 });
      t.expect("packets per SPI", await packetsBySpi(hub), { "0x100": 10, "0x101": 10 });
    });
    await t.step("a device of that if_id beside it delivers", async () => {
      await addXfrm(hub, "ipsec1", 1);
      t.expect("UDP", await udpFlow(toHub), { sent: 10, received: 10 });
      t.expect("TCP", await tcpFlow({ ...toPeer, bytes: 50_000 }), { sent: 50_000, received: 50_000 });
    });
    t.expect("plaintext on the wire", wire.count(MARKER), 0);
  },
});
