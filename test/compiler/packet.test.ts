import test from "ava";
import {
  FlowSyntaxError,
  formatFlow,
  parseFlow,
  parseHex,
  parsePacketText,
} from "../../src/compiler/flow.js";
import { type PacketKey, parsePacket } from "../../src/compiler/packet.js";

const PORTS = [0x04, 0xd2, 0x13, 0xc4]; // 1234 > 5060
const TRANSPORT = [...PORTS, 0, 8, 0, 0];

/** Header bytes to write over, by offset. */
type Bytes = Readonly<Record<number, number>>;

/** IPv4 from 10.0.0.1 to 192.168.1.200. */
function ipv4(proto: number, payload: readonly number[], bytes: Bytes = {}): Uint8Array {
  const header = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, proto, 0, 0, 10, 0, 0, 1, 192, 168, 1, 200];
  return Uint8Array.from([...Object.assign(header, bytes), ...payload]);
}

/** IPv6 from fd00::1 to fd00:1::200. */
function ipv6(next: number, payload: readonly number[], bytes: Bytes = {}): Uint8Array {
  const zeros = (count: number) => new Array<number>(count).fill(0);
  const header = [0x60, 0, 0, 0, 0, 0, next, 64, 0xfd, ...zeros(14), 1, 0xfd, 0, 0, 1, ...zeros(10), 2, 0];
  return Uint8Array.from([...Object.assign(header, bytes), ...payload]);
}

/** An extension header of `units` * 8 bytes. */
function option(next: number, units = 1): number[] {
  return [next, units - 1, ...new Array<number>(units * 8 - 2).fill(0)];
}

/** A fragment header; its reserved byte is set, as it must not be taken for a length. */
function fragment(next: number, offset: number, more: boolean): number[] {
  const field = (offset << 3) | (more ? 1 : 0);
  return [next, 0xff, field >>> 8, field & 0xff, 0, 0, 0, 1];
}

function key(bytes: Uint8Array): PacketKey {
  const result = parsePacket(bytes);
  if ("malformed" in result) throw new Error(result.malformed);
  return result;
}

test("an IPv4 packet's addresses, ports, code point and length are read", (t) => {
  const bytes = ipv4(17, TRANSPORT, { 1: (46 << 2) | 3 });
  t.deepEqual(parsePacket(bytes, { mark: 0x80000001, iif: "lan0" }), {
    family: 4,
    src: [0x0a000001],
    dst: [0xc0a801c8],
    proto: 17,
    sport: 1234,
    dport: 5060,
    icmpType: null,
    dscp: 46,
    ecn: 3,
    fragment: "none",
    mark: 0x80000001,
    iif: "lan0",
    iifGroup: null,
    length: 28,
    quoted: null,
  });
});

test("an IPv6 packet's addresses, ports, code point and length are read", (t) => {
  // Traffic class 0xbb: code point 46, ECN 3; flow label all ones.
  const bytes = ipv6(6, TRANSPORT, { 0: 0x6b, 1: 0xbf, 2: 0xff, 3: 0xff });
  t.deepEqual(parsePacket(bytes), {
    family: 6,
    src: [0xfd000000, 0, 0, 1],
    dst: [0xfd000001, 0, 0, 0x200],
    proto: 6,
    sport: 1234,
    dport: 5060,
    icmpType: null,
    dscp: 46,
    ecn: 3,
    fragment: "none",
    mark: 0,
    iif: null,
    iifGroup: null,
    length: 48,
    quoted: null,
  });
});

const malformed: readonly (readonly [title: string, bytes: Uint8Array, reason: string])[] = [
  ["no bytes", new Uint8Array(), "no bytes"],
  ["version 5", ipv4(17, TRANSPORT, { 0: 0x55 }), "IP version 5"],
  ["version 0", new Uint8Array(60), "IP version 0"],
  ["IPv4 of 19 bytes", ipv4(17, []).subarray(0, 19), "19 bytes of an IPv4 header"],
  ["IPv4 with ihl 4", ipv4(17, TRANSPORT, { 0: 0x44 }), "IPv4 header length 16"],
  ["IPv4 with options behind its end", ipv4(17, [0, 0, 0], { 0: 0x46 }), "23 of 24 bytes of an IPv4 header"],
  ["IPv6 of 39 bytes", ipv6(17, []).subarray(0, 39), "39 bytes of an IPv6 header"],
  ["one byte", Uint8Array.of(0x60), "1 bytes of an IPv6 header"],
];

