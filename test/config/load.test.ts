import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import test from "ava";
import fc from "fast-check";
import { z } from "zod";
import { NO_FLOWS } from "../../src/config/flows.js";
import {
  formatDiagnostic,
  formatPrefix,
  type LoadResult,
  loadPolicy,
  type Match,
  type Policy,
  parsePolicy,
  policySchema,
  type Target,
} from "../../src/config/index.js";
import { ANY_MATCH } from "../../src/config/match.js";

const HEAD = `version: 1
connections:
  a: {if_id: 1, subnets: [10.1.0.0/16, "fd00:1::/48"]}
  b: {if_id: 2, subnets: [10.2.0.0/16, "fd00:2::/48"]}
`;

function load(text: string): LoadResult {
  return parsePolicy(text, "/etc/steer/steer.yaml");
}

function policyOf({ policy, diagnostics }: LoadResult): Policy {
  if (policy === null) throw new Error(diagnostics.map(formatDiagnostic).join("\n"));
  return policy;
}

function warningsOf(text: string): string[] {
  const result = load(text);
  policyOf(result);
  return result.diagnostics.map((each) => formatDiagnostic({ ...each, file: "f" }));
}

for (const name of ["hub-and-sites", "branch-office", "minimal"]) {
  test(`example ${name} has no diagnostics and needs no key file`, (t) => {
    const result = loadPolicy(`examples/${name}/steer.yaml`);
    t.deepEqual(result.diagnostics, []);
    t.not(result.policy, null);
  });
}

test("what is left out has its default", (t) => {
  const policy = policyOf(load("version: 1\nconnections:\n  a: {if_id: 0x65}\n"));
  t.deepEqual(policy, {
    version: 1,
    backend: "auto",
    interface: { name: "ipsec0", mtu: "auto", addresses: [], guard: true, routes: false },
    connections: [
      {
        name: "a",
        ifId: 101,
        link: null,
        subnets: [],
        rxMark: null,
        esp: null,
        location: { file: "/etc/steer/steer.yaml", line: 3, column: 3 },
      },
    ],
    rules: [],
    flows: NO_FLOWS,
    default: "drop",
  });
});

test("interface addresses keep their host bits, a bare one is a single host", (t) => {
  const { interface: device } = policyOf(
    load(`${HEAD}interface: {name: ipsec7, mtu: 1400, addresses: [10.0.0.1/24, "fd00::1"]}\n`),
  );
  t.is(device.name, "ipsec7");
  t.is(device.mtu, 1400);
  t.deepEqual(device.addresses.map(formatPrefix), ["10.0.0.1/24", "fd00::1/128"]);
});

test("connections keep the order of the file, also with numeric names", (t) => {
  const policy = policyOf(
    load("version: 1\nconnections:\n  z: {if_id: 1}\n  9: {if_id: 2}\n  1: {if_id: 3}\n"),
  );
  t.deepEqual(
    policy.connections.map(({ name }) => name),
    ["z", "9", "1"],
  );
});

const ESP = `version: 1
connections:
  a:
    if_id: 1
    link: wan0
    rx: {mark: 0x66/0xff}
    esp:
      local: 192.0.2.1
      remote: 192.0.2.2
      suite: aes256-gcm
      out: {spi: 0x1001, key: file:keys/a-out.key}
      in: {spi: 0x1002, key: env:A_IN}
`;

test("an esp block has NAT-T ports, a window, and key files relative to the policy's folder", (t) => {
  const [connection] = policyOf(load(ESP)).connections;
  t.deepEqual(connection?.rxMark, { value: 0x66, mask: 0xff });
  t.is(connection?.link, "wan0");
  const file = "/etc/steer/steer.yaml";
  t.deepEqual(connection?.esp, {
    local: "192.0.2.1",
    remote: "192.0.2.2",
    localPort: 4500,
    remotePort: 4500,
    suite: "aes256-gcm",
    out: {
      spi: 0x1001,
      key: { kind: "file", path: "/etc/steer/keys/a-out.key", location: { file, line: 11, column: 31 } },
    },
    in: { spi: 0x1002, key: { kind: "env", name: "A_IN", location: { file, line: 12, column: 30 } } },
    replayWindow: 1024,
    mode: "tunnel",
    inner: null,
    encapsulation: "udp",
    alsoIn: [],
    esn: false,
    padTo: 0,
    lifetime: {},
    offload: null,
  });
});

