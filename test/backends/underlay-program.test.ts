/** The program on underlay devices over single packets, by BPF_PROG_TEST_RUN. */
import type { ExecutionContext } from "ava";
import { DROPS, loadUnderlay, PROGRAM, readDrops } from "../../src/backends/underlay/program.js";
import { compileUnderlay, exemptions } from "../../src/compiler/underlay.js";
import { parseAddress } from "../../src/config/address.js";
import { parsePolicy } from "../../src/config/index.js";
import { serialRootTest } from "../support/root-test.js";

const POLICY = `version: 1
connections:
  site: {if_id: 1, subnets: [10.1.0.0/16, "fd00:1::/48"], esp: {local: 192.0.2.1, remote: 192.0.2.2, local_port: 4600,
    suite: aes128-gcm, out: {spi: 0x1001, key: env:OUT}, in: {spi: 0x1002, key: env:IN}}}
  twin: {if_id: 2, subnets: [10.1.0.0/16, 10.9.0.0/16]}
  all: {if_id: 3, subnets: [0.0.0.0/0, 10.1.200.0/24]}
rules: [{match: {dst: 10.1.0.0/16, proto: tcp}, to: site}, {match: {dst: 10.1.0.0/16}, to: twin}]
`;

/** linux/pkt_cls.h */
const TC_ACT_UNSPEC = 0xffffffff;
const TC_ACT_SHOT = 2;

const ETHERTYPE = { 4: 0x0800, 6: 0x86dd } as const;
const [TCP, UDP, ESP, AH, ICMP, ICMP6, FRAGMENT, HOPOPTS] = [6, 17, 50, 51, 1, 58, 44, 0] as const;

interface Shape {
  readonly src: string;
  readonly proto: number;
  readonly dport?: number;
  readonly sport?: number;
  /** Of a fragment: its offset in bytes, and whether more follow. */
  readonly fragment?: { readonly offset: number; readonly more: boolean; readonly id: number };
  /** Options of IPv4, or a hop-by-hop header of IPv6. */
  readonly options?: boolean;
  /** EtherType in place of the address's own. */
  readonly etherType?: number;
}

function bytesOf(text: string): number[] {
  return (parseAddress(text)?.words ?? []).flatMap((word) => [
    word >>> 24,
    (word >> 16) & 255,
    (word >> 8) & 255,
    word & 255,
  ]);
}

function frame({
  src,
  proto,
  sport = 40000,
  dport = 9,
  fragment,
  options = false,
  etherType,
}: Shape): Uint8Array {
  const payload = Buffer.alloc(64);
  payload.writeUInt16BE(sport, 0);
  payload.writeUInt16BE(dport, 2);
  const family = src.includes(":") ? 6 : 4;
  const ethernet = Buffer.alloc(14);
  ethernet.writeUInt16BE(etherType ?? ETHERTYPE[family], 12);
  if (family === 4) {
    const header = Buffer.alloc(options ? 24 : 20);
    header[0] = options ? 0x46 : 0x45;
    header.writeUInt16BE(header.length + payload.length, 2);
    header.writeUInt16BE(fragment?.id ?? 1, 4);
    header.writeUInt16BE(fragment ? (fragment.offset >> 3) | (fragment.more ? 0x2000 : 0) : 0, 6);
    header[8] = 64;
    header[9] = proto;
    header.set(bytesOf(src), 12);
    header.set(bytesOf("192.0.2.1"), 16);
    if (options) header.fill(1, 20);
    return Buffer.concat([ethernet, header, payload]);
  }
  const extensions: Buffer[] = [];
  let next = proto;
  if (fragment) {
    const header = Buffer.alloc(8);
    header[0] = next;
    header.writeUInt16BE(fragment.offset | (fragment.more ? 1 : 0), 2);
    header.writeUInt32BE(fragment.id, 4);
    extensions.unshift(header);
    next = FRAGMENT;
  }
  if (options) {
    const header = Buffer.from([next, 0, 1, 4, 0, 0, 0, 0]);
    extensions.unshift(header);
    next = HOPOPTS;
  }
  const behind = Buffer.concat([...extensions, payload]);
  const header = Buffer.alloc(40);
  header[0] = 0x60;
  header.writeUInt16BE(behind.length, 4);
  header[6] = next;
  header[7] = 64;
  header.set(bytesOf(src), 8);
  header.set(bytesOf("fd00::1"), 24);
  return Buffer.concat([ethernet, header, behind]);
}

function tablesOf() {
  const { policy } = parsePolicy(POLICY, "steer.yaml");
  const tables = policy && compileUnderlay(policy, exemptions(policy));
  if (!tables) throw new Error("there is nothing to refuse");
  return tables;
}

const load = () => loadUnderlay(tablesOf());

