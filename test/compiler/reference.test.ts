import test from "ava";
import { parseFlow } from "../../src/compiler/flow.js";
import { parsePacket } from "../../src/compiler/packet.js";
import { admitted, type Decision, decide } from "../../src/compiler/reference.js";
import { type Policy, parsePolicy } from "../../src/config/index.js";

function policyOf(text: string): Policy {
  const { policy, diagnostics } = parsePolicy(text, "steer.yaml");
  if (policy === null) throw new Error(JSON.stringify(diagnostics));
  return policy;
}

/** A decision in one word: rule index or subnet length, and where to. */
function brief(decision: Decision): string {
  const { action } = decision;
  const to = action.kind === "connection" ? `connection ${action.connection}` : action.kind;
  switch (decision.by) {
    case "rule":
      return `rule ${decision.rule}: ${to}`;
    case "flow":
      return `flow ${decision.row}: ${to}`;
    case "subnet":
      return `subnet /${decision.prefix.length}: ${to}`;
    default:
      return `${decision.by}: ${to}`;
  }
}

const POLICY = policyOf(`version: 1
connections:
  a: {if_id: 1, subnets: [10.0.0.0/8, 192.168.1.200, "fd00::/16"]}
  b: {if_id: 2, subnets: [10.1.0.0/16, 192.168.1.200, "fd00:1::/32"]}
  c: {if_id: 3, subnets: [192.168.0.0/16]}
rules:
  - {match: {dst: 192.168.1.200, proto: tcp, dport: [80, 8000-8099]}, to: a}
  - {match: {dst: 192.168.1.200, proto: tcp, sport: 80}, to: b}
  - {match: {dst: 10.9.0.0/16, dscp: ef}, to: b}
  - {match: {dst: 10.9.0.0/16, mark: 0x80000000/0x80000000}, to: c}
  - {match: {dst: 10.9.0.0/16, iif: lan0}, to: pass}
  - {match: {src: [10.66.0.0/16, "fd66::/16"]}, to: drop}
  - {match: {dst: [10.8.0.0/16, "fd08::/16"], proto: udp}, to: c}
  - {match: {dst: "fd09::/16"}, to: b}
`);

const decisions: readonly (readonly [flow: string, expected: string])[] = [
  ["tcp 10.0.0.1:5 > 192.168.1.200:80", "rule 0: connection 0"],
  ["tcp 10.0.0.1:5 > 192.168.1.200:8000", "rule 0: connection 0"],
  ["tcp 10.0.0.1:5 > 192.168.1.200:8099", "rule 0: connection 0"],
  ["tcp 10.0.0.1:80 > 192.168.1.200:8099", "rule 0: connection 0"],
  ["tcp 10.0.0.1:80 > 192.168.1.200:8100", "rule 1: connection 1"],
  ["tcp 10.0.0.1:5 > 192.168.1.200:8100", "default: drop"],
  ["udp 10.0.0.1:80 > 192.168.1.200:80", "default: drop"],
  ["udp 10.0.0.1:80 > 192.168.1.201:80", "subnet /16: connection 2"],
  ["udp 10.0.0.1:1 > 10.9.0.1:2 dscp ef mark 0x80000000", "rule 2: connection 1"],
  ["udp 10.0.0.1:1 > 10.9.0.1:2 mark 0x80000001", "rule 3: connection 2"],
  ["udp 10.0.0.1:1 > 10.9.0.1:2 mark 0x7fffffff", "subnet /8: connection 0"],
  ["udp 10.0.0.1:1 > 10.9.0.1:2 iif lan0", "rule 4: pass"],
  ["udp 10.0.0.1:1 > 10.9.0.1:2 iif lan1", "subnet /8: connection 0"],
  ["icmp 10.66.1.1 > 10.1.0.1", "rule 5: drop"],
  ["ipv6-icmp fd66::1 > fd00::1", "rule 5: drop"],
  ["udp 10.0.0.1:1 > 10.8.0.1:2", "rule 6: connection 2"],
  ["udp [fd00::1]:1 > [fd08::1]:2", "rule 6: connection 2"],
  ["tcp [fd00::1]:1 > [fd08::1]:2", "default: drop"],
  ["esp fd00::1 > fd09:ffff::1", "rule 7: connection 1"],
  ["icmp 10.0.0.1 > 10.1.0.1", "subnet /16: connection 1"],
  ["icmp 10.0.0.1 > 10.2.0.1", "subnet /8: connection 0"],
  ["ipv6-icmp fd00::1 > fd00:1::1", "subnet /32: connection 1"],
  ["ipv6-icmp fd00::1 > fd00:2::1", "subnet /16: connection 0"],
  ["icmp 10.0.0.1 > 11.0.0.1", "default: drop"],
];

