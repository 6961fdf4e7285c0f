import { LOSS_MS } from "../patience.js";
import { scenario } from "../scenario.js";
import { rekeyEsp } from "../xfrm.js";
import { addPeer, BPF_NEEDS, hubPolicy } from "./bpf-hub.js";

const PEER = "192.168.1.200";
const REKEYS = 5;

export const rekey = scenario({
  name: "bpf-rekey-under-traffic",
  topology: `
            hub                               peer1
    ipsec0 (external)                  ipsec0 (if_id 11)
    192.168.1.100                      192.168.1.200
    172.16.1.100 v01 ============= v10 172.16.1.200
  `,
  needs: BPF_NEEDS,
  async run(t) {
    const hub = t.ns("hub");
    const { connection } = await addPeer(t, hub, 1, [`${PEER}/24`]);
    const connections = { one: `{if_id: 1, subnets: [${PEER}]}` };
    await t.steer(hub).apply(hubPolicy({ addresses: ["192.168.1.100/24"], connections }));
    /** Echoes, ten at a time, from before `work` begins; the last ten begin after it is done. */
    const under = async (work: () => Promise<void>, waitMs?: number) => {
      let working = true;
      const total = { sent: 0, lost: 0 };
      const batch = async () => {
        const { sent, received } = await hub.ping(PEER, { count: 10, waitMs });
        total.sent += sent;
        total.lost += sent - received;
      };
      const traffic = async () => {
        while (working) await batch();
      };
      const change = work().finally(() => {
        working = false;
      });
      await Promise.all([traffic(), change]);
      await batch();
      return total;
    };
    let now = connection;
    await t.step("new SAs before the old ones are deleted: no packet is lost", async () => {
      const { sent, lost } = await under(async () => {
        for (let i = 1; i <= REKEYS; i++) now = await rekeyEsp(now, 0x100 + 0x10 * i);
      });
      t.note(`${REKEYS} rekeys under ${sent} echoes`);
      t.expect("lost", lost, 0);
      const spis = (await hub.sas()).map(({ spi }) => spi).sort();
      t.expect("SAs left", spis, [now.spi, now.spi + 1]);
      t.expect("the last ones are used", await hub.ping(PEER), { sent: 3, received: 3 });
    });
    await t.step("deleted first, packets are lost", async () => {
      const { lost } = await under(async () => {
        await hub.ip(`xfrm state delete src ${now.a.address} dst ${now.b.address} proto esp spi ${now.spi}`);
      }, LOSS_MS);
      t.expect("lost some", lost > 0, true);
    });
  },
});