test("ports and window of an esp block can be set", (t) => {
  const text = ESP.replace(
    "suite:",
    "local_port: 4501\n      remote_port: 4502\n      replay_window: 4096\n      suite:",
  );
  const esp = policyOf(load(text)).connections[0]?.esp;
  t.deepEqual([esp?.localPort, esp?.remotePort, esp?.replayWindow], [4501, 4502, 4096]);
});

function matchOf(text: string): Match {
  const [rule] = policyOf(load(`${HEAD}rules:\n  - match: ${text}\n    to: a\n`)).rules;
  if (rule === undefined) throw new Error("no rule");
  return rule.match;
}

function range(from: number, to: number) {
  return { from, to };
}

function marked(value: number, mask: number) {
  return { value, mask };
}

const matchCases: readonly (readonly [text: string, field: keyof Match, expected: unknown])[] = [
  ["{src: 10.0.0.0/8}", "src", [{ family: 4, words: [0x0a000000], length: 8 }]],
  ["{dst: 10.1.2.3}", "dst", [{ family: 4, words: [0x0a010203], length: 32 }]],
  ["{dst: 0.0.0.0/0}", "dst", [{ family: 4, words: [0], length: 0 }]],
  ['{dst: "fd00:1::200"}', "dst", [{ family: 6, words: [0xfd000001, 0, 0, 0x200], length: 128 }]],
  ['{dst: "::/0"}', "dst", [{ family: 6, words: [0, 0, 0, 0], length: 0 }]],
  ['{src: "2001:DB8:8000::/33"}', "src", [{ family: 6, words: [0x20010db8, 0x80000000, 0, 0], length: 33 }]],
  ["{proto: tcp}", "proto", [6]],
  ["{proto: UDP}", "proto", [17]],
  ["{proto: icmp6}", "proto", [58]],
  ["{proto: 255}", "proto", [255]],
  ["{proto: 0}", "proto", [0]],
  ["{proto: udp, dport: 53}", "dport", [{ from: 53, to: 53 }]],
  ["{proto: sctp, sport: 5060-5070}", "sport", [{ from: 5060, to: 5070 }]],
  [
    "{proto: 136, dport: [0, 1-65535]}",
    "dport",
    [
      { from: 0, to: 0 },
      { from: 1, to: 65535 },
    ],
  ],
  ["{dscp: ef}", "dscp", [46]],
  ["{dscp: af41}", "dscp", [34]],
  ["{dscp: CS1}", "dscp", [8]],
  ["{dscp: 63}", "dscp", [63]],
  ["{mark: 0x1/0xff}", "mark", [{ value: 1, mask: 0xff }]],
  ["{mark: 0xffffffff}", "mark", [{ value: 0xffffffff, mask: 0xffffffff }]],
  ["{mark: 7}", "mark", [{ value: 7, mask: 0xffffffff }]],
  ["{iif: lan0}", "iif", ["lan0"]],
  ["{iif: [lan0, group:branches, group:7]}", "iif", ["lan0", "group:branches", "group:7"]],
  ["{proto: [tcp, 17]}", "proto", [6, 17]],
  ["{proto: icmp, icmp_type: [8, 13-14]}", "icmpType", [range(8, 8), range(13, 14)]],
  ["{dscp: [ef, 0]}", "dscp", [46, 0]],
  ["{ecn: [ce, ect0, not-ect]}", "ecn", [3, 2, 0]],
  ["{mark: [1/0xf, 0x20/0xf0]}", "mark", [marked(1, 0xf), marked(0x20, 0xf0)]],
  ["{length: [0-128, 65575]}", "length", [range(0, 128), range(65575, 65575)]],
  ["{fragment: [first, later]}", "fragment", ["first", "later"]],
  ["{src: {not: 10.0.0.0/8}}", "not", ["src"]],
  ["{src: {not: [10.0.0.0/8]}}", "src", [{ family: 4, words: [0x0a000000], length: 8 }]],
  ["{proto: udp, dport: {not: [53, 100-200]}}", "dport", [range(53, 53), range(100, 200)]],
  ["{iif: {not: lan0}, fragment: {not: none}, dscp: 1}", "not", ["iif", "fragment"]],
];

