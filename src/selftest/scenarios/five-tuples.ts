import { UdpSocket } from "../netns-socket.js";
import { scenario } from "../scenario.js";
import { tcpExchanges } from "../traffic.js";
import { connectEsp } from "../xfrm.js";
import { BPF_NEEDS, largePolicy, prefix4 } from "./bpf-hub.js";
import { addUplink, addXfrm } from "./hub.js";

const [HUB, PEER] = ["192.168.1.100", "192.168.1.200"];
const PORTS = Array.from({ length: 25 }, (_, i) => i);
const SOURCES = PORTS.slice(0, 20).map((i) => 20_000 + i);
const DESTINATIONS = PORTS.map((i) => 5_000 + i);
const PROTOCOLS = { tcp: 6, udp: 17 } as const;

interface Flow {
  protocol: keyof typeof PROTOCOLS;
  sport: number;
  dport: number;
  /** Number of its connection, 1 to 4. */
  connection: number;
}

/** 20 by 25 ports, TCP and UDP; neighbours in each of the three go to different connections. */
const FLOWS: readonly Flow[] = (["tcp", "udp"] as const).flatMap((protocol) =>
  SOURCES.flatMap((sport) =>
    DESTINATIONS.map((dport) => ({
      ...{ protocol, sport, dport },
      connection: 1 + ((sport + 3 * dport + PROTOCOLS[protocol]) % 4),
    })),
  ),
);

const name = ({ protocol, sport, dport }: Omit<Flow, "connection">) => `${protocol}-${sport}-${dport}`;

/** The flow of an IPv4 packet without options. */
function flowOf(packet: Buffer): string {
  const protocol = packet[9] === PROTOCOLS.tcp ? "tcp" : "udp";
  return name({ protocol, sport: packet.readUInt16BE(20), dport: packet.readUInt16BE(22) });
}

export const fiveTuples = scenario({
  name: "bpf-1000-flows-by-5-tuple",
  topology: `
            hub                               peer
    ipsec0 (external)                  ipsec1 to ipsec4 (if_id 11 to 14)
    192.168.1.100                      192.168.1.200
    172.16.1.100 v01 ============= v10 172.16.1.200

    1,000 rules, one for each flow, to four connections between the same addresses. What comes out of the peer's
    ipsecN came by connection N.
  `,
  needs: BPF_NEEDS,
  typicalMs: 15_000,
  async run(t) {
    const [hub, peer] = [t.ns("hub"), t.ns("peer")];
    const outer = await addUplink(t, hub, peer, 1);
    const numbers = [1, 2, 3, 4];
    for (const index of numbers) {
      await addXfrm(peer, `ipsec${index}`, 10 + index, ...(index === 1 ? [`${PEER}/24`] : []));
      await connectEsp({
        a: { ns: hub, address: outer.hub, ifId: index },
        b: { ns: peer, address: outer.peer, ifId: 10 + index },
        spi: 0x100 * index,
        reqid: index,
      });
    }
    const port = (number: number) => [{ from: number, to: number }];
    const addresses = { src: [prefix4(HUB)], dst: [prefix4(PEER)] };
    const rules = FLOWS.map((flow) => ({
      ...{ name: name(flow), to: `c${flow.connection}` },
      match: {
        ...addresses,
        proto: [PROTOCOLS[flow.protocol]],
        sport: port(flow.sport),
        dport: port(flow.dport),
      },
    }));
    const connections = numbers.map((index) => ({
      ...{ name: `c${index}`, ifId: index, subnets: [prefix4(PEER)] },
    }));
    await t.steer(hub).apply(largePolicy({ address: `${HUB}/24`, connections, rules }));
    const captures = numbers.map((index) => t.capture(peer, `ipsec${index}`));
    /** Flows seen in the peer's devices, as "flow connection", without what the peer sends itself. */
    const seen = () =>
      new Set(
        captures.flatMap((capture, index) =>
          capture
            .frames()
            .filter((packet) => packet.subarray(12, 16).equals(Buffer.from([192, 168, 1, 100])))
            .map((packet) => `${flowOf(packet)} ${index + 1}`),
        ),
      );
    const expected = (protocol: Flow["protocol"]) =>
      FLOWS.filter((flow) => flow.protocol === protocol).map((flow) => `${name(flow)} ${flow.connection}`);

    await t.step("500 UDP flows, each by its connection", async () => {
      for (const sport of SOURCES) {
        const sender = new UdpSocket(hub.path, HUB, sport);
        for (const dport of DESTINATIONS) sender.send(Buffer.alloc(8), PEER, dport);
        sender.close();
      }
      await t.eventually("flows seen", async () => seen().size, 500);
      t.expect("flows and their connections", [...seen()].sort(), expected("udp").sort());
    });
    await t.step("500 TCP flows, each by its connection, all of its packets", async () => {
      const flows = { from: hub, source: HUB, to: peer, address: PEER };
      const answered = await tcpExchanges({ ...flows, sourcePorts: SOURCES, ports: DESTINATIONS });
      t.expect("connections that were answered", answered, 500);
      const both = [...expected("udp"), ...expected("tcp")].sort();
      t.expect("flows and their connections", [...seen()].sort(), both);
    });
    await t.step("a flow that no rule names does not leave", async () => {
      const before = captures.map((capture) => capture.frames().length);
      const sender = new UdpSocket(hub.path, HUB, 30_000);
      for (const dport of DESTINATIONS) sender.send(Buffer.alloc(8), PEER, dport);
      sender.close();
      const { default: rest } = await t.steer(hub).status();
      t.expect("dropped by default", rest.matched.packets, DESTINATIONS.length);
      t.expect(
        "frames",
        captures.map((capture) => capture.frames().length),
        before,
      );
    });
  },
});
