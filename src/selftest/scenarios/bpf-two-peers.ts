import { LOSS_MS } from "../patience.js";
import { scenario } from "../scenario.js";
import { addPeer, BPF_NEEDS, hubPolicy } from "./bpf-hub.js";
import { addExternal, packetsBySpi } from "./hub.js";

const SHARED = "192.168.1.200";
/** Everything to one of the peers but UDP port 5000, which goes to the other. */
const mostlyTo = (first: "one" | "two", other: "one" | "two") =>
  hubPolicy({
    addresses: ["192.168.1.100/24"],
    connections: {
      one: `{if_id: 1, subnets: [${SHARED}/32]}`,
      two: `{if_id: 2, subnets: [${SHARED}/32]}`,
    },
    rules: [
      `{name: port, match: {dst: ${SHARED}, proto: udp, dport: 5000}, to: ${other}}`,
      `{name: rest, match: {dst: ${SHARED}}, to: ${first}}`,
    ],
  });

/** The kernel's own scenario (tools/testing/selftests/bpf/prog_tests/xfrm_info.c), with our programs. */
export const bpfTwoPeers = scenario({
  name: "bpf-two-peers",
  topology: `
            hub                                  peer1
    ipsec0 (external)                     ipsec0 (if_id 11)
    192.168.1.100                         192.168.1.200
    172.16.1.100 v01 ================ v10 172.16.1.200

    172.16.2.100 v02 ================ v20 172.16.2.200
                                          192.168.1.200
                                          ipsec0 (if_id 12)
                                                 peer2

    Both peers own 192.168.1.200: the if_id that the program sets alone says which of them is meant.
  `,
  needs: BPF_NEEDS,
  async run(t) {
    const hub = t.ns("hub");
    await addExternal(hub, "192.168.1.100/24");
    for (const index of [1, 2]) await addPeer(t, hub, index, [`${SHARED}/24`]);
    const steering = t.steer(hub);
    const wires = [t.capture(hub, "v01"), t.capture(hub, "v02")];
    await t.step("without the program nothing passes", async () => {
      t.expect("ping", await hub.ping(SHARED, { waitMs: LOSS_MS }), { sent: 3, received: 0 });
      t.expect("packets per SPI", await packetsBySpi(hub), {});
    });
    await t.step("if_id 1 leads to peer1 only", async () => {
      await steering.apply(mostlyTo("one", "two"));
      t.expect("ping", await hub.ping(SHARED, { count: 5 }), { sent: 5, received: 5 });
      t.expect("packets per SPI", await packetsBySpi(hub), { "0x100": 5, "0x101": 5 });
    });
    await t.step("if_id 2 leads to peer2 only", async () => {
      await steering.apply(mostlyTo("two", "one"));
      t.expect("ping", await hub.ping(SHARED, { count: 7 }), { sent: 7, received: 7 });
      const all = { "0x100": 5, "0x101": 5, "0x200": 7, "0x201": 7 };
      t.expect("packets per SPI", await packetsBySpi(hub), all);
      t.expect(
        "ESP packets on each wire",
        wires.map((wire, index) => wire.esp(0x100 * (index + 1))),
        [5, 7],
      );
    });
    await t.step("the if_id is read back from what comes in", async () => {
      const { connections } = await steering.status();
      t.expect(
        "received by connection",
        connections.map(({ name, received }) => [name, received.packets]),
        [
          ["one", 5],
          ["two", 7],
        ],
      );
    });
  },
});
