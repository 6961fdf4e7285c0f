import { randomBytes } from "node:crypto";
import { UdpSocket } from "../netns-socket.js";
import { scenario } from "../scenario.js";
import { BPF_NEEDS, largePolicy, prefix4 } from "./bpf-hub.js";
import { addUplink } from "./hub.js";

const COUNT = 10_000;
const FIRST_SPI = 0x10000;
/** Odd steps through the if_ids, so that neighbours are far apart. */
const ORDER = Array.from({ length: COUNT }, (_, step) => (step * 7919) % COUNT);

/** Address of connection `index`: two to a connection from 10.1.0.0 on. */
const subnet = (index: number) => `10.${1 + (index >> 15)}.${(index >> 7) & 0xff}.${(index << 1) & 0xff}`;

export const manyIfIds = scenario({
  name: "bpf-10000-if-ids",
  topology: `
            hub                               peer
    ipsec0 (external)
    10.0.0.1
    172.16.1.100 v01 ============= v10 172.16.1.200

    10,000 connections with a policy and an SA each, all to the same peer. The SPI on the wire tells the SA.
  `,
  needs: BPF_NEEDS,
  typicalMs: 25_000,
  async run(t) {
    const [hub, peer] = [t.ns("hub"), t.ns("peer")];
    const outer = await addUplink(t, hub, peer, 1);
    const key = `0x${randomBytes(20).toString("hex")}`;
    const lines: string[] = [];
    for (let index = 0; index < COUNT; index++) {
      const common = `src ${outer.hub} dst ${outer.peer} proto esp`;
      const ids = `reqid ${index + 1} mode tunnel`;
      lines.push(
        `xfrm state add ${common} spi ${FIRST_SPI + index} ${ids} if_id ${index + 1} aead rfc4106(gcm(aes)) ${key} 128`,
        `xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 dir out if_id ${index + 1} tmpl ${common} ${ids}`,
      );
    }
    await hub.ip(lines.join("\n"));
    const connections = Array.from({ length: COUNT }, (_, index) => ({
      ...{ name: `c${index}`, ifId: index + 1, subnets: [prefix4(subnet(index), 31)] },
    }));
    await t.steer(hub).apply(largePolicy({ address: "10.0.0.1/8", connections }));
    const wire = t.capture(hub, "v01");
    const sender = new UdpSocket(hub.path, "10.0.0.1");
    try {
      await t.step("what is in none of the subnets does not leave", async () => {
        for (let i = 0; i < 10; i++) sender.send(Buffer.alloc(8), "10.9.0.1", 9);
        t.expect("SPIs on the wire", wire.spis(), []);
      });
      await t.step(`${COUNT} packets, each by its own SA`, async () => {
        // The first one waits for the peer's link-layer address.
        sender.send(Buffer.alloc(8), subnet(0), 9);
        await t.eventually("the first packet on the wire", async () => wire.spis().length, 1);
        for (const index of ORDER) sender.send(Buffer.alloc(8), subnet(index), 9);
        await t.eventually("packets on the wire", async () => wire.spis().length, COUNT + 1);
        const wrong = wire
          .spis()
          .slice(1)
          .filter((spi, step) => spi !== FIRST_SPI + (ORDER[step] as number));
        t.expect("SPIs of other connections", wrong, []);
      });
    } finally {
      sender.close();
    }
  },
});
