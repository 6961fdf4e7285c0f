import test from "ava";
import fc from "fast-check";
import { Coalescer } from "../../src/esp/coalescer.js";
import * as framing from "../../src/esp/framing.js";
import { PacketSlab } from "../../src/sys/packet-slab.js";
import { frame, ipv4, random } from "./frames.js";
import * as p from "./ip-packets.js";
import { gather, packetsOf } from "./written.js";

const SIZE = 2 ** 21;
const slab = new PacketSlab(SIZE);

interface Written {
  readonly frame: Buffer;
  /** How many packets it was made of. */
  readonly count: number;
}

interface CoalesceOptions {
  readonly ifIds?: number[];
  readonly mergeUdp?: boolean;
}

function coalesce(packets: readonly Buffer[], options: CoalesceOptions = {}): Written[] {
  const written: Written[] = [];
  const coalescer = new Coalescer(
    slab,
    (vector, count) => written.push({ frame: gather(slab, vector, count), count }),
    options.mergeUdp ?? true,
  );
  let at = 64;
  packets.forEach((packet, index) => {
    const ifId = options.ifIds?.[index] ?? 101;
    const framed = frame(packet, { ifId });
    slab.bytes.set(framed, at);
    coalescer.add(at, framed.length);
    // ESP's trailer, ICV and next header lie between two packets.
    at += framed.length + 12;
  });
  coalescer.flush();
  return written;
}

const bytes = (length: number, seed = 1): Buffer => {
  const next = random(seed);
  return Buffer.from(Uint8Array.from({ length }, () => next()));
};

/** Segments of one burst as a sender cuts them. */
const burst = (options: p.TransportOptions = {}, count = 4, size = 1000): Buffer[] =>
  p.plainSegments({ payload: bytes(count * size), id: 7, ...options }, size);

const stamps = (value: number): Buffer => Buffer.from([1, 1, 8, 10, 0, 0, 0, value, 0, 0, 0, 2]);

for (const [name, packets, options] of [
  ["TCP over IPv4", burst()],
  ["TCP over IPv6", burst({ family: 6, flowLabel: 0x12345 })],
  ["UDP over IPv4", burst({ protocol: "udp" })],
  ["UDP over IPv6", burst({ protocol: "udp", family: 6 })],
  ["a shorter last segment", p.plainSegments({ payload: bytes(3500), id: 7 }, 1000)],
  ["PSH and FIN on the last segment", burst({ flags: p.ACK | p.PSH | p.FIN })],
  ["ECE in all", burst({ flags: p.ACK | p.ECE })],
  ["TCP options", burst({ options: stamps(9) })],
  ["DSCP and ECN alike", burst({ tos: 0xb9 })],
  ["without DF, identifiers counting", burst({ df: false })],
  ["identifiers that wrap", burst({ id: 0xfffe })],
  ["sequence numbers that wrap", burst({ sequence: 0xfffffa00 })],
] as [string, Buffer[], object?][]) {
  test(`one GSO packet is made of ${name}, and cut again it is what came`, (t) => {
    const written = coalesce(packets, options);
    t.deepEqual(
      written.map(({ count }) => count),
      [packets.length],
    );
    t.deepEqual(
      written.flatMap(({ frame: framed }) => packetsOf(framed)),
      packets,
    );
  });
}

test("datagrams whose identifier stays the same under DF are coalesced", (t) => {
  const packets = [1, 2, 3].map((seed) => p.build({ protocol: "udp", payload: bytes(100, seed), id: 0 }));
  const [written, more] = coalesce(packets);
  t.is(written?.count, 3);
  t.is(more, undefined);
});

const A = { sequence: 1000, id: 1, payload: bytes(100, 1) };
const B = { sequence: 1100, id: 2, payload: bytes(100, 2) };
const corrupt = (packet: Buffer, at = packet.length - 1): Buffer => {
  packet.writeUInt8((packet[at] as number) ^ 1, at);
  return packet;
};
const V6 = { family: 6 } as const;
const UDP = { protocol: "udp" } as const;