for (const [title, bytes, reason] of malformed) {
  test(`malformed: ${title}`, (t) => {
    t.deepEqual(parsePacket(bytes), { malformed: reason });
  });
}

type Upper = readonly [
  proto: number | null,
  sport: number | null,
  dport: number | null,
  fragment: PacketKey["fragment"],
];
const WHOLE: Upper = [17, 1234, 5060, "none"];

function chain(count: number): Uint8Array {
  const headers = Array.from({ length: count }, (_, index) => option(index + 1 < count ? 60 : 17)).flat();
  return ipv6(60, [...headers, ...TRANSPORT]);
}

const upperLayers: readonly (readonly [title: string, bytes: Uint8Array, expected: Upper])[] = [
  ["TCP", ipv4(6, TRANSPORT), [6, 1234, 5060, "none"]],
  ["DCCP", ipv4(33, TRANSPORT), [33, 1234, 5060, "none"]],
  ["SCTP", ipv6(132, TRANSPORT), [132, 1234, 5060, "none"]],
  ["UDP-Lite", ipv6(136, TRANSPORT), [136, 1234, 5060, "none"]],
  ["ICMP has no ports", ipv4(1, TRANSPORT), [1, null, null, "none"]],
  ["ESP has no ports", ipv6(50, TRANSPORT), [50, null, null, "none"]],
  ["IPv4 options are skipped", ipv4(17, [1, 1, 1, 1, ...TRANSPORT], { 0: 0x46 }), WHOLE],
  ["4 bytes of UDP are enough for ports", ipv4(17, PORTS), WHOLE],
  ["3 bytes of UDP are not", ipv4(17, PORTS.slice(0, 3)), [17, null, null, "none"]],
  ["the IPv4 total length is not looked at", ipv4(17, TRANSPORT, { 3: 20 }), WHOLE],
  ["the IPv6 payload length is not looked at", ipv6(17, TRANSPORT, { 5: 0 }), WHOLE],
  ["IPv4 don't fragment is no fragment", ipv4(17, TRANSPORT, { 6: 0x40 }), WHOLE],
  ["first IPv4 fragment", ipv4(17, TRANSPORT, { 6: 0x20 }), [17, 1234, 5060, "first"]],
  ["later IPv4 fragment", ipv4(17, TRANSPORT, { 7: 1 }), [17, null, null, "later"]],
  ["middle IPv4 fragment", ipv4(17, TRANSPORT, { 6: 0x3f }), [17, null, null, "later"]],
  [
    "AH in IPv4 is the protocol",
    ipv4(51, [17, 1, ...new Array<number>(10).fill(0), ...TRANSPORT]),
    [51, null, null, "none"],
  ],
  ["hop-by-hop", ipv6(0, [...option(17), ...TRANSPORT]), WHOLE],
  ["routing of 24 bytes", ipv6(43, [...option(17, 3), ...TRANSPORT]), WHOLE],
  ["destination options", ipv6(60, [...option(17, 2), ...TRANSPORT]), WHOLE],
  [
    "mobility, HIP and shim6",
    ipv6(135, [...option(139), ...option(140), ...option(17), ...TRANSPORT]),
    WHOLE,
  ],
  ["AH counts in words of 4 bytes", ipv6(51, [17, 1, ...new Array<number>(10).fill(0), ...TRANSPORT]), WHOLE],
  ["first IPv6 fragment", ipv6(44, [...fragment(17, 0, true), ...TRANSPORT]), [17, 1234, 5060, "first"]],
  ["atomic IPv6 fragment", ipv6(44, [...fragment(17, 0, false), ...TRANSPORT]), WHOLE],
  ["later IPv6 fragment", ipv6(44, [...fragment(17, 1, true), ...TRANSPORT]), [17, null, null, "later"]],
  ["last IPv6 fragment", ipv6(44, [...fragment(17, 0x1fff, false), ...TRANSPORT]), [17, null, null, "later"]],
  [
    "a later fragment ends the walk at its next header",
    ipv6(44, [...fragment(60, 1, false), ...option(17)]),
    [60, null, null, "later"],
  ],
  [
    "headers behind a first fragment are walked",
    ipv6(44, [...fragment(60, 0, true), ...option(17), ...TRANSPORT]),
    [17, 1234, 5060, "first"],
  ],
  ["8 extension headers", chain(8), WHOLE],
  ["9 extension headers", chain(9), [null, null, null, "none"]],
  [
    "8 extension headers, then a later fragment",
    ipv6(60, [
      ...Array.from({ length: 8 }, (_, i) => option(i < 7 ? 60 : 44)).flat(),
      ...fragment(17, 1, false),
    ]),
    [null, null, null, "none"],
  ],
  ["extension header cut off", ipv6(0, option(17).slice(0, 7)), [null, null, null, "none"]],
  ["extension header missing", ipv6(0, []), [null, null, null, "none"]],
  ["fragment header cut off", ipv6(44, fragment(17, 1, true).slice(0, 7)), [null, null, null, "none"]],
  [
    "second extension header cut off behind a first fragment",
    ipv6(44, fragment(0, 0, true)),
    [null, null, null, "first"],
  ],
  [
    "an extension header that ends behind the packet still names the protocol",
    ipv6(0, [17, 9, 0, 0, 0, 0, 0, 0]),
    [17, null, null, "none"],
  ],
  [
    "an extension header that ends behind the packet hides the next",
    ipv6(0, [60, 9, 0, 0, 0, 0, 0, 0]),
    [null, null, null, "none"],
  ],
  ["no next header", ipv6(59, TRANSPORT), [59, null, null, "none"]],
  ["nothing behind the IPv6 header", ipv6(17, []), [17, null, null, "none"]],
];

