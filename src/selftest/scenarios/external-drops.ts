import type { LinkCounters } from "../counters.js";
import { LOSS_MS } from "../patience.js";
import { type Scenario, scenario } from "../scenario.js";
import { udpFlow } from "../traffic.js";
import { connectEsp } from "../xfrm.js";
import { addExternal, addUplink, addXfrm, LWT_NEEDS, packetsBySpi } from "./hub.js";

const TOPOLOGY = `
            hub                               peer
    ipsec0 (external)                  ipsec0 (if_id 11)
    192.168.1.100                      192.168.1.200
    172.16.1.100 v01 ============= v10 172.16.1.200
`;

const sent = ({ txPackets, txErrors, txDropped, txCarrierErrors }: LinkCounters) => ({
  ...{ txPackets, txErrors, txDropped, txCarrierErrors },
});

const noMetadata = scenario({
  name: "no-metadata-is-dropped",
  topology: TOPOLOGY,
  needs: LWT_NEEDS,
  async run(t) {
    const [hub, peer] = [t.ns("hub"), t.ns("peer")];
    const outer = await addUplink(t, hub, peer, 1);
    await addExternal(hub, "192.168.1.100/24");
    await addXfrm(peer, "ipsec0", 11, "192.168.1.200/24");
    const ends = {
      a: { ns: hub, address: outer.hub, ifId: 1 },
      b: { ns: peer, address: outer.peer, ifId: 11 },
    };
    await connectEsp({ ...ends, spi: 0x100, reqid: 1 });
    await t.step("without metadata: tx_errors and tx_dropped, no carrier error", async () => {
      t.expect("ping", await hub.ping("192.168.1.200", { count: 4, waitMs: LOSS_MS }), {
        sent: 4,
        received: 0,
      });
      const expected = { txPackets: 0, txErrors: 4, txDropped: 4, txCarrierErrors: 0 };
      t.expect("ipsec0", sent(await hub.link("ipsec0")), expected);
    });
    await t.step("with metadata the same packets pass", async () => {
      await hub.ip("route replace 192.168.1.200/32 dev ipsec0 encap xfrm if_id 1");
      t.expect("ping", await hub.ping("192.168.1.200", { count: 4 }), { sent: 4, received: 4 });
      const expected = { txPackets: 4, txErrors: 4, txDropped: 4, txCarrierErrors: 0 };
      t.expect("ipsec0", sent(await hub.link("ipsec0")), expected);
    });
  },
});

const noSa = scenario({
  name: "if-id-without-sa-is-dropped",
  topology: TOPOLOGY,
  needs: LWT_NEEDS,
  async run(t) {
    const [hub, peer] = [t.ns("hub"), t.ns("peer")];
    const outer = await addUplink(t, hub, peer, 1);
    await addExternal(hub, "192.168.1.100/24");
    await addXfrm(peer, "ipsec0", 11, "192.168.1.200/24");
    await connectEsp({
      a: { ns: hub, address: outer.hub, ifId: 1 },
      b: { ns: peer, address: outer.peer, ifId: 11 },
      spi: 0x100,
      reqid: 1,
    });
    const wire = t.capture(hub, "v01");
    await t.step("another if_id than the SA's: tx_carrier_errors", async () => {
      await hub.ip("route replace 192.168.1.200/32 dev ipsec0 encap xfrm if_id 99");
      const ping = await hub.ping("192.168.1.200", { count: 4, waitMs: LOSS_MS });
      t.expect("answers", ping.received, 0);
      const { txPackets, txErrors, txCarrierErrors } = await hub.link("ipsec0");
      const expected = { txPackets: 0, txErrors: 4, txCarrierErrors: 4 };
      t.expect("ipsec0", { txPackets, txErrors, txCarrierErrors }, expected);
      t.expect("frames on the wire", wire.frames().length, 0);
    });
    await t.step("the SA's own if_id passes", async () => {
      await hub.ip("route replace 192.168.1.200/32 dev ipsec0 encap xfrm if_id 1");
      t.expect("ping", await hub.ping("192.168.1.200"), { sent: 3, received: 3 });
      t.expect("packets per SPI", await packetsBySpi(hub), { "0x100": 3, "0x101": 3 });
    });
  },
});

const wrongIfIdInbound = scenario({
  name: "wrong-if-id-inbound-is-dropped",
  topology: TOPOLOGY,
  needs: LWT_NEEDS,
  async run(t) {
    const [hub, peer] = [t.ns("hub"), t.ns("peer")];
    const outer = await addUplink(t, hub, peer, 1);
    await addExternal(hub, "192.168.1.100/24");
    await addXfrm(peer, "ipsec0", 11, "192.168.1.200/24");
    await connectEsp({
      a: { ns: hub, address: outer.hub, ifId: 1 },
      b: { ns: peer, address: outer.peer, ifId: 11 },
      spi: 0x100,
      reqid: 1,
    });
    const flow = { from: peer, to: hub, address: "192.168.1.100", count: 4 };
    const inPolicy = (ifId: number) =>
      `xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 dir in if_id ${ifId} ` +
      `tmpl src ${outer.peer} dst ${outer.hub} proto esp reqid 1 mode tunnel`;
    const deletePolicy = (ifId: number) =>
      `xfrm policy delete src 0.0.0.0/0 dst 0.0.0.0/0 dir in if_id ${ifId}`;
    await t.step("a packet decrypted by if_id 1 is not taken by if_id 2's policy", async () => {
      await hub.ip(`${deletePolicy(1)}\n${inPolicy(2)}`);
      t.expect("UDP", await udpFlow({ ...flow, waitMs: LOSS_MS }), { sent: 4, received: 0 });
      t.expect("packets per SPI", await packetsBySpi(hub), { "0x101": 4 });
      t.expect("XfrmInNoPols", hub.xfrmStat().XfrmInNoPols, 4);
    });
    await t.step("and is taken by if_id 1's", async () => {
      await hub.ip(`${deletePolicy(2)}\n${inPolicy(1)}`);
      t.expect("UDP", await udpFlow(flow), { sent: 4, received: 4 });
      t.expect("XfrmInNoPols", hub.xfrmStat().XfrmInNoPols, 4);
    });
  },
});

export const externalDrops: readonly Scenario[] = [noMetadata, noSa, wrongIfIdInbound];