for (const [text, field, expected] of matchCases) {
  test(`match ${text} is read`, (t) => {
    t.deepEqual(matchOf(text)[field], expected);
  });
}

const targets: readonly (readonly [text: string, expected: Target])[] = [
  ["a", { kind: "connection", connection: "a", link: null }],
  ["{connection: b, link: wan1}", { kind: "connection", connection: "b", link: "wan1" }],
  ["drop", { kind: "drop" }],
  [
    "{group: [{a: 3}, b]}",
    {
      kind: "group",
      members: [
        { connection: "a", weight: 3 },
        { connection: "b", weight: 1 },
      ],
    },
  ],
];

for (const [text, expected] of targets) {
  test(`to: ${text} is read`, (t) => {
    t.deepEqual(policyOf(load(`${HEAD}rules:\n  - {to: ${text}}\n`)).rules[0]?.to, expected);
  });
}

test("set changes a mark under its mask and a code point", (t) => {
  const { rules } = policyOf(load(`${HEAD}rules:\n  - {to: a, set: {mark: 0x1/0xff, dscp: ef}}\n`));
  t.deepEqual(rules[0]?.set, { mark: { value: 1, mask: 0xff }, dscp: 46 });
});

test("a rule without match matches everything, and is named by its place", (t) => {
  const [first, second] = policyOf(
    load(`${HEAD}rules:\n  - {match: {proto: tcp}, to: drop}\n  - to: pass\n`),
  ).rules;
  t.deepEqual(second, {
    name: "rule-2",
    match: ANY_MATCH,
    set: { mark: null, dscp: null },
    to: { kind: "pass" },
    location: { file: "/etc/steer/steer.yaml", line: 7, column: 5 },
  });
  t.deepEqual(first?.to, { kind: "drop" });
});

test("aliases are read as if written out", (t) => {
  const text = `${HEAD}rules:\n  - {match: {dst: &nets [10.9.0.0/16, "fd09::/16"], proto: tcp}, to: a}\n  - {match: {dst: *nets}, to: b}\n`;
  const [first, second] = policyOf(load(text)).rules;
  t.deepEqual(second?.match.dst, first?.match.dst);
  t.is(second?.match.dst.length, 2);
});