for (const [title, bytes, expected] of upperLayers) {
  test(`upper layer: ${title}`, (t) => {
    const { proto, sport, dport, fragment: kind } = key(bytes);
    t.deepEqual([proto, sport, dport, kind], expected);
  });
}

test("a packet in the middle of a larger buffer is read from its own start", (t) => {
  const bytes = ipv4(17, TRANSPORT);
  const buffer = new Uint8Array(100).fill(0xff);
  buffer.set(bytes, 33);
  t.deepEqual(parsePacket(buffer.subarray(33, 33 + bytes.length)), parsePacket(bytes));
});

const flows: readonly (readonly [text: string, expected: Partial<PacketKey>, formatted?: string])[] = [
  [
    "udp 10.0.0.1:1234 > 192.168.1.200:5060",
    { family: 4, proto: 17, sport: 1234, dport: 5060, src: [0x0a000001], length: 28 },
  ],
  [
    "tcp [fd00::1]:1 > [fd00:1::200]:443",
    { family: 6, proto: 6, sport: 1, dport: 443, dst: [0xfd000001, 0, 0, 0x200] },
  ],
  ["icmp 10.0.0.1 > 10.1.0.1", { family: 4, proto: 1, sport: null, dport: null, length: 20 }],
  ["ipv6-icmp fd00::1 > fd00::2", { family: 6, proto: 58, sport: null }],
  ["icmpv6 [fd00::1] > fd00::2", { family: 6, proto: 58 }, "ipv6-icmp fd00::1 > fd00::2"],
  ["47 10.0.0.1 > 10.0.0.2", { proto: 47 }, "gre 10.0.0.1 > 10.0.0.2"],
  [
    "  UDP   10.0.0.1:1   >   10.0.0.2:65535 ",
    { proto: 17, dport: 65535 },
    "udp 10.0.0.1:1 > 10.0.0.2:65535",
  ],
  ["udp 10.0.0.1:1 > 10.0.0.2:2 dscp ef mark 0x1 iif lan0", { dscp: 46, mark: 1, iif: "lan0" }],
  [
    "icmp 10.9.0.1 > 10.0.0.1 type 3 code 4 quoting udp 10.0.0.1:1 > 10.0.0.2:2",
    { icmpType: 3, quoted: parseFlow("udp 10.0.0.1:1 > 10.0.0.2:2") },
    'icmp 10.9.0.1 > 10.0.0.1 type 3 quoting "udp 10.0.0.1:1 > 10.0.0.2:2"',
  ],
  [
    'ipv6-icmp fd00:9::1 > fd00::1 type 2 mark 0x1 quoting "udp fd00::1 > fd00::2 fragment later"',
    { mark: 1, quoted: parseFlow("udp fd00::1 > fd00::2 fragment later") },
  ],
  [
    "udp 10.0.0.1:1 > 10.0.0.2:2 len 1400 mark 4294967295",
    { length: 1400, mark: 0xffffffff },
    "udp 10.0.0.1:1 > 10.0.0.2:2 mark 0xffffffff",
  ],
];

