/** ICMP errors in the kernel and in the plain reference, case by case: the quoted packet decides (RFC 4301 section 6). */
import test from "ava";
import { loadClassifier } from "../../src/backends/classifier.js";
import { readCounters } from "../../src/backends/counters.js";
import { compile } from "../../src/compiler/compile.js";
import { parsePacket } from "../../src/compiler/packet.js";
import { admitted, decide } from "../../src/compiler/reference.js";
import { VERDICT } from "../../src/compiler/targets.js";
import { parsePolicy } from "../../src/config/index.js";
import type { Policy } from "../../src/config/policy.js";
import { bpfObjectPath } from "../../src/sys/paths.js";
import { decided, ETHERNET, runPacket } from "../support/bpf-decide.js";
import { icmpMessage, ipPacket, portsOf, type Wanted } from "../support/icmp-error.js";
import { rootTest } from "../support/root-test.js";

/** Sites a and b have the same addresses: which is meant is told by the service, and by the group's hash. */
const POLICY = policyOf(`version: 1
connections:
  a: {if_id: 1, subnets: [10.1.0.0/16, "fd00:1::/32"]}
  b: {if_id: 2, subnets: [10.2.0.0/16, "fd00:2::/32"]}
  c: {if_id: 3, subnets: [10.3.0.0/16]}
  d: {if_id: 4, subnets: [10.4.0.0/16]}
rules:
  - {name: b-web-out, match: {dst: [10.1.0.0/16, "fd00:1::/32"], proto: tcp, dport: 443}, to: b}
  - {name: b-web-back, match: {dst: [10.1.0.0/16, "fd00:1::/32"], proto: tcp, sport: 443}, to: b, set: {mark: 7, dscp: ef}}
  - {name: b-ping, match: {dst: 10.1.0.0/16, src: 10.0.0.9, proto: icmp, icmp_type: 0}, to: b}
  - {name: later, match: {dst: 10.1.0.0/16, proto: udp, fragment: later}, to: b}
  - {name: not-tcp, match: {dst: 10.1.0.0/16, src: 10.0.0.8, proto: {not: tcp}}, to: b}
  - {name: spread, match: {dst: 10.5.0.0/16, proto: [tcp, udp]}, to: {group: [{c: 1}, {d: 1}]}}
  - {name: errors-of-9, match: {src: 10.9.0.0/16, proto: icmp, icmp_type: 3}, to: c}
  - {name: errors-of-9-v6, match: {src: "fd00:9::/32", proto: ipv6-icmp, icmp_type: 2}, to: c}
`);

function policyOf(text: string): Policy {
  const { policy, diagnostics } = parsePolicy(text, "icmp-errors");
  if (policy === null) throw new Error(JSON.stringify(diagnostics));
  return policy;
}

const [ICMP, TCP, UDP, ICMPV6] = [1, 6, 17, 58];
const [MORE_FRAGMENTS, LATER] = [0x2000, 0x0008];

/** The error is from a router that no connection has, if nothing else is said. */
const error = (type: number, dst: string, quoted: Uint8Array, more: Partial<Wanted> = {}) =>
  ipPacket({
    ...{ src: dst.includes(":") ? "fd00:77::1" : "10.77.0.1", dst },
    ...{ proto: dst.includes(":") ? ICMPV6 : ICMP, payload: icmpMessage(type, quoted) },
    ...more,
  });

const tcp = (src: string, sport: number, dst: string, dport: number, more: Partial<Wanted> = {}) =>
  ipPacket({ src, dst, proto: TCP, payload: portsOf(sport, dport), ...more });
const udp = (src: string, sport: number, dst: string, dport: number, more: Partial<Wanted> = {}) =>
  ipPacket({ src, dst, proto: UDP, payload: portsOf(sport, dport), ...more });
const ping = (src: string, dst: string, type = 8) =>
  ipPacket({ src, dst, proto: ICMP, payload: icmpMessage(type, new Uint8Array(0)) });

const B_WEB = tcp("10.1.0.5", 5000, "10.0.0.7", 443);
const B_WEB6 = tcp("fd00:1::5", 5000, "fd00::7", 443);
const HOP_BY_HOP = Uint8Array.of(TCP, 0, 1, 4, 0, 0, 0, 0);
const DESTINATION_OPTIONS = (next: number) => Uint8Array.of(next, 0, 1, 4, 0, 0, 0, 0);

