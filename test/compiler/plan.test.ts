import { join } from "node:path";
import test from "ava";
import fc from "fast-check";
import { decodeBundle, encodeBundle } from "../../src/compiler/bundle/index.js";
import { formatChange, planChanges } from "../../src/compiler/plan.js";
import { loadPolicy, NO_FLOWS, type Policy, parsePolicy } from "../../src/config/index.js";
import { packageRoot } from "../../src/sys/paths.js";
import { folderWith } from "../support/folder.js";
import { Random } from "../support/random.js";
import { randomPolicy } from "../support/random-policy.js";

function policyOf(text: string, folder = "."): Policy {
  const { policy, diagnostics } = parsePolicy(`version: 1\n${text}`, `${folder}/steer.yaml`);
  if (policy === null) throw new Error(JSON.stringify(diagnostics));
  return policy;
}

const plan = (before: Policy | null, after: Policy) => planChanges(before, after).map(formatChange);

/** Random rows may be there twice, which no policy that was read has. */
const randomRules = (seed: number, rules: number, subnets: number): Policy => ({
  ...randomPolicy(new Random(seed), rules, subnets),
  flows: NO_FLOWS,
});

const policies = fc
  .record({ seed: fc.nat(2 ** 31), rules: fc.nat(30), subnets: fc.nat(6) })
  .map(({ seed, rules, subnets }) => randomRules(seed, rules, subnets));

test("what is loaded already changes nothing, also by way of a bundle", (t) => {
  fc.assert(
    fc.property(policies, (policy) => {
      t.deepEqual(planChanges(policy, decodeBundle(encodeBundle(policy))), []);
    }),
    { numRuns: 40 },
  );
});

for (const name of ["hub-and-sites", "rule-language"])
  test(`a bundle of examples/${name} changes nothing where the YAML is loaded`, (t) => {
    const { policy } = loadPolicy(`examples/${name}/steer.yaml`);
    if (policy === null) return t.fail();
    t.deepEqual(planChanges(policy, decodeBundle(encodeBundle(policy))), []);
  });

test("taking one rule out, putting one in front or turning one around is one change", (t) => {
  fc.assert(
    fc.property(fc.nat(2 ** 31), fc.integer({ min: 2, max: 20 }), fc.nat(), (seed, count, pick) => {
      const policy = randomRules(seed, count, 3);
      const at = pick % count;
      const rule = policy.rules[at] as Policy["rules"][number];
      const without = { ...policy, rules: policy.rules.filter((_, index) => index !== at) };
      const { name } = rule;
      t.deepEqual(plan(policy, without), [`- rule ${name}`]);
      t.deepEqual(plan(without, policy), [`+ rule ${name}`]);
      const moved = { ...without, rules: [...without.rules, rule] };
      const moves = planChanges(policy, moved);
      t.is(moves.length, at === count - 1 ? 0 : 1);
      // Of two neighbours that changed places, either may be said to have moved.
      if (at < count - 2) t.deepEqual(moves, [{ action: "move", what: "rule", name, details: [] }]);
    }),
    { numRuns: 40 },
  );
});

const BASE = `
interface: {name: ipsec0, mtu: 1400, addresses: [10.0.0.1/32]}
connections:
  a: {if_id: 1, subnets: [10.1.0.0/16]}
  b: {if_id: 2, link: wan0}
rules:
  - {name: r, match: {proto: udp, dport: 53}, to: b}
  - {name: s, match: {proto: tcp}, to: a}
default: drop
`;

const ESP =
  "{local: 192.0.2.1, remote: 192.0.2.2, suite: aes128-gcm, out: {spi: 0x1001, key: env:OUT}, in: {spi: 0x1002, key: env:IN}}";