for (const [text, expected, formatted = text] of flows) {
  test(`flow "${text}" is read and written`, (t) => {
    const flow = parseFlow(text);
    t.like(flow, expected);
    t.is(formatFlow(flow), formatted);
  });
}

const badFlows: readonly (readonly [text: string, message: string])[] = [
  ["", '"" is not a flow'],
  ["udp 10.0.0.1:1 10.0.0.2:2", '"udp 10.0.0.1:1 10.0.0.2:2" is not a flow'],
  ["upd 10.0.0.1:1 > 10.0.0.2:2", '"upd" is not a protocol'],
  ["udp 10.0.0:1 > 10.0.0.2:2", '"10.0.0:1" is not an address'],
  ["udp 10.0.0.1:1 >", '"" is not an address'],
  ["udp 10.0.0.1 > 10.0.0.2:2", '"10.0.0.1" has no port, and udp has ports'],
  ["tcp fd00::1 > [fd00::2]:1", '"fd00::1" has no port, and tcp has ports'],
  ["udp 10.0.0.1:65536 > 10.0.0.2:2", "port 65536 is out of range"],
  ["icmp 10.0.0.1:8 > 10.0.0.2", "icmp has no ports"],
  ["udp 10.0.0.1:1 > [fd00::1]:1", "the source is IPv4, the destination IPv6"],
  ["udp 10.0.0.1:1 > 10.0.0.2:2 dscp 64", '"64" is not a valid dscp'],
  ["udp 10.0.0.1:1 > 10.0.0.2:2 mark 0x100000000", '"0x100000000" is not a valid mark'],
  ["udp 10.0.0.1:1 > 10.0.0.2:2 iif", '"" is not a valid iif'],
  ["udp 10.0.0.1:1 > 10.0.0.2:2 len x", '"x" is not a valid len'],
  ["udp 10.0.0.1:1 > 10.0.0.2:2 code 5", "udp over IPv4 has no ICMP code there"],
  [
    "icmp 10.0.0.1 > 10.0.0.2 type 8 quoting udp 10.0.0.2:1 > 10.0.0.3:2",
    "only a whole ICMP error quotes a packet",
  ],
  ["icmp 10.0.0.1 > 10.0.0.2 type 3 quoting nothing", '"nothing" is not a flow'],
  [
    "icmp 10.0.0.1 > 10.0.0.2 type 3 quoting udp [fd00::1]:1 > [fd00::2]:2",
    "the error is IPv4, what it quotes IPv6",
  ],
  [
    "icmp 10.0.0.1 > 10.0.0.2 type 3 quoting icmp 10.0.0.2 > 10.0.0.3 type 11",
    "there are no ICMP errors about ICMP errors",
  ],
  [
    "icmp 10.0.0.1 > 10.0.0.2 type 3 quoting udp 10.0.0.2:1 > 10.0.0.3:2 mark 1",
    "a quoted packet shows no mark, iif and group",
  ],
  ["udp 10.0.0.1:1 > 10.0.0.2:2 ttl 5", '"ttl" is not known here'],
];

for (const [text, message] of badFlows) {
  test(`bad flow "${text}" is refused with a hint`, (t) => {
    const error = t.throws(() => parseFlow(text), { instanceOf: FlowSyntaxError, message });
    t.truthy(error?.hint);
  });
}

test("a packet in hexadecimal is read as its bytes", (t) => {
  const bytes = ipv4(17, TRANSPORT);
  const hex = Buffer.from(bytes).toString("hex");
  t.deepEqual(parsePacketText(hex), parsePacket(bytes));
  t.deepEqual(parseHex(hex.replace(/../g, "$& ").toUpperCase()), bytes);
});

for (const text of ["", "45 0", "nonsense"]) {
  test(`"${text}" is neither a flow nor hexadecimal bytes`, (t) => {
    t.throws(() => parsePacketText(text), { instanceOf: FlowSyntaxError });
  });
}