const SENT: Readonly<Record<string, readonly [packet: Uint8Array, to: "a" | "b" | "c" | "d" | null]>> = {
  "an error about what b sent goes to b": [error(3, "10.1.0.5", B_WEB), "b"],
  "one about what a sent goes to a": [error(3, "10.1.0.5", tcp("10.1.0.5", 5000, "10.0.0.7", 80)), "a"],
  "time exceeded": [error(11, "10.1.0.5", B_WEB), "b"],
  "parameter problem": [error(12, "10.1.0.5", B_WEB), "b"],
  "a redirect is for the link that it is on": [error(5, "10.1.0.5", B_WEB), "a"],
  "a rule that names ICMP takes the error itself": [error(3, "10.1.0.5", B_WEB, { src: "10.9.0.1" }), "c"],
  "but not one of another type": [error(11, "10.1.0.5", B_WEB, { src: "10.9.0.1" }), "b"],
  "IPv4 options, of both": [
    error(3, "10.1.0.5", tcp("10.1.0.5", 5000, "10.0.0.7", 443, { options: 8 }), { options: 12 }),
    "b",
  ],
  "no quoted IP header: the error's own": [error(3, "10.1.0.5", B_WEB.subarray(0, 19)), "a"],
  "a quote without ports": [error(3, "10.1.0.5", B_WEB.subarray(0, 22)), "a"],
  "a quote of IPv6": [error(3, "10.1.0.5", B_WEB6), "a"],
  "a fragment of an error": [error(3, "10.1.0.5", B_WEB, { fragment: MORE_FRAGMENTS }), "a"],
  "a quoted packet of whom the error is not for": [error(3, "10.1.0.6", B_WEB), "a"],
  "an error about an error": [error(3, "10.1.0.5", error(3, "10.0.0.7", B_WEB, { src: "10.1.0.5" })), "a"],
  "a quoted echo request goes as its reply": [error(11, "10.1.0.5", ping("10.1.0.5", "10.0.0.9")), "b"],
  "a quoted echo reply does not": [error(11, "10.1.0.5", ping("10.1.0.5", "10.0.0.9", 0)), "a"],
  "a quoted later fragment": [
    error(11, "10.1.0.5", udp("10.1.0.5", 1, "10.0.0.7", 2, { fragment: LATER })),
    "b",
  ],
  "a rule that negates a protocol, of TCP": [error(3, "10.1.0.5", tcp("10.1.0.5", 1, "10.0.0.8", 2)), "a"],
  "a rule that negates a protocol, of UDP": [error(3, "10.1.0.5", udp("10.1.0.5", 1, "10.0.0.8", 2)), "b"],
  IPv6: [error(2, "fd00:1::5", B_WEB6), "b"],
  "IPv6, extension headers of the quoted packet": [
    error(
      1,
      "fd00:1::5",
      tcp("fd00:1::5", 5000, "fd00::7", 443, { extensions: { first: 0, bytes: HOP_BY_HOP } }),
    ),
    "b",
  ],
  "IPv6, extension headers of the error": [
    error(3, "fd00:1::5", B_WEB6, { extensions: { first: 60, bytes: DESTINATION_OPTIONS(ICMPV6) } }),
    "b",
  ],
  "IPv6, an error of a type to come": [error(100, "fd00:1::5", B_WEB6), "b"],
  "IPv6, a message that is no error": [error(137, "fd00:1::5", B_WEB6), "a"],
  "IPv6, a rule that names ICMPv6": [error(2, "fd00:1::5", B_WEB6, { src: "fd00:9::1" }), "c"],
};