const cases: readonly (readonly [title: string, edit: (text: string) => string, changes: string[]])[] = [
  ["comments and places", (text) => `# hello\n\n${text}`, []],
  ["the order of connections", (text) => text.replace(/( {2}a: .*\n)( {2}b: .*\n)/, "$2$1"), []],
  ["the default", (text) => text.replace("default: drop", "default: pass"), ["~ default\n    drop -> pass"]],
  ["the backend", (text) => `backend: userspace\n${text}`, ["~ backend\n    auto -> userspace"]],
  [
    "the interface",
    (text) => text.replace("mtu: 1400", "mtu: auto").replace("10.0.0.1/32", "10.0.0.2/32"),
    ["~ interface\n    mtu: 1400 -> auto\n    addresses: 10.0.0.1/32 -> 10.0.0.2/32"],
  ],
  [
    "a connection's fields",
    (text) =>
      text.replace("link: wan0", "rx: {mark: 1}, subnets: [10.2.0.0/16]").replace("if_id: 2", "if_id: 3"),
    [
      "~ connection b\n    if_id: 2 -> 3\n    link: wan0 -> none\n    rx: nothing -> mark 0x1/0xffffffff\n    subnets: none -> 10.2.0.0/16",
    ],
  ],
  [
    "a connection's keys",
    (text) => text.replace("link: wan0", `link: wan0, esp: ${ESP}`),
    ["~ connection b\n    esp differs"],
  ],
  ["a connection more", (text) => text.replace("rules:", "  c: {if_id: 9}\nrules:"), ["+ connection c"]],
  [
    "a rule's match and target",
    (text) =>
      text.replace(
        "{proto: udp, dport: 53}, to: b",
        "{proto: udp, dport: {not: 53}}, to: {connection: b, link: wan1}, set: {dscp: ef}",
      ),
    ["~ rule r\n    dport: 53 -> not 53\n    to: b -> b (link wan1)\n    set: nothing -> dscp ef"],
  ],
  [
    "the order of rules",
    (text) => text.replace(/( {2}- \{name: r.*\n)( {2}- \{name: s.*\n)/, "$2$1"),
    ["^ rule s"],
  ],
];

for (const [title, edit, changes] of cases)
  test(`plan: ${title}`, (t) => {
    t.deepEqual(plan(policyOf(BASE), policyOf(edit(BASE))), changes);
  });

/** Of files that are there: a policy whose program is not is refused. */
const FOLDER = join(packageRoot, "bpf");
const PROGRAM = "program: {file: program.bpf.c, constants: {n: 1, on: true}, maps: {homes: {10.0.0.9: 1}}}\n";
const withCode = (text: string, object: string): Policy => {
  const policy = policyOf(text, FOLDER);
  const built = { object, constants: [], maps: [] };
  return policy.program ? { ...policy, program: { ...policy.program, built } } : policy;
};

test("a program's coming, going and changing are changes", (t) => {
  const before = withCode(BASE + PROGRAM, "A");
  const without = policyOf(BASE);
  t.deepEqual(plan(before, before), []);
  t.deepEqual(plan(before, policyOf(BASE + PROGRAM, FOLDER)), [], "one that is not built may be the same");
  t.deepEqual(plan(without, before), [`+ program\n    ${FOLDER}/program.bpf.c`]);
  t.deepEqual(plan(before, without), [`- program\n    ${FOLDER}/program.bpf.c`]);
  t.deepEqual(plan(before, withCode(BASE + PROGRAM, "B")), ["~ program\n    its code differs"]);
  const edited = PROGRAM.replace("n: 1, on: true", "n: 2, m: 3").replace(
    "10.0.0.9: 1",
    "10.0.0.9: 2, 10.0.0.8: 1",
  );
  t.deepEqual(plan(before, withCode(BASE + edited.replace("program.bpf.c", "classifier.bpf.c"), "A")), [
    [
      "~ program",
      `file: ${FOLDER}/program.bpf.c -> ${FOLDER}/classifier.bpf.c`,
      "constant n: 1 -> 2",
      "constant on: true -> none",
      "map homes: 10.0.0.9: 1 -> 2",
      "constant m: none -> 3",
      "map homes: 10.0.0.8: none -> 1",
    ].join("\n    "),
  ]);
});

test("with nothing loaded the whole policy is one addition", (t) => {
  const added = "+ interface ipsec0\n    2 connections\n    2 rules";
  t.deepEqual(plan(null, policyOf(BASE)), [added]);
  t.deepEqual(plan(null, policyOf(BASE + PROGRAM, FOLDER)), [
    `${added}\n    the program ${FOLDER}/program.bpf.c`,
  ]);
});

test("bulk flows are compared row by row, and counted", (t) => {
  const folder = folderWith(t, {
    "old.csv": "dst,connection\n10.7.0.0/16,a\n10.8.0.0/16,a\n10.9.0.0/16,a\n",
    "new.csv": "dst,connection\n10.9.0.0/16,a\n10.8.0.0/16,b\n10.6.0.0/16,a\n10.5.0.0/16,a\n",
    "same.csv": "connection,dst\na,10.8.0.0/16\na,10.9.0.0/16\na,10.7.0.0/16\n",
  });
  const withFlows = (file: string) => policyOf(`${BASE}flows: ${file}\n`, folder);
  t.deepEqual(plan(withFlows("old.csv"), withFlows("same.csv")), []);
  t.deepEqual(plan(withFlows("old.csv"), withFlows("new.csv")), [
    "~ flows IPv4 subnets\n    2 added\n    1 removed\n    1 lead to another connection",
  ]);
});