const unreachable: readonly (readonly [earlier: string, later: string, covered: boolean])[] = [
  ["{}", "{proto: tcp}", true],
  ["{proto: [tcp, udp]}", "{proto: udp}", true],
  ["{proto: udp}", "{proto: [tcp, udp]}", false],
  ["{proto: {not: tcp}}", "{proto: udp}", true],
  ["{proto: {not: tcp}}", "{proto: [udp, tcp]}", false],
  ["{proto: {not: tcp}}", "{proto: {not: [tcp, udp]}}", true],
  ["{proto: {not: [tcp, udp]}}", "{proto: {not: tcp}}", false],
  ["{proto: {not: tcp}}", "{dst: 10.1.0.0/16}", false],
  ["{src: {not: 10.0.0.0/8}}", "{src: 11.0.0.0/8}", true],
  ["{src: {not: 10.0.0.0/8}}", "{src: 10.1.0.0/16}", false],
  ["{src: {not: 10.1.0.0/16}}", "{src: {not: 10.0.0.0/8}}", true],
  ["{src: 0.0.0.0/0}", "{src: {not: 10.0.0.0/8}}", false],
  ['{src: [0.0.0.0/0, "::/0"]}', "{src: {not: 10.0.0.0/8}}", true],
  ["{iif: {not: lan0}}", "{iif: lan1}", true],
  ["{iif: {not: lan0}}", "{iif: group:lan}", false],
  ["{mark: {not: 0x1/0x1}}", "{mark: 0x2/0x3}", true],
  ["{mark: {not: 0x1/0x1}}", "{mark: 0x2/0x2}", false],
  ["{length: 0-1000}", "{length: [40, 60-80]}", true],
  ["{fragment: [first, later]}", "{fragment: later}", true],
  ["{dst: 10.0.0.0/8}", "{dst: 10.1.0.0/16, proto: udp, dport: 53}", true],
  ["{dst: 10.1.0.0/16}", "{dst: 10.0.0.0/8}", false],
  ["{dst: 10.0.0.0/8}", "{dst: [10.1.0.0/16, 11.0.0.0/8]}", false],
  ["{dst: [11.0.0.0/8, 10.0.0.0/8]}", "{dst: [10.1.0.0/16, 11.0.0.0/8]}", true],
  ["{dst: 0.0.0.0/0}", "{proto: gre}", false],
  ['{dst: [0.0.0.0/0, "::/0"]}', "{proto: gre}", true],
  ["{src: 0.0.0.0/0}", "{dst: 10.0.0.0/8}", true],
  ["{src: 10.0.0.0/8, dst: 10.0.0.0/8}", "{src: 10.0.0.0/9, dst: 10.128.0.0/9}", true],
  ["{src: 10.0.0.0/8}", "{dst: 10.0.0.0/8}", false],
  ["{proto: tcp, dport: 1-100}", "{proto: tcp, dport: 50}", true],
  ["{proto: tcp, dport: [1-50, 51-100]}", "{proto: tcp, dport: 40-60}", true],
  ["{proto: tcp, dport: [1-50, 52-100]}", "{proto: tcp, dport: 40-60}", false],
  ["{proto: tcp, dport: 0-65535}", "{proto: tcp}", false],
  ["{proto: tcp, sport: 1}", "{proto: tcp, dport: 1}", false],
  ["{proto: tcp}", "{proto: udp}", false],
  ["{dscp: ef}", "{dscp: ef, iif: lan0}", true],
  ["{dscp: ef}", "{dscp: cs1}", false],
  ["{mark: 0x1/0x1}", "{mark: 0x3/0xff}", true],
  ["{mark: 0x1/0x1}", "{mark: 0x2/0xff}", false],
  ["{mark: 0x1/0xff}", "{mark: 0x1/0x1}", false],
  ["{iif: lan0}", "{iif: lan1}", false],
  ["{iif: lan0}", "{}", false],
];

for (const [earlier, later, covered] of unreachable) {
  test(`rule ${later} behind ${earlier} is ${covered ? "unreachable" : "reachable"}`, (t) => {
    const warnings = warningsOf(
      `${HEAD}rules:\n  - {name: early, match: ${earlier}, to: a}\n  - {name: late, match: ${later}, to: b}\n`,
    );
    const expected =
      "f:7:5: warning: rule late can never match: rule early (line 6) matches all that it would; move late in front of early, or remove it";
    t.deepEqual(warnings, covered ? [expected] : []);
  });
}

test("an unreachable rule is blamed on the first rule that covers it", (t) => {
  const [warning] = warningsOf(
    `${HEAD}rules:\n  - {name: x, match: {dst: 10.0.0.0/8}, to: a}\n  - {name: y, match: {dst: 10.0.0.0/8, src: 10.0.0.0/8}, to: b}\n`,
  );
  t.regex(warning ?? "", /rule y can never match: rule x \(line 6\)/);
});