/** From a, whose subnets do not have the router's address. */
const RECEIVED: Readonly<Record<string, readonly [packet: Uint8Array, from: "a" | "b", admitted: boolean]>> =
  {
    "about what a was sent": [error(3, "10.0.0.7", tcp("10.0.0.7", 80, "10.1.0.5", 5000)), "a", true],
    "about what b was sent": [error(3, "10.0.0.7", tcp("10.0.0.7", 443, "10.1.0.5", 5000)), "b", true],
    "about what b was sent, from a": [
      error(3, "10.0.0.7", tcp("10.0.0.7", 443, "10.1.0.5", 5000)),
      "a",
      false,
    ],
    "about what b was sent, from an address of a's": [
      error(3, "10.0.0.7", tcp("10.0.0.7", 443, "10.1.0.5", 5000), { src: "10.1.0.1" }),
      "a",
      false,
    ],
    "about what a was sent, from an address of a's": [
      error(3, "10.0.0.7", tcp("10.0.0.7", 80, "10.1.0.5", 5000), { src: "10.1.0.1" }),
      "a",
      true,
    ],
    "for another than the quoted sender": [
      error(3, "10.0.0.8", tcp("10.0.0.7", 80, "10.1.0.5", 5000)),
      "a",
      false,
    ],
    "about what nobody was sent": [error(3, "10.0.0.7", tcp("10.0.0.7", 80, "10.66.0.5", 5000)), "a", false],
    "quoting too little": [
      error(3, "10.0.0.7", tcp("10.0.0.7", 80, "10.1.0.5", 5000).subarray(0, 19)),
      "a",
      false,
    ],
    "a redirect": [error(5, "10.0.0.7", tcp("10.0.0.7", 80, "10.1.0.5", 5000)), "a", false],
    "no error": [error(8, "10.0.0.7", tcp("10.0.0.7", 80, "10.1.0.5", 5000)), "a", false],
    "a first fragment, from an address of a's": [
      error(3, "10.0.0.7", new Uint8Array(0), { src: "10.1.0.1", fragment: MORE_FRAGMENTS }),
      "a",
      false,
    ],
    "a ping in fragments, from an address of a's": [
      ipPacket({
        ...{ src: "10.1.0.1", dst: "10.0.0.7", proto: ICMP, fragment: MORE_FRAGMENTS },
        payload: icmpMessage(8, new Uint8Array(8)),
      }),
      "a",
      true,
    ],
    "IPv6, about what b was sent": [error(2, "fd00::7", tcp("fd00::7", 443, "fd00:1::5", 5000)), "b", true],
    "IPv6, about what b was sent, from a": [
      error(2, "fd00::7", tcp("fd00::7", 443, "fd00:1::5", 5000)),
      "a",
      false,
    ],
    "IPv6, about what b was sent, from a's address behind an extension header": [
      error(2, "fd00::7", tcp("fd00::7", 443, "fd00:1::5", 5000), {
        src: "fd00:1::1",
        extensions: { first: 60, bytes: DESTINATION_OPTIONS(ICMPV6) },
      }),
      "a",
      false,
    ],
    "IPv6, behind more extension headers than are read, from a's address": [
      error(2, "fd00::7", tcp("fd00::7", 443, "fd00:1::5", 5000), {
        src: "fd00:1::1",
        extensions: {
          first: 60,
          bytes: Uint8Array.from(
            Array.from({ length: 9 }, (_, i) => [...DESTINATION_OPTIONS(i < 8 ? 60 : ICMPV6)]).flat(),
          ),
        },
      }),
      "a",
      false,
    ],
    "IPv6, a neighbour's message from a's address": [
      error(135, "fd00::7", new Uint8Array(24), { src: "fd00:1::1" }),
      "a",
      true,
    ],
  };

const NO_DEVICES = { ifindexOf: () => 1, ifindexesOfGroup: () => [] };
const NONE = { mark: 0, iif: null, iifGroup: null };

/** Both answers about each policy's packets. */
const load = (policy: Policy) => {
  const generation = compile(policy, NO_DEVICES);
  return {
    generation,
    object: loadClassifier(bpfObjectPath("steer_test"), generation, { l3Offset: ETHERNET }),
  };
};

for (const [name, [packet, to]] of Object.entries(SENT))
  test(`reference, sent: ${name}`, (t) => {
    const { action } = decide(POLICY, parsePacket(packet, NONE));
    t.is(action.kind === "connection" ? POLICY.connections[action.connection]?.name : null, to);
  });

for (const [name, [packet, from, right]] of Object.entries(RECEIVED))
  test(`reference, received: ${name}`, (t) => {
    const index = POLICY.connections.findIndex((connection) => connection.name === from);
    t.is(admitted(POLICY, index, parsePacket(packet, NONE)), right);
  });

rootTest("the BPF program decides about errors by what they quote", (t) => {
  const { object } = load(POLICY);
  t.teardown(() => object.close());
  for (const [name, [packet, to]] of Object.entries(SENT)) {
    runPacket(object, "run_decide", packet, { mark: 0, ifindex: 0 });
    const { ifId } = decided(object);
    t.is(POLICY.connections.find((connection) => connection.ifId === ifId)?.name ?? null, to, name);
  }
});

