import { release } from "node:os";
import { isAtLeast } from "../features.js";
import { LOSS_MS } from "../patience.js";
import { scenario } from "../scenario.js";
import { addPeer, BPF_NEEDS, hubPolicy } from "./bpf-hub.js";
import { packetsBySpi } from "./hub.js";

const PEER = "192.168.1.200";

export const offloadWithoutHardware = scenario({
  name: "bpf-offload-flag-without-hardware",
  topology: `
            hub                               peer1
    ipsec0 (external)                  ipsec0 (if_id 11)
    192.168.1.100                      192.168.1.200
    172.16.1.100 v01 ============= v10 172.16.1.200

    The hub's outgoing SA asks v01 for its crypto; a veth has none (xfrm_dev_state_add in net/xfrm/xfrm_device.c).
  `,
  needs: BPF_NEEDS,
  async run(t) {
    const hub = t.ns("hub");
    const { outer } = await addPeer(t, hub, 1, [`${PEER}/24`], { offload: "v01" });
    const connections = { one: `{if_id: 1, subnets: [${PEER}]}` };
    const wire = t.capture(hub, "v01");
    await t.step("unsteered nothing passes", async () => {
      await t.steer(hub).apply(
        hubPolicy({
          addresses: ["192.168.1.100/24"],
          connections: { one: "{if_id: 1, subnets: [10.0.0.0/8]}" },
        }),
      );
      t.expect("ping", await hub.ping(PEER, { waitMs: LOSS_MS }), { sent: 3, received: 0 });
    });
    await t.step("the kernel falls back to software: packets pass, encrypted", async () => {
      await t.steer(hub).apply(hubPolicy({ addresses: ["192.168.1.100/24"], connections }));
      t.expect("ping", await hub.ping(PEER, { count: 5 }), { sent: 5, received: 5 });
      t.expect("packets per SPI", await packetsBySpi(hub), { "0x100": 5, "0x101": 5 });
      t.expect("ESP packets on the wire", wire.esp(0x100), 5);
      const states = await hub.ip("xfrm state list nokeys");
      t.expect("an SA that is offloaded", states.includes("offload"), false);
    });
    await t.step("an incoming SA with an if_id: refused from Linux 6.16 on, software before", async () => {
      const { status } = await hub.exec(
        "ip",
        ...`xfrm state add src ${outer.peer} dst ${outer.hub} proto esp spi 0x900 mode tunnel if_id 1`.split(
          " ",
        ),
        ...["aead", "rfc4106(gcm(aes))", `0x${"00".repeat(20)}`, "128", "offload", "dev", "v01", "dir", "in"],
      );
      t.expect("refused", status !== 0, isAtLeast(release(), "6.16"));
    });
  },
});