for (const [flow, expected] of decisions) {
  test(`${flow} -> ${expected}`, (t) => {
    t.is(brief(decide(POLICY, parseFlow(flow))), expected);
  });
}

test("a malformed packet is dropped, also where the default is pass", (t) => {
  const open = policyOf("version: 1\nconnections:\n  a: {if_id: 1}\ndefault: pass\n");
  t.is(brief(decide(open, parsePacket(Uint8Array.of(0x45)))), "malformed: drop");
  t.is(brief(decide(open, parseFlow("icmp 10.0.0.1 > 10.0.0.2"))), "default: pass");
});

test("a rule that names ports or a protocol does not match a packet without", (t) => {
  const flow = parseFlow("tcp 10.0.0.1:5 > 192.168.1.200:80");
  t.is(brief(decide(POLICY, { ...flow, sport: null, dport: null, fragment: "later" })), "default: drop");
  t.is(brief(decide(POLICY, { ...flow, proto: null, sport: null, dport: null })), "default: drop");
});

const sources: readonly (readonly [src: string, admitted: readonly number[]])[] = [
  ["10.2.0.1", [0]],
  ["10.1.0.1", [1]],
  ["192.168.1.200", [0, 1]],
  ["192.168.1.201", [2]],
  ["172.16.0.1", []],
  ["fd00:1::1", [1]],
  ["fd00:2::1", [0]],
  ["fd01::1", []],
];

for (const [src, owners] of sources) {
  test(`source ${src} is admitted from connections [${owners}] only`, (t) => {
    const flow = parseFlow(`${src.includes(":") ? "ipv6-icmp" : "icmp"} ${src} > ${src}`);
    t.deepEqual(
      [0, 1, 2].filter((connection) => admitted(POLICY, connection, flow)),
      owners,
    );
  });
}

test("a malformed packet has no source that could be admitted", (t) => {
  t.false(admitted(POLICY, 0, parsePacket(new Uint8Array(0))));
});