for (const [name, first, second] of [
  ["a wrong TCP checksum behind", p.build(A), corrupt(p.build(B))],
  ["a wrong TCP checksum in front", corrupt(p.build(A)), p.build(B)],
  ["a wrong TCP checksum over IPv6", p.build({ ...A, ...V6 }), corrupt(p.build({ ...B, ...V6 }))],
  ["a wrong UDP checksum", p.build({ ...A, ...UDP }), corrupt(p.build({ ...B, ...UDP }))],
  ["a wrong IPv4 header checksum", p.build(A), corrupt(p.build(B), 10)],
  [
    "no UDP checksum",
    p.build({ ...A, ...UDP, noChecksum: true }),
    p.build({ ...B, ...UDP, noChecksum: true }),
  ],
  ["a gap in the sequence", p.build(A), p.build({ ...B, sequence: 1101 })],
  ["a repeated sequence", p.build(A), p.build({ ...A, id: 2 })],
  ["another acknowledgment", p.build(A), p.build({ ...B, acknowledgment: 78 })],
  ["another window", p.build(A), p.build({ ...B, window: 501 })],
  ["another urgent pointer", p.build(A), p.build({ ...B, urgent: 1 })],
  ["other options", p.build({ ...A, options: stamps(1) }), p.build({ ...B, options: stamps(2) })],
  ["options only behind", p.build(A), p.build({ ...B, options: stamps(1) })],
  ["SYN", p.build({ ...A, flags: p.ACK | p.SYN }), p.build({ ...B, flags: p.ACK | p.SYN })],
  ["RST", p.build(A), p.build({ ...B, flags: p.ACK | p.RST })],
  ["URG in both", p.build({ ...A, flags: p.ACK | p.URG }), p.build({ ...B, flags: p.ACK | p.URG })],
  ["CWR behind", p.build(A), p.build({ ...B, flags: p.ACK | p.CWR })],
  ["ECE only behind", p.build(A), p.build({ ...B, flags: p.ACK | p.ECE })],
  ["no ACK", p.build({ ...A, flags: 0 }), p.build({ ...B, flags: 0 })],
  ["PSH in front", p.build({ ...A, flags: p.ACK | p.PSH }), p.build(B)],
  ["FIN in front", p.build({ ...A, flags: p.ACK | p.FIN }), p.build(B)],
  ["an empty segment behind", p.build(A), p.build({ ...B, payload: Buffer.alloc(0) })],
  ["a longer segment behind", p.build(A), p.build({ ...B, payload: bytes(101) })],
  ["a longer datagram behind", p.build({ ...A, ...UDP }), p.build({ ...B, ...UDP, payload: bytes(101) })],
  ["another DSCP", p.build(A), p.build({ ...B, tos: 4 })],
  ["another ECN codepoint", p.build({ ...A, tos: 2 }), p.build({ ...B, tos: 3 })],
  ["another TTL", p.build(A), p.build({ ...B, ttl: 63 })],
  ["another DF bit", p.build(A), p.build({ ...B, df: false })],
  ["an identifier that jumps", p.build(A), p.build({ ...B, id: 3 })],
  ["an identifier that stays without DF", p.build({ ...A, df: false }), p.build({ ...B, df: false, id: 1 })],
  ["a fragment", p.build(A), p.build({ ...B, df: false, fragment: 0x2000 })],
  ["IPv4 options", p.build({ ...A, ipOptions: stamps(1) }), p.build({ ...B, ipOptions: stamps(1) })],
  ["another traffic class", p.build({ ...A, ...V6 }), p.build({ ...B, ...V6, tos: 4 })],
  ["another flow label", p.build({ ...A, ...V6 }), p.build({ ...B, ...V6, flowLabel: 1 })],
  ["another hop limit", p.build({ ...A, ...V6 }), p.build({ ...B, ...V6, ttl: 63 })],
  ["padding behind the packet", p.build(A), Buffer.concat([p.build(B), Buffer.alloc(4)])],
  ["another source", p.build(A), p.build({ ...B, source: 2 })],
  ["another port", p.build(A), p.build({ ...B, sourcePort: 40001 })],
  ["UDP behind TCP", p.build(A), p.build({ ...B, ...UDP })],
  ["no transport protocol", ipv4(100), ipv4(100)],
] as [string, Buffer, Buffer][]) {
  test(`not coalesced: ${name}`, (t) => {
    const written = coalesce([first, second]);
    t.deepEqual(
      written.map(({ frame: framed }) => framed),
      [frame(first), frame(second)],
    );
  });
}

test("packets of two connections are not coalesced", (t) => {
  t.is(coalesce([p.build(A), p.build(B)], { ifIds: [101, 102] }).length, 2);
});

