import test from "ava";
import { explain, formatExplanation } from "../../src/compiler/explain.js";
import { FlowSyntaxError, parseFlow } from "../../src/compiler/flow.js";
import { parsePacket } from "../../src/compiler/packet.js";
import { loadPolicy, type Policy, parsePolicy } from "../../src/config/index.js";

function example(name: string): Policy {
  const { policy } = loadPolicy(`examples/${name}/steer.yaml`);
  if (policy === null) throw new Error(`the example ${name} has errors`);
  return policy;
}

test("the hub's voice flow: rule, connection, and why each earlier rule did not match", (t) => {
  const explanation = explain(example("hub-and-sites"), parseFlow("udp 10.0.0.1:1234 > 192.168.1.200:5060"));
  t.is(explanation.rule, "voice-b");
  t.deepEqual(explanation.connection, { name: "site-b", ifId: 102, link: null });
  t.deepEqual(
    explanation.steps.map(({ rule, matched }) => [rule, matched]),
    [
      ["ping-a", false],
      ["ping6-b", false],
      ["bulk-a", false],
      ["bulk-b", false],
      ["voice-a", false],
      ["voice-b", true],
    ],
  );
  t.is(
    formatExplanation(explanation),
    `udp 10.0.0.1:1234 > 192.168.1.200:5060
  rule ping-a (line 28) does not match: wants proto icmp, the packet has udp; wants icmp_type 8, the packet has none
  rule ping6-b (line 31) does not match: wants dst fd00:1::200/128, the packet has 192.168.1.200; wants proto ipv6-icmp, the packet has udp; wants icmp_type 128, the packet has none
  rule bulk-a (line 34) does not match: wants proto tcp, the packet has udp; wants dport 5201-5299, the packet has 5060
  rule bulk-b (line 37) does not match: wants proto tcp, the packet has udp; wants dport 5301-5399, the packet has 5060
  rule voice-a (line 40) does not match: wants dport 4000-4999, the packet has 5060
  rule voice-b (line 43) matches
goes to connection site-b (if_id 102): rule voice-b decides`,
  );
});

const hubFlows: readonly (readonly [flow: string, rule: string | null, connection: string | null])[] = [
  ["icmp 10.0.0.1 > 192.168.1.200 type 8", "ping-a", "site-a"],
  ["ipv6-icmp fd00::1 > fd00:1::200 type 128", "ping6-b", "site-b"],
  ["tcp 10.0.0.1:40000 > 192.168.1.200:5201", "bulk-a", "site-a"],
  ["tcp [fd00::1]:40000 > [fd00:1::200]:5201", "bulk-a", "site-a"],
  ["tcp 10.0.0.1:40000 > 192.168.1.200:5301", "bulk-b", "site-b"],
  ["tcp [fd00::1]:40000 > [fd00:1::200]:5301", "bulk-b", "site-b"],
  ["udp 10.0.0.1:40000 > 192.168.1.200:4000", "voice-a", "site-a"],
  ["udp [fd00::1]:40000 > [fd00:1::200]:7078", "voice-b", "site-b"],
  [
    'icmp 10.0.9.9 > 192.168.1.200 type 3 code 4 quoting "tcp 192.168.1.200:5301 > 10.0.0.1:40000"',
    "bulk-b",
    "site-b",
  ],
  [
    'icmp 10.0.9.9 > 192.168.1.200 type 3 code 4 quoting "udp 192.168.1.200:7078 > 10.0.0.1:7078"',
    "voice-b",
    "site-b",
  ],
  ["udp 10.0.0.1:40000 > 192.168.1.200:9", null, null],
  ["tcp [fd00::1]:40000 > [fd00:1::200]:22", null, null],
];

for (const [flow, rule, connection] of hubFlows) {
  test(`hub: ${flow} -> ${connection ?? "dropped"}`, (t) => {
    const explanation = explain(example("hub-and-sites"), parseFlow(flow));
    t.is(explanation.rule, rule);
    t.is(explanation.connection?.name ?? null, connection);
  });
}

const summaries: readonly (readonly [name: string, flow: string, summary: string])[] = [
  [
    "branch-office",
    "tcp 10.0.0.1:1 > 10.2.7.7:443",
    "goes to connection lisbon (if_id 202): no rule matches, and 10.2.0.0/16 is the longest subnet around its destination",
  ],
  [
    "branch-office",
    "tcp 10.0.0.1:1 > 10.4.0.1:443",
    "dropped: no rule matches and no connection has its destination, so default: drop decides",
  ],
  [
    "hub-and-sites",
    "udp 10.0.0.1:1 > 192.168.1.200:9",
    "dropped: no rule matches, and 192.168.1.200/32 is a subnet of site-a and site-b, so default: drop decides",
  ],
];

for (const [name, flow, summary] of summaries) {
  test(`${name}: ${flow} is summed up in one sentence`, (t) => {
    t.is(explain(example(name), parseFlow(flow)).summary, summary);
  });
}

const { policy: EVERY_FIELD } = parsePolicy(
  `version: 1
connections:
  a: {if_id: 1, link: wan0}
rules:
  - name: picky
    match: {src: [10.0.0.0/8, "fd00::/16"], dst: 10.1.0.0/16, proto: udp, sport: 5, dport: [53, 60-70], dscp: ef, mark: 0x1/0xff, iif: lan0}
    to: a
  - {name: quiet, match: {proto: tcp}, to: drop}
  - {name: rest, to: pass}
`,
  "steer.yaml",
);

