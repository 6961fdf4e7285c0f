import test from "ava";
import { lint } from "../../src/compiler/lint.js";
import { formatDiagnostic, parsePolicy } from "../../src/config/index.js";

const CONNECTIONS = `version: 1
backend: kernel-lwt
connections:
  a: {if_id: 1, subnets: [10.1.0.0/16]}
  b: {if_id: 2, subnets: [10.2.0.0/16]}
rules:
`;

function said(rules: string): string[] {
  const { policy, diagnostics } = parsePolicy(`${CONNECTIONS}${rules}`, "s.yaml");
  if (policy === null) throw new Error(diagnostics.map(formatDiagnostic).join("\n"));
  return lint(policy).map(formatDiagnostic);
}

const line = (place: string, name: string, to: string, otherwise: string, match: string) =>
  `s.yaml:${place}: warning: rule ${name} sends the first fragment of a datagram to ${to}, and the later ones, which have no ports, ${otherwise}; ` +
  `put a rule in front of it that keeps them together: match: {${match}, fragment: [first, later]} and to: ${to}; or have it take whole packets only: fragment: none`;

for (const [title, rules, expected] of [
  [
    "to another connection by a rule",
    "  - {name: v, match: {dst: 10.1.0.0/16, proto: udp, dport: 5060}, to: b}\n  - {name: d, match: {dst: 10.1.0.0/16}, to: a}\n",
    [line("7:5", "v", "b", "to a by rule d", "dst: 10.1.0.0/16, proto: udp")],
  ],
  [
    "to another connection by its subnets",
    "  - {name: v, match: {dst: 10.1.0.0/16, src: 10.9.0.0/16, proto: [udp, tcp], sport: 1}, to: b}\n",
    [line("7:5", "v", "b", "to a by its subnets", "src: 10.9.0.0/16, dst: 10.1.0.0/16, proto: [udp, tcp]")],
  ],
  [
    "nowhere by default",
    "  - {name: v, match: {dst: 10.3.0.0/16, proto: udp, dport: {not: 53}}, to: b}\n  - {to: a, match: {proto: tcp}}\n",
    [line("7:5", "v", "b", "nowhere: default: drop drops them", "dst: 10.3.0.0/16, proto: udp")],
  ],
  [
    "nowhere by a rule",
    "  - {name: v, match: {proto: udp, dport: 53}, to: b}\n  - {name: no, match: {proto: udp, fragment: later}, to: drop}\n  - {to: a}\n",
    [line("7:5", "v", "b", "nowhere: rule no has to: drop", "proto: udp")],
  ],
  [
    "of many rules in one line for each two targets",
    "  - {name: v, match: {dst: 10.1.0.0/16, proto: udp, dport: 1}, to: b}\n  - {match: {dst: 10.1.0.0/16, proto: udp, dport: 2}, to: b}\n  - {match: {dst: 10.1.1.0/24, proto: udp, dport: 3}, to: b}\n  - {match: {proto: gre}, to: a}\n",
    [line("7:5", "v", "b", "to a by its subnets; so do 2 more rules", "dst: 10.1.0.0/16, proto: udp")],
  ],
] as const)
  test(`rules on ports send later fragments ${title}`, (t) => {
    t.deepEqual(said(rules), expected);
  });

for (const [title, rules] of [
  [
    "the same connection has the subnet",
    "  - {match: {dst: 10.2.1.0/24, proto: udp, dport: 5060}, to: b}\n  - {match: {proto: gre}, to: a}\n",
  ],
  [
    "a rule in front keeps them together",
    "  - {match: {dst: 10.1.0.0/16, proto: udp, fragment: [first, later]}, to: b}\n  - {match: {dst: 10.1.0.0/16, proto: udp, dport: 5060}, to: b}\n",
  ],
  [
    "a rule behind sends the later ones to the same connection",
    "  - {match: {dst: 10.1.0.0/16, proto: udp, dport: 5060}, to: b}\n  - {match: {dst: 10.1.0.0/16, fragment: later}, to: b}\n",
  ],
  [
    "the rule takes whole packets only",
    "  - {match: {dst: 10.1.0.0/16, proto: udp, dport: 5060, fragment: none}, to: b}\n",
  ],
  ["the rule is of TCP", "  - {match: {dst: 10.1.0.0/16, proto: tcp, dport: 443}, to: b}\n"],
  [
    "the rule drops",
    "  - {match: {dst: 10.1.0.0/16, proto: udp, dport: 443}, to: drop}\n  - {match: {proto: gre}, to: b}\n",
  ],
  ["the rule names no ports", "  - {match: {dst: 10.1.0.0/16, proto: udp}, to: b}\n"],
] as const)
  test(`no word of fragments where ${title}`, (t) => {
    t.deepEqual(said(rules), []);
  });