test("UDP is left alone where the kernel takes no UDP GSO packets", (t) => {
  t.is(coalesce(burst(UDP), { mergeUdp: false }).length, 4);
  t.is(coalesce(burst(), { mergeUdp: false }).length, 1);
});

test("what ends a burst is followed by a new one", (t) => {
  const first = p.plainSegments({ payload: bytes(3000), id: 1, flags: p.ACK | p.PSH }, 1000);
  const second = p.plainSegments({ payload: bytes(2000), id: 4, sequence: 4000 }, 1000);
  t.deepEqual(
    coalesce([...first, ...second]).map(({ count }) => count),
    [3, 2],
  );
});

test("an acknowledgment that overtakes nothing: it leaves behind the data of its flow", (t) => {
  const data = burst();
  const pure = p.build({ sequence: 5000, id: 11 });
  const written = coalesce([...data, pure]);
  t.deepEqual(
    written.map(({ count }) => count),
    [4, 1],
  );
  t.deepEqual(written[1]?.frame, frame(pure));
});

test("interleaved flows are each coalesced, up to eight at a time", (t) => {
  const flows = Array.from({ length: 8 }, (_, index) => burst({ sourcePort: 40000 + index }));
  const mixed = [0, 1, 2, 3].flatMap((turn) => flows.map((flow) => flow[turn] as Buffer));
  t.deepEqual(
    coalesce(mixed).map(({ count }) => count),
    Array.from({ length: 8 }, () => 4),
  );
});

test("no GSO packet is longer than an IP packet can be, or of more than 64 segments", (t) => {
  for (const [size, most] of [
    [1400, 46],
    [100, 64],
  ] as const) {
    const packets = burst({}, 100, size);
    const written = coalesce(packets);
    t.is(Math.max(...written.map(({ count }) => count)), most);
    t.true(written.every(({ frame: framed }) => framed.length <= framing.VNET_HDR_SIZE + 4 + 65535));
    t.deepEqual(
      written.flatMap(({ frame: framed }) => packetsOf(framed)),
      packets,
    );
  }
});

test("whatever comes, every packet leaves once, as it came, in the order of its flow", (t) => {
  const packet = fc.record({
    flow: fc.nat(10),
    family: fc.constantFrom(4 as const, 6 as const),
    protocol: fc.constantFrom("tcp" as const, "udp" as const),
    size: fc.constantFrom(0, 1, 100, 100, 100, 100, 100, 99, 101),
    flags: fc.constantFrom(16, 16, 16, 16, 16, 16, 24, 17, 2, 4, 48, 144, 80),
    corrupt: fc.constantFrom(false, false, false, false, true),
    jump: fc.constantFrom(0, 0, 0, 0, 0, 5),
  });
  fc.assert(
    fc.property(fc.array(packet, { maxLength: 120 }), (script) => {
      const sequences = new Map<string, { sequence: number; id: number }>();
      const packets = script.map(({ flow, family, protocol, size, flags, corrupt: bad, jump }, index) => {
        const key = `${flow} ${family} ${protocol}`;
        const at = sequences.get(key) ?? { sequence: 0xffffff00, id: 0xfff0 };
        const sequence = (at.sequence + jump) >>> 0;
        sequences.set(key, { sequence: (sequence + size) >>> 0, id: (at.id + 1) & 0xffff });
        const built = p.build({
          ...{ family, protocol, flags, sequence, id: at.id },
          payload: bytes(size, index + 1),
          sourcePort: 40000 + flow,
        });
        return bad ? corrupt(built) : built;
      });
      const flowOf = (bytesOf: Buffer) => {
        const v6 = (bytesOf[0] as number) >>> 4 === 6;
        return `${v6} ${bytesOf[v6 ? 6 : 9]} ${bytesOf.readUInt16BE(v6 ? 40 : 20)}`;
      };
      const grouped = (list: Buffer[]) => {
        const map = new Map<string, string[]>();
        for (const each of list) {
          const key = flowOf(each);
          map.set(key, [...(map.get(key) ?? []), each.toString("hex")]);
        }
        return Object.fromEntries([...map].sort(([a], [b]) => a.localeCompare(b)));
      };
      t.deepEqual(
        grouped(coalesce(packets).flatMap(({ frame: framed }) => packetsOf(framed))),
        grouped(packets),
      );
    }),
    { numRuns: 150 },
  );
});