/** Whether a match admits a packet in words. */
const admits: readonly (readonly [match: string, flow: string, expected: boolean])[] = [
  ["{proto: [tcp, udp]}", "udp 10.0.0.1:1 > 10.0.0.2:2", true],
  ["{proto: {not: [tcp, udp]}}", "udp 10.0.0.1:1 > 10.0.0.2:2", false],
  ["{proto: {not: [tcp, udp]}}", "icmp 10.0.0.1 > 10.0.0.2", true],
  ["{src: {not: 10.0.0.0/8}}", "udp 10.0.0.1:1 > 10.0.0.2:2", false],
  ["{src: {not: 10.0.0.0/8}}", "udp 11.0.0.1:1 > 10.0.0.2:2", true],
  ["{src: {not: 10.0.0.0/8}}", "udp [fd00::1]:1 > [fd00::2]:2", true],
  ["{proto: udp, dport: {not: 53}}", "udp 10.0.0.1:1 > 10.0.0.2:2", true],
  ["{proto: udp, dport: {not: 53}}", "udp 10.0.0.1:1 > 10.0.0.2:53", false],
  ["{proto: udp, dport: {not: 53}}", "udp 10.0.0.1 > 10.0.0.2 fragment later", false],
  ["{proto: udp, dport: 53}", "udp 10.0.0.1 > 10.0.0.2 fragment later", false],
  ["{proto: udp, dport: 53}", "udp 10.0.0.1:1 > 10.0.0.2:53 fragment first", true],
  ["{fragment: later}", "udp 10.0.0.1 > 10.0.0.2 fragment later", true],
  ["{fragment: {not: none}}", "udp 10.0.0.1:1 > 10.0.0.2:53 fragment first", true],
  ["{fragment: {not: none}}", "udp 10.0.0.1:1 > 10.0.0.2:53", false],
  ["{proto: icmp, icmp_type: 8}", "icmp 10.0.0.1 > 10.0.0.2 type 8", true],
  ["{proto: icmp, icmp_type: 8}", "icmp 10.0.0.1 > 10.0.0.2 type 0", false],
  ["{proto: icmp, icmp_type: 8}", "icmp 10.0.0.1 > 10.0.0.2", false],
  ["{proto: icmp, icmp_type: {not: 8}}", "icmp 10.0.0.1 > 10.0.0.2", false],
  ["{proto: icmp, icmp_type: {not: 8}}", "icmp 10.0.0.1 > 10.0.0.2 type 0", true],
  ["{proto: [icmp, ipv6-icmp], icmp_type: 128-129}", "icmp6 fd00::1 > fd00::2 type 128", true],
  ["{ecn: ce}", "udp 10.0.0.1:1 > 10.0.0.2:2 ecn ce", true],
  ["{ecn: {not: [ce, ect0]}}", "udp 10.0.0.1:1 > 10.0.0.2:2 ecn ect1", true],
  ["{ecn: {not: [ce, ect0]}}", "udp 10.0.0.1:1 > 10.0.0.2:2 ecn ect0", false],
  ["{mark: [0x1/0xf, 0x20/0xf0]}", "udp 10.0.0.1:1 > 10.0.0.2:2 mark 0x21", true],
  ["{mark: [0x1/0xf, 0x20/0xf0]}", "udp 10.0.0.1:1 > 10.0.0.2:2 mark 0x12", false],
  ["{mark: {not: 0x80000000/0x80000000}}", "udp 10.0.0.1:1 > 10.0.0.2:2 mark 0x7fffffff", true],
  ["{mark: {not: 0x80000000/0x80000000}}", "udp 10.0.0.1:1 > 10.0.0.2:2 mark 0xffffffff", false],
  ["{iif: [lan0, lan1]}", "udp 10.0.0.1:1 > 10.0.0.2:2 iif lan1", true],
  ["{iif: group:lan}", "udp 10.0.0.1:1 > 10.0.0.2:2 iif lan1 group lan", true],
  ["{iif: group:lan}", "udp 10.0.0.1:1 > 10.0.0.2:2 iif lan1 group wan", false],
  ["{iif: {not: group:lan}}", "udp 10.0.0.1:1 > 10.0.0.2:2 iif lan1 group wan", true],
  ["{iif: {not: lan0}}", "udp 10.0.0.1:1 > 10.0.0.2:2", false],
  ["{length: 1000-1400}", "udp 10.0.0.1:1 > 10.0.0.2:2 len 1400", true],
  ["{length: {not: 1000-1400}}", "udp 10.0.0.1:1 > 10.0.0.2:2 len 1400", false],
];

for (const [match, flow, expected] of admits) {
  test(`${match} ${expected ? "matches" : "does not match"} ${flow}`, (t) => {
    const policy = policyOf(
      `version: 1\nconnections:\n  a: {if_id: 1}\nrules:\n  - {match: ${match}, to: a}\n`,
    );
    t.is(brief(decide(policy, parseFlow(flow))), expected ? "rule 0: connection 0" : "default: drop");
  });
}

test("a packet of an unknown protocol is matched by no proto and by no negation of one", (t) => {
  const unknown = { ...parseFlow("icmp 10.0.0.1 > 10.0.0.2"), proto: null };
  for (const match of ["{proto: icmp}", "{proto: {not: tcp}}"]) {
    const policy = policyOf(
      `version: 1\nconnections:\n  a: {if_id: 1}\nrules:\n  - {match: ${match}, to: a}\n`,
    );
    t.is(brief(decide(policy, unknown)), "default: drop");
  }
});

test("a rule's link overrides the connection's, and a subnet keeps it", (t) => {
  const policy = policyOf(`version: 1
connections:
  a: {if_id: 1, link: wan0, subnets: [10.0.0.0/8]}
rules:
  - {match: {dscp: ef}, to: {connection: a, link: wan1}}
  - {match: {dscp: cs1}, to: a}
`);
  const linkOf = (flow: string) => {
    const { action } = decide(policy, parseFlow(flow));
    return action.kind === "connection" ? action.link : null;
  };
  t.is(linkOf("icmp 10.0.0.1 > 10.0.0.2 dscp ef"), "wan1");
  t.is(linkOf("icmp 10.0.0.1 > 10.0.0.2 dscp cs1"), "wan0");
  t.is(linkOf("icmp 10.0.0.1 > 10.0.0.2"), "wan0");
});
