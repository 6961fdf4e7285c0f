import { LOSS_MS } from "../patience.js";
import { scenario } from "../scenario.js";
import { udpFlow } from "../traffic.js";
import { addPeer, BPF_NEEDS, hubPolicy, packetsByConnection } from "./bpf-hub.js";
import { packetsBySpi } from "./hub.js";

const PEER = "192.168.1.200";

export const fragments = scenario({
  name: "bpf-fragments",
  topology: `
            hub                                  peer1
    ipsec0 (external)                     ipsec0 (if_id 11)
    192.168.1.100                         192.168.1.200
    172.16.1.100 v01 ================ v10 172.16.1.200

    172.16.2.100 v02 ================ v20 172.16.2.200
                                          192.168.1.200
                                          ipsec0 (if_id 12)
                                                 peer2

    UDP port 5000 goes to peer2, all else to peer1. Only a datagram's first fragment has its ports.
  `,
  needs: BPF_NEEDS,
  async run(t) {
    const hub = t.ns("hub");
    const { ns: one } = await addPeer(t, hub, 1, [`${PEER}/24`]);
    const { ns: two } = await addPeer(t, hub, 2, [`${PEER}/24`]);
    const policy = (match: string) =>
      hubPolicy({
        addresses: ["192.168.1.100/24"],
        connections: { one: `{if_id: 1, subnets: [${PEER}]}`, two: `{if_id: 2, subnets: [${PEER}]}` },
        rules: [`{name: port, match: {${match}}, to: two}`, `{name: rest, match: {dst: ${PEER}}, to: one}`],
      });
    const send = (port: number, size: number, waitMs?: number) =>
      udpFlow({ from: hub, to: port === 5000 ? two : one, address: PEER, port, count: 4, size, waitMs });
    await t.step("fragments of what no port rule takes arrive whole", async () => {
      await t.steer(hub).apply(policy("proto: udp, dport: 5000"));
      t.expect("4000 bytes to port 4000", await send(4000, 4000), { sent: 4, received: 4 });
      t.expect("packets per SPI: three fragments each", await packetsBySpi(hub), { "0x100": 12 });
    });
    await t.step("a port rule takes first fragments only: the rest goes the next rule's way", async () => {
      t.expect("4000 bytes to port 5000", await send(5000, 4000, LOSS_MS), { sent: 4, received: 0 });
      t.expect("packets per SPI", await packetsBySpi(hub), { "0x100": 20, "0x200": 4 });
    });
    await t.step("a rule without ports takes them all", async () => {
      await t.steer(hub).apply(policy("proto: udp"));
      t.expect("4000 bytes to port 5000", await send(5000, 4000), { sent: 4, received: 4 });
      t.expect("packets per SPI", await packetsBySpi(hub), { "0x100": 20, "0x200": 16 });
      t.expect("sent", packetsByConnection(await t.steer(hub).status()).two?.sent, 16);
    });
  },
});
