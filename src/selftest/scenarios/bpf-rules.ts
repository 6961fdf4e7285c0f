import { LOSS_MS } from "../patience.js";
import { type Scenario, scenario } from "../scenario.js";
import { udpFlow } from "../traffic.js";
import { connectEsp } from "../xfrm.js";
import { addPeer, BPF_NEEDS, hubPolicy, packetsByConnection } from "./bpf-hub.js";
import { addExternal, addUplink, addXfrm, packetsBySpi } from "./hub.js";

const HUB = "192.168.1.100";
const PEER = "192.168.1.200";
const ADDRESSES = [`${HUB}/24`];

const sameSelectors = scenario({
  name: "bpf-same-selectors-different-if-ids",
  topology: `
            hub                               peer
    ipsec0 (external)                  ipsec0 (if_id 11), ipsec1 (if_id 12)
    192.168.1.100                      192.168.1.200
    172.16.1.100 v01 ============= v10 172.16.1.200

    Two connections between the same addresses with the same selectors: only the if_id tells them apart.
  `,
  needs: BPF_NEEDS,
  async run(t) {
    const [hub, peer] = [t.ns("hub"), t.ns("peer")];
    const outer = await addUplink(t, hub, peer, 1);
    await addExternal(hub, `${HUB}/24`);
    await addXfrm(peer, "ipsec0", 11, `${PEER}/24`);
    await addXfrm(peer, "ipsec1", 12);
    for (const index of [1, 2]) {
      await connectEsp({
        a: { ns: hub, address: outer.hub, ifId: index },
        b: { ns: peer, address: outer.peer, ifId: 10 + index },
        spi: 0x100 * index,
        reqid: index,
      });
    }
    const send = (port: number, count: number, waitMs?: number) =>
      udpFlow({ from: hub, to: peer, address: PEER, port, count, waitMs });
    const policy = (port: string) =>
      hubPolicy({
        addresses: ADDRESSES,
        connections: { one: `{if_id: 1, subnets: [${PEER}/32]}`, two: "{if_id: 2, subnets: []}" },
        rules: [`{name: port, match: {proto: udp, dport: ${port}}, to: two}`],
      });
    await t.step("each if_id uses its own SA", async () => {
      await t.steer(hub).apply(policy("5000-5009"));
      t.expect("port 4000", await send(4000, 4), { sent: 4, received: 4 });
      t.expect("port 5000", await send(5000, 6), { sent: 6, received: 6 });
      t.expect("packets per SPI", await packetsBySpi(hub), { "0x100": 4, "0x200": 6 });
      t.expect("at the peer", await packetsBySpi(peer), { "0x100": 4, "0x200": 6 });
    });
    await t.step("with one of the SAs gone, its packets do not take the other", async () => {
      await hub.ip(`xfrm state delete src ${outer.hub} dst ${outer.peer} proto esp spi 0x200`);
      t.expect("port 5000", (await send(5000, 3, LOSS_MS)).received, 0);
      t.expect("port 4000", await send(4000, 1), { sent: 1, received: 1 });
      t.expect("packets per SPI", await packetsBySpi(hub), { "0x100": 5 });
    });
    await t.step("a policy without an if_id takes nothing away from the interface", async () => {
      await hub.ip(`xfrm policy add src 0.0.0.0/0 dst ${PEER}/32 dir out action block priority 1`);
      t.expect("port 4000", await send(4000, 1), { sent: 1, received: 1 });
      await hub.exec("sh", "-c", "echo 0 > /proc/sys/net/ipv4/conf/ipsec0/disable_xfrm");
      await hub.ip("route flush cache");
      const { stderr } = await hub.exec("ping", "-c", "1", PEER);
      t.expect("where apply had not seen to it", /Operation not permitted/.test(stderr), true);
    });
  },
});