const OWNED = "10.1.2.3";
const OWNED6 = "fd00:1::5";
const first = (id: number) => ({ offset: 0, more: true, id });
const later = (id: number) => ({ offset: 1480, more: false, id });

/** In this order: a later fragment goes the way of the first. */
const packets: readonly (readonly [title: string, shape: Shape, passes: boolean])[] = [
  ["UDP of an owned source", { src: OWNED, proto: UDP }, false],
  ["TCP of one", { src: OWNED, proto: TCP }, false],
  ["another protocol of one", { src: OWNED, proto: 47 }, false],
  ["IP options before it", { src: OWNED, proto: UDP, options: true }, false],
  ["a source of two connections", { src: "10.9.1.1", proto: UDP }, false],
  ["IPv6", { src: OWNED6, proto: UDP }, false],
  ["IPv6 with a hop-by-hop header", { src: OWNED6, proto: UDP, options: true }, false],
  ["IPv6, TCP", { src: OWNED6, proto: TCP }, false],
  ["a source of no connection but one with 0.0.0.0/0", { src: "192.0.2.2", proto: UDP }, true],
  ["a longer prefix of one with 0.0.0.0/0", { src: "10.1.200.1", proto: UDP }, true],
  ["an IPv6 source of none", { src: "fd00:2::1", proto: UDP }, true],
  ["ESP", { src: OWNED, proto: ESP }, true],
  ["AH", { src: OWNED, proto: AH }, true],
  ["ICMP", { src: OWNED, proto: ICMP }, true],
  ["ICMPv6 over IPv4", { src: OWNED, proto: ICMP6 }, false],
  ["IKE", { src: OWNED, proto: UDP, dport: 500 }, true],
  ["ESP in UDP", { src: OWNED, proto: UDP, dport: 4500 }, true],
  ["ESP in UDP to the policy's own port", { src: OWNED, proto: UDP, dport: 4600 }, true],
  ["from port 500 to another", { src: OWNED, proto: UDP, sport: 500 }, false],
  ["TCP to port 4500", { src: OWNED, proto: TCP, dport: 4500 }, false],
  ["ESP, IPv6", { src: OWNED6, proto: ESP }, true],
  ["AH, IPv6", { src: OWNED6, proto: AH }, true],
  ["ICMPv6", { src: OWNED6, proto: ICMP6 }, true],
  ["ICMP over IPv6", { src: OWNED6, proto: ICMP }, false],
  ["IKE, IPv6 with a hop-by-hop header", { src: OWNED6, proto: UDP, dport: 500, options: true }, true],
  ["first fragment of another datagram", { src: OWNED, proto: UDP, fragment: first(7) }, false],
  ["its later fragment", { src: OWNED, proto: UDP, dport: 500, fragment: later(7) }, false],
  ["first fragment of IKE", { src: OWNED, proto: UDP, dport: 500, fragment: first(8) }, true],
  ["its later fragment, whatever its bytes", { src: OWNED, proto: UDP, dport: 9, fragment: later(8) }, true],
  ["the same of another source", { src: "10.1.2.4", proto: UDP, dport: 9, fragment: later(8) }, false],
  ["the same of TCP", { src: OWNED, proto: TCP, fragment: later(8) }, false],
  ["a later fragment of ESP", { src: OWNED, proto: ESP, fragment: later(9) }, true],
  ["first fragment of IKE, IPv6", { src: OWNED6, proto: UDP, dport: 500, fragment: first(8) }, true],
  ["its later fragment, IPv6", { src: OWNED6, proto: UDP, fragment: later(8) }, true],
  ["a later fragment of another, IPv6", { src: OWNED6, proto: UDP, dport: 500, fragment: later(9) }, false],
  ["what is no IP packet", { src: OWNED, proto: UDP, etherType: 0x88b5 }, true],
];

serialRootTest(
  "the program refuses and passes what it should, and counts what it refuses",
  (t: ExecutionContext) => {
    using object = load();
    const program = object.program(PROGRAM);
    for (const [title, shape, passes] of packets)
      t.is(program.testRun({ data: frame(shape) }).retval, passes ? TC_ACT_UNSPEC : TC_ACT_SHOT, title);
    const refused = packets.filter(([, , passes]) => !passes);
    const { packets: counted, bytes } = readDrops(object.map(DROPS));
    t.is(counted, refused.length);
    t.is(
      bytes,
      refused.reduce((sum, [, shape]) => sum + frame(shape).length, 0),
    );
  },
);

serialRootTest("counters go on with the next program", (t) => {
  using one = load();
  one.program(PROGRAM).testRun({ data: frame({ src: OWNED, proto: UDP }) });
  using two = loadUnderlay(tablesOf(), one.map(DROPS));
  two.program(PROGRAM).testRun({ data: frame({ src: OWNED, proto: UDP }) });
  t.is(readDrops(two.map(DROPS)).packets, 2);
});
