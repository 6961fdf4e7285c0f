import { scenario } from "../scenario.js";
import { connectEsp } from "../xfrm.js";
import { addExternal, addUplink, addXfrm, LWT_NEEDS } from "./hub.js";

export const perIfIdDeviceWins = scenario({
  name: "per-if-id-device-wins-on-receive",
  topology: `
            hub                               peer
    ipsec0 (external)                  ipsec0 (if_id 11)
    ipsec7 (if_id 7)                   192.168.1.200
    192.168.1.100
    172.16.1.100 v01 ============= v10 172.16.1.200
  `,
  needs: LWT_NEEDS,
  async run(t) {
    const [hub, peer] = [t.ns("hub"), t.ns("peer")];
    const outer = await addUplink(t, hub, peer, 1);
    await addExternal(hub, "192.168.1.100/24");
    await addXfrm(peer, "ipsec0", 11, "192.168.1.200/24");
    await connectEsp({
      a: { ns: hub, address: outer.hub, ifId: 7 },
      b: { ns: peer, address: outer.peer, ifId: 11 },
      spi: 0x100,
      reqid: 1,
    });
    await hub.ip("route replace 192.168.1.200/32 dev ipsec0 encap xfrm if_id 7");
    await t.step("alone, the external device receives", async () => {
      t.expect("ping", await hub.ping("192.168.1.200"), { sent: 3, received: 3 });
      t.expect("ipsec0 received", (await hub.link("ipsec0")).rxPackets, 3);
    });
    await t.step("beside it, the device of that if_id does", async () => {
      await addXfrm(hub, "ipsec7", 7);
      t.expect("ping", await hub.ping("192.168.1.200", { count: 5 }), { sent: 5, received: 5 });
      t.expect("ipsec0 received", (await hub.link("ipsec0")).rxPackets, 3);
      t.expect("ipsec7 received", (await hub.link("ipsec7")).rxPackets, 5);
    });
    await t.step("a device of another if_id does not", async () => {
      await hub.ip("link delete ipsec7");
      await addXfrm(hub, "ipsec8", 8);
      t.expect("ping", await hub.ping("192.168.1.200", { count: 2 }), { sent: 2, received: 2 });
      t.expect("ipsec0 received", (await hub.link("ipsec0")).rxPackets, 5);
      t.expect("ipsec8 received", (await hub.link("ipsec8")).rxPackets, 0);
    });
  },
});

export const oneExternalPerNamespace = scenario({
  name: "one-external-device-per-namespace",
  topology: `
    a: ipsec0 (external)    b: ipsec0 (external)    c: ipsec0 (external)
  `,
  needs: ["xfrm-external"],
  async run(t) {
    for (const name of ["a", "b", "c"]) await addExternal(t.ns(name));
    for (const name of ["a", "b", "c"]) {
      const refused = await t.ns(name).exec("ip", "link", "add", "ipsec1", "type", "xfrm", "external");
      t.expect(
        `a second one in ${name} exists already`,
        [refused.status, refused.stderr.includes("File exists")],
        [2, true],
      );
    }
  },
});