const sourceOutside = scenario({
  name: "bpf-source-outside-subnets-is-dropped",
  topology: `
            hub                               peer1
    ipsec0 (external)                  ipsec0 (if_id 11)
    192.168.1.100                      192.168.1.200, 192.168.1.201
    172.16.1.100 v01 ============= v10 172.16.1.200

    192.168.1.200 is in the connection's subnets, 192.168.1.201 is not.
  `,
  needs: BPF_NEEDS,
  async run(t) {
    const hub = t.ns("hub");
    const { ns: peer } = await addPeer(t, hub, 1, [`${PEER}/24`, "192.168.1.201/24"]);
    const policy = (subnets: string) =>
      hubPolicy({ addresses: ADDRESSES, connections: { one: `{if_id: 1, subnets: ${subnets}}` } });
    const send = (source: string, count: number, waitMs?: number) =>
      udpFlow({ from: peer, source, to: hub, address: HUB, count, waitMs });
    await t.step("only what is in the subnets is let in", async () => {
      await t.steer(hub).apply(policy(`[${PEER}/32]`));
      t.expect("its own source", await send(PEER, 4), { sent: 4, received: 4 });
      t.expect("another source", await send("192.168.1.201", 5, LOSS_MS), { sent: 5, received: 0 });
    });
    await t.step("it was decrypted, and dropped and counted by the program", async () => {
      t.expect("packets per SPI", await packetsBySpi(hub), { "0x101": 9 });
      const counted = packetsByConnection(await t.steer(hub).status());
      t.expect("packets", counted, { one: { sent: 0, received: 4, badSource: 5 } });
    });
    await t.step("with its prefix among the subnets it is let in", async () => {
      await t.steer(hub).apply(policy("[192.168.1.200/31]"));
      t.expect("another source", await send("192.168.1.201", 5), { sent: 5, received: 5 });
    });
  },
});

const markAndDscp = scenario({
  name: "bpf-mark-and-dscp-rules",
  topology: `
            hub                                  peer1
    ipsec0 (external)                     ipsec0 (if_id 11)
    192.168.1.100                         192.168.1.200
    172.16.1.100 v01 ================ v10 172.16.1.200

    172.16.2.100 v02 ================ v20 172.16.2.200
                                          192.168.1.200
                                          ipsec0 (if_id 12)
                                                 peer2

    peer1 by the subnet; peer2 for mark 0x20/0xf0 and for DSCP EF.
  `,
  needs: BPF_NEEDS,
  async run(t) {
    const hub = t.ns("hub");
    for (const index of [1, 2]) await addPeer(t, hub, index, [`${PEER}/24`]);
    const connections = {
      one: `{if_id: 1, subnets: [${PEER}/32]}`,
      two: `{if_id: 2, subnets: [${PEER}/32]}`,
    };
    const plain = [
      `{name: tcp, match: {dst: ${PEER}, proto: tcp}, to: two}`,
      `{name: rest, match: {dst: ${PEER}}, to: one}`,
    ];
    const ping = (count: number, ...args: string[]) => hub.ping(PEER, { count, args });
    const EF_TOS = "184"; // DSCP 46 in the upper six bits
    await t.step("without the rules mark and DSCP change nothing", async () => {
      await t.steer(hub).apply(hubPolicy({ addresses: ADDRESSES, connections, rules: plain }));
      await ping(1, "-m", "33");
      await ping(1, "-Q", EF_TOS);
      t.expect("packets per SPI", await packetsBySpi(hub), { "0x100": 2, "0x101": 2 });
    });
    await t.step("with them they pick the connection", async () => {
      const rules = [
        "{name: marked, match: {mark: 0x20/0xf0}, to: two}",
        "{name: voice, match: {dscp: ef}, to: two}",
        ...plain,
      ];
      await t.steer(hub).apply(hubPolicy({ addresses: ADDRESSES, connections, rules }));
      for (const [count, args] of [
        [3, ["-m", "33"]], // 0x21
        [4, ["-Q", EF_TOS]],
        [5, ["-m", "49"]], // 0x31: other bits under the mask
        [6, ["-Q", "136"]], // AF41
      ] as const)
        t.expect(args.join(" "), await ping(count, ...args), { sent: count, received: count });
      const expected = { "0x100": 13, "0x101": 13, "0x200": 7, "0x201": 7 };
      t.expect("packets per SPI", await packetsBySpi(hub), expected);
      const { rules: counted } = await t.steer(hub).status();
      // The first two are those of the rule as it was before.
      t.expect("by rule", Object.fromEntries(counted.map(({ name, matched }) => [name, matched.packets])), {
        ...{ marked: 3, voice: 4, tcp: 0, rest: 13 },
      });
    });
  },
});

export const bpfRules: readonly Scenario[] = [sameSelectors, sourceOutside, markAndDscp];