test("each field that does not match says what it wants and what the packet has", (t) => {
  const { steps } = explain(EVERY_FIELD as Policy, parseFlow("icmp 11.0.0.1 > 11.0.0.2"));
  t.deepEqual(steps[0]?.reasons, [
    "wants src 10.0.0.0/8 or fd00::/16, the packet has 11.0.0.1",
    "wants dst 10.1.0.0/16, the packet has 11.0.0.2",
    "wants proto udp, the packet has icmp",
    "wants sport 5, the packet has no ports",
    "wants dport 53 or 60-70, the packet has no ports",
    "wants dscp ef, the packet has cs0",
    "wants mark 0x1/0xff, the packet has 0x0",
    "wants iif lan0, the packet has none, as it was made here",
  ]);
});

test("only the fields that differ are named", (t) => {
  const flow = "udp 10.0.0.1:5 > 10.1.0.1:61 dscp ef mark 0x301 iif lan1";
  const { steps, summary } = explain(EVERY_FIELD as Policy, parseFlow(flow));
  t.deepEqual(steps[0]?.reasons, ["wants iif lan0, the packet has lan1"]);
  t.is(summary, "passed on without a connection: rule rest decides");
});

test("a decision names the link, and a drop rule is named", (t) => {
  const policy = EVERY_FIELD as Policy;
  t.is(
    explain(policy, parseFlow("udp 10.0.0.1:5 > 10.1.0.1:53 dscp ef mark 1 iif lan0")).summary,
    "goes to connection a (if_id 1, link wan0): rule picky decides",
  );
  t.is(explain(policy, parseFlow("tcp 10.0.0.1:5 > 10.1.0.1:53")).summary, "dropped: rule quiet decides");
});

test("an ICMP error is explained by rules that name ICMP, then by what it quotes", (t) => {
  const { policy } = parsePolicy(
    `version: 1
connections: {a: {if_id: 1, subnets: [10.1.0.0/16]}, b: {if_id: 2, subnets: [10.2.0.0/16]}}
rules:
  - {name: web, match: {proto: tcp, sport: 443}, to: b}
  - {name: ping, match: {proto: icmp, src: 10.9.0.0/16}, to: a}
`,
    "steer.yaml",
  );
  const told = (flow: string) => formatExplanation(explain(policy as Policy, parseFlow(flow)));
  const quoted = 'quoting "tcp 10.1.0.5:5000 > 10.0.0.7:443"';
  t.is(
    told(`icmp 10.77.0.1 > 10.1.0.5 type 3 ${quoted}`),
    `icmp 10.77.0.1 > 10.1.0.5 type 3 ${quoted}
  rule ping (line 5) does not match the ICMP error itself: wants src 10.9.0.0/16, the packet has 10.77.0.1
  it follows what it quotes, the other way: tcp 10.0.0.7:443 > 10.1.0.5:5000
  rule web (line 4) matches
goes to connection b (if_id 2): rule web decides`,
  );
  t.is(
    told(`icmp 10.9.0.1 > 10.1.0.5 type 3 ${quoted}`),
    `icmp 10.9.0.1 > 10.1.0.5 type 3 ${quoted}
  rule ping (line 5) matches the ICMP error itself
goes to connection a (if_id 1): rule ping decides`,
  );
  t.true(
    told("icmp 10.77.0.1 > 10.1.0.5 type 3").endsWith(
      "no rule matches, and 10.1.0.0/16 is the longest subnet around its destination",
    ),
  );
});

test("a malformed packet is explained without rules", (t) => {
  const explanation = explain(EVERY_FIELD as Policy, parsePacket(Uint8Array.of(0x45, 0)));
  t.deepEqual(explanation.steps, []);
  t.is(formatExplanation(explanation), "dropped: the packet is malformed (2 bytes of an IPv4 header)");
});

test("an explanation is plain data", (t) => {
  const explanation = explain(EVERY_FIELD as Policy, parseFlow("icmp 10.0.0.1 > 10.0.0.2"));
  t.deepEqual(JSON.parse(JSON.stringify(explanation)), explanation);
});

test("a program comes before the rules, and the explanation says so", (t) => {
  const explanation = explain(example("custom-program"), parseFlow("icmp 10.0.0.1 > 10.9.0.1"));
  t.regex(explanation.program ?? "", /^\/.*\/spread\.bpf\.c$/);
  t.regex(
    formatExplanation(explanation),
    /^icmp .*\n {2}program spread\.bpf\.c comes first; the rest holds for what it leaves to the rules\n {2}rule ipv6 /,
  );
  t.is(explain(example("minimal"), parseFlow("icmp 10.0.0.1 > 10.9.0.1")).program, null);
});

test("a flow of an IPv6 extension header is none but as a later fragment: the program walks over it", (t) => {
  for (const proto of ["ah", "0", "43", "44", "60", "135", "139", "140"]) {
    t.throws(() => parseFlow(`${proto} fd00::1 > fd00::2`), {
      instanceOf: FlowSyntaxError,
      message: `${proto} over IPv6 is an extension header, which is walked over`,
    });
    t.is(parseFlow(`${proto} fd00::1 > fd00::2 fragment later`).fragment, "later");
    t.is(parseFlow(`${proto} 10.0.0.1 > 10.0.0.2`).family, 4);
  }
});
