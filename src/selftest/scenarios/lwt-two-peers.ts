import { scenario } from "../scenario.js";
import { connectEsp } from "../xfrm.js";

export const lwtTwoPeers = scenario({
  name: "lwt-two-peers",
  topology: `
            hub                                      peer1
    ipsec0 (external)                          ipsec0 (if_id 11)
    192.168.1.100/24                           192.168.1.200/24
            |  v01 172.16.1.100 ---- v10 172.16.1.200  |
            |
            |  v02 172.16.2.100 ---- v20 172.16.2.200  |
                                               ipsec0 (if_id 12)
                                               192.168.1.200/24
                                                     peer2
    Both peers own 192.168.1.200; the route's if_id alone says which of them is meant.
  `,
  needs: ["esp", "xfrm-external", "lwt-xfrm"],
  async run(t) {
    const hub = t.ns("hub");
    await hub.ip(
      "link add ipsec0 type xfrm external\naddr add 192.168.1.100/24 dev ipsec0\nlink set ipsec0 up",
    );
    for (const i of [1, 2]) {
      const peer = t.ns(`peer${i}`);
      const [local, remote] = [`172.16.${i}.100`, `172.16.${i}.200`];
      await t.veth(
        { ns: hub, device: `v0${i}`, addresses: [`${local}/24`] },
        { ns: peer, device: `v${i}0`, addresses: [`${remote}/24`] },
      );
      await peer.ip(`link add ipsec0 type xfrm dev v${i}0 if_id ${10 + i}
        addr add 192.168.1.200/24 dev ipsec0
        link set ipsec0 up`);
      await connectEsp({
        a: { ns: hub, address: local, ifId: i },
        b: { ns: peer, address: remote, ifId: 10 + i },
        spi: 0x100 * i,
        reqid: i,
      });
    }
    // Out to each peer, back from each peer: packets per SA.
    const packets = async () => (await hub.sas()).map(({ spi, packets }) => [spi, packets]).sort();

    await t.step("without an if_id on the route nothing passes", async () => {
      t.expect("ping .200", await hub.ping("192.168.1.200"), { sent: 3, received: 0 });
      const { txErrors, txPackets } = await hub.link("ipsec0");
      t.expect("ipsec0 of hub", { txErrors, txPackets }, { txErrors: 3, txPackets: 0 });
    });
    await t.step("if_id 1 leads to peer1 only", async () => {
      await hub.ip("route replace 192.168.1.200/32 dev ipsec0 encap xfrm if_id 1");
      t.expect("ping .200", await hub.ping("192.168.1.200", { count: 5 }), { sent: 5, received: 5 });
      t.expect("packets per SPI", await packets(), [
        [0x100, 5],
        [0x101, 5],
        [0x200, 0],
        [0x201, 0],
      ]);
    });
    await t.step("if_id 2 leads to peer2 only", async () => {
      await hub.ip("route replace 192.168.1.200/32 dev ipsec0 encap xfrm if_id 2");
      t.expect("ping .200", await hub.ping("192.168.1.200", { count: 7 }), { sent: 7, received: 7 });
      t.expect("packets per SPI", await packets(), [
        [0x100, 5],
        [0x101, 5],
        [0x200, 7],
        [0x201, 7],
      ]);
    });
  },
});