rootTest("the BPF program admits errors by what they quote, and counts what it refuses", (t) => {
  const { object, generation } = load(POLICY);
  t.teardown(() => object.close());
  const refused = { a: 0, b: 0 };
  for (const [name, [packet, from, right]] of Object.entries(RECEIVED)) {
    const ifId = POLICY.connections.find((connection) => connection.name === from)?.ifId ?? 0;
    const { verdict } = runPacket(object, "run_admit", packet, { mark: 0, ifindex: 0, ifId });
    t.is(verdict, right ? VERDICT.pass : VERDICT.drop, name);
    if (!right) refused[from]++;
  }
  const leads = POLICY.rules.map(() => null);
  const { badSource } = readCounters(generation, leads, object.map("tx_counters"), object.map("rx_counters"));
  for (const from of ["a", "b"] as const) t.is(badSource.get(from)?.packets ?? 0, refused[from]);
});

rootTest("an error gets the mark and the code point that its rule sets, and keeps what it quotes", (t) => {
  const { object } = load(POLICY);
  t.teardown(() => object.close());
  const packet = error(3, "10.1.0.5", B_WEB);
  const { mark, packet: after } = runPacket(object, "run_decide", packet, { mark: 0, ifindex: 0 });
  t.is(mark, 7);
  t.is((after[1] as number) >>> 2, 46);
  t.deepEqual(after.subarray(20), Buffer.from(packet.subarray(20)));
});

rootTest("an error takes the member of a group that its flow's other direction takes", (t) => {
  const { object } = load(POLICY);
  t.teardown(() => object.close());
  const memberOf = (packet: Uint8Array) => {
    runPacket(object, "run_decide", packet, { mark: 0, ifindex: 0 });
    return decided(object).ifId;
  };
  const members = new Set<number>();
  for (let port = 1; port <= 64; port++) {
    const member = memberOf(tcp("10.0.0.7", 8443, "10.5.0.1", port));
    t.is(memberOf(error(3, "10.5.0.1", tcp("10.5.0.1", port, "10.0.0.7", 8443))), member, `port ${port}`);
    members.add(member);
  }
  t.deepEqual([...members].sort(), [3, 4]);
});

rootTest("an exact flow takes the errors about its other direction, with the subnets it has none", (t) => {
  const policy = policyOf(`version: 1
connections: {a: {if_id: 1, subnets: [10.1.0.0/16]}, b: {if_id: 2, subnets: [10.2.0.0/16]}}
`);
  const flow = { src: 0x0a000007, dst: 0x0a010005, ports: (443 << 16) | 5000, proto: 6 };
  const flows = {
    ...policy.flows,
    files: ["flows.csv"],
    exact4: {
      ...policy.flows.exact4,
      ...{ src: Uint32Array.of(flow.src), dst: Uint32Array.of(flow.dst), proto: Uint8Array.of(flow.proto) },
      ...{ ports: Uint32Array.of(flow.ports), connection: Uint32Array.of(1) },
      ...{ file: new Uint8Array(1), line: Uint32Array.of(1) },
    },
  };
  const { object } = load({ ...policy, flows });
  t.teardown(() => object.close());
  runPacket(object, "run_decide", error(3, "10.1.0.5", B_WEB), { mark: 0, ifindex: 0 });
  t.is(decided(object).ifId, 2);
  const received = error(3, "10.0.0.7", tcp("10.0.0.7", 443, "10.1.0.5", 5000));
  const admit = (ifId: number) =>
    runPacket(object, "run_admit", received, { mark: 0, ifindex: 0, ifId }).verdict;
  t.deepEqual([admit(1), admit(2)], [VERDICT.drop, VERDICT.pass]);
});

rootTest("with subnets alone, a router beyond them is heard about what its connection was sent", (t) => {
  const { object } = load(
    policyOf(`version: 1
connections: {a: {if_id: 1, subnets: [10.1.0.0/16]}, b: {if_id: 2, subnets: [10.2.0.0/16]}}
`),
  );
  t.teardown(() => object.close());
  const received = error(3, "10.0.0.7", tcp("10.0.0.7", 80, "10.1.0.5", 5000));
  const admit = (ifId: number) =>
    runPacket(object, "run_admit", received, { mark: 0, ifindex: 0, ifId }).verdict;
  t.deepEqual([admit(1), admit(2)], [VERDICT.pass, VERDICT.drop]);
  const forged = error(3, "10.0.0.7", tcp("10.0.0.7", 80, "10.1.0.5", 5000), { src: "10.2.0.1" });
  t.is(runPacket(object, "run_admit", forged, { mark: 0, ifindex: 0, ifId: 2 }).verdict, VERDICT.drop);
});