const NESTED = `version: 1
connections:
  wide: {if_id: 1, subnets: [10.0.0.0/8]}
  narrow: {if_id: 2, subnets: [10.1.0.0/16]}
`;

test("a subnet inside another connection's is a warning that says which decides", (t) => {
  t.deepEqual(warningsOf(NESTED), [
    "f:4:32: warning: 10.1.0.0/16 of narrow lies in 10.0.0.0/8 of wide (line 3); the longer prefix decides: packets to it go to narrow; add rules with to: narrow and to: wide if others should decide",
  ]);
});

test("no warning of nested subnets when rules decide for both connections", (t) => {
  const rules = "rules:\n  - {match: {proto: tcp}, to: wide}\n  - {match: {dst: 10.1.2.0/24}, to: narrow}\n";
  t.deepEqual(warningsOf(NESTED + rules), []);
});

test("nested subnets of one connection are nobody's business", (t) => {
  t.deepEqual(
    warningsOf("version: 1\nconnections:\n  a: {if_id: 1, subnets: [10.0.0.0/8, 10.1.0.0/16]}\n"),
    [],
  );
});

test("a subnet that is there twice in one connection is a warning", (t) => {
  t.deepEqual(warningsOf("version: 1\nconnections:\n  a: {if_id: 1, subnets: [10.1.1.1, 10.1.1.1/32]}\n"), [
    "f:3:37: warning: 10.1.1.1/32 is there twice in a; keep one",
  ]);
});

test("a prefix that the other side's family rules out is a warning", (t) => {
  t.deepEqual(
    warningsOf(`${HEAD}rules:\n  - {match: {src: [10.0.0.0/8, "fd00::/16"], dst: 10.2.0.0/16}, to: a}\n`),
    [
      "f:6:32: warning: fd00::/16 can never match, as dst has no IPv6 prefix; remove it, or add an IPv6 prefix to dst",
    ],
  );
});

for (const [match, warned] of [
  ['{proto: ah, dst: "fd00::/8"}', ["ah"]],
  ['{proto: [tcp, 60, 44], src: [10.0.0.0/8, "fd00::/8"]}', ["60", "44"]],
  ['{proto: ah, dst: "fd00::/8", fragment: [none, later]}', ["ah"]],
  ['{proto: ah, dst: "fd00::/8", fragment: later}', []],
  ['{proto: ah, dst: "fd00::/8", fragment: {not: [none, first]}}', []],
  ['{proto: {not: ah}, dst: "fd00::/8"}', []],
  ['{proto: [esp, 59], dst: "fd00::/8"}', []],
  ["{proto: ah, dst: 10.0.0.0/8}", []],
  ["{proto: ah}", []],
] as const)
  test(`match ${match} has ${warned.length} extension headers of IPv6 that are worth a warning`, (t) => {
    const { diagnostics } = parsePolicy(
      `version: 1\nconnections: {a: {if_id: 1}}\nrules:\n  - {match: ${match}, to: a}\n`,
      "f",
    );
    t.deepEqual(
      diagnostics.map(({ severity, message }) => [severity, message]),
      warned.map((name) => [
        "warning",
        `${name} can never match a whole IPv6 packet: it is an extension header, which is walked over`,
      ]),
    );
  });

test("one prefix in two connections is fine when a rule decides for each", (t) => {
  const text = `version: 1
connections:
  a: {if_id: 1, subnets: [192.168.1.200]}
  b: {if_id: 2, subnets: [192.168.1.200]}
rules:
  - {match: {dst: 192.168.0.0/16, proto: tcp}, to: a}
  - {match: {proto: udp}, to: b}
`;
  t.deepEqual(warningsOf(text), []);
});

test("a rule of the other family does not decide for a shared prefix", (t) => {
  const { policy, diagnostics } = load(`version: 1
connections:
  a: {if_id: 1, subnets: [192.168.1.200]}
  b: {if_id: 2, subnets: [192.168.1.200]}
rules:
  - {match: {proto: tcp}, to: a}
  - {match: {src: "fd00::/16", proto: udp}, to: b}
`);
  t.is(policy, null);
  t.is(diagnostics.length, 1);
  t.regex(diagnostics[0]?.message ?? "", /no rule sends any of it to b$/);
});

test("a file that does not exist and a folder are diagnostics", (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), "steer-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const missing = path.join(folder, "steer.yaml");
  t.deepEqual(loadPolicy(missing).diagnostics.map(formatDiagnostic), [
    `${missing}:1:1: error: the file does not exist; check the path`,
  ]);
  t.deepEqual(loadPolicy(folder).diagnostics.map(formatDiagnostic), [
    `${folder}:1:1: error: the file is a directory; name a file in it`,
  ]);
});

test("a hundred thousand open brackets are a diagnostic", (t) => {
  const { policy, diagnostics } = load(`version: 1\nconnections: ${"[".repeat(100_000)}`);
  t.is(policy, null);
  t.regex(
    diagnostics.map(formatDiagnostic).join("\n"),
    /the YAML is nested too deeply; nest at most 32 levels/,
  );
});

test("a file that starts with a byte order mark is read", (t) => {
  t.not(parsePolicy(Buffer.from(`\uFEFF${HEAD}`), "f").policy, null);
});

test("the schema turns into a JSON Schema", (t) => {
  const schema = z.toJSONSchema(policySchema) as { required: string[]; additionalProperties: boolean };
  t.deepEqual(schema.required, ["version"]);
  t.false(schema.additionalProperties);
});

/** A diagnostic is part of the interface: it has to stand somewhere and say both halves. */
function isWhole({ policy, diagnostics }: LoadResult): boolean {
  const whole = diagnostics.every(
    ({ line, column, message, hint }) => line >= 1 && column >= 1 && message !== "" && hint !== "",
  );
  return whole && (policy === null) === diagnostics.some(({ severity }) => severity === "error");
}

test("random bytes never throw and are never a policy without a diagnostic", (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => isWhole(parsePolicy(bytes, "f"))),
    { numRuns: 500 },
  );
  t.pass();
});

test("a policy cut, doubled or scrambled anywhere never throws", (t) => {
  const text = `${ESP}rules:\n  - {name: r, match: {src: [10.0.0.0/8, &x "fd00::/16"], dst: *x, proto: udp, dport: 1-5, mark: 1/1}, to: a}\ndefault: drop\n`;
  const edit = fc.record({
    at: fc.nat(text.length),
    remove: fc.nat(30),
    insert: fc.oneof(
      fc.constantFrom(
        ": ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "&a ",
        "*a",
        "\t",
        "\n",
        "null",
        "~",
        "!!map",
        "'",
        '"',
        "? ",
        "#",
        "|",
        "__proto__: 1",
        "<<: ",
      ),
      fc.string({ maxLength: 8 }),
    ),
  });
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
      let mutated = text;
      for (const { at, remove, insert } of edits) {
        mutated = mutated.slice(0, at) + insert + mutated.slice(at + remove);
      }
      return isWhole(load(mutated));
    }),
    { numRuns: 1500 },
  );
  t.pass();
});

test("any value in place of any part of a policy never throws", (t) => {
  const paths = ["version", "interface", "connections", "rules", "default", "backend"];
  fc.assert(
    fc.property(fc.constantFrom(...paths), fc.jsonValue(), (key, value) => {
      const whole = {
        version: 1,
        connections: { a: { if_id: 1, subnets: [] } },
        rules: [{ to: "a" }],
        [key]: value,
      };
      return isWhole(load(JSON.stringify(whole)));
    }),
    { numRuns: 1000 },
  );
  t.pass();
});
