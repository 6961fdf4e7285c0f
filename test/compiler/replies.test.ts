import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import fc from "fast-check";
import { explain, formatExplanation } from "../../src/compiler/explain.js";
import { parseFlow } from "../../src/compiler/flow.js";
import { asks, isHost } from "../../src/compiler/one-way.js";
import { Owners } from "../../src/compiler/owners.js";
import { dstAddress, parsePacket } from "../../src/compiler/packet.js";
import { decide, longestSubnet, sourceAllowed } from "../../src/compiler/reference.js";
import { unansweredRules } from "../../src/compiler/replies.js";
import { formatDiagnostic, loadPolicy, type Policy, parsePolicy } from "../../src/config/index.js";
import { folderWith } from "../support/folder.js";
import { Random } from "../support/random.js";
import { randomPacket } from "../support/random-packet.js";
import { randomPolicy, randomWords } from "../support/random-policy.js";

function policyOf(text: string, file = "steer.yaml"): Policy {
  const { policy, diagnostics } = parsePolicy(`version: 1\n${text}`, file);
  if (policy === null) throw new Error(JSON.stringify(diagnostics));
  return policy;
}

const warningsOf = (policy: Policy): string[] =>
  [...unansweredRules(policy)].map((each) => formatDiagnostic(each).replace(/^.*?(steer\.yaml|\.csv):/, ""));

const SITES = `connections:
  a: {if_id: 1, subnets: [10.1.0.0/16, "fd00:1::/48"]}
  b: {if_id: 2, subnets: [10.2.0.0/16]}
  c: {if_id: 3}
rules:
`;
const SITE_LINES = 6;

/** What is said of rules, one a line; the numbers of lines begin with theirs. */
function said(...rules: string[]): string[] {
  const text = rules.map((rule) => `  - {${rule}}\n`).join("");
  return warningsOf(policyOf(`${SITES}${text}`)).map((line) =>
    line.replace(/^(\d+):5: warning: /, (_, number) => `${Number(number) - SITE_LINES}: `),
  );
}

const DROPPED = "they are dropped as bad source";
const ONE = `replies from 10.1.0.0/16 come in on b, whose subnets do not hold it: ${DROPPED}`;

const cases: readonly (readonly [title: string, rules: string[], said: string[]])[] = [
  [
    "another connection's subnet",
    ["name: r, match: {dst: 10.1.0.0/16, proto: udp}, to: b"],
    [
      `1: rule r: ${ONE}; add 10.1.0.0/16 to b's subnets, and behind r a rule with match: {dst: 10.1.0.0/16} and to: a for the rest`,
    ],
  ],
  [
    "another connection's subnet, which has a rule for the rest",
    ["name: r, match: {dst: 10.1.0.0/16, proto: udp}, to: b", "match: {dst: 10.0.0.0/15}, to: a"],
    [`1: rule r: ${ONE}; add 10.1.0.0/16 to b's subnets`],
  ],
  [
    "all of another connection's subnet",
    ["name: r, match: {dst: 10.1.0.0/16}, to: b"],
    [`1: rule r: ${ONE}; move 10.1.0.0/16 from the subnets of a to those of b`],
  ],
  [
    "a part of another connection's subnet",
    ["name: r, match: {dst: 10.1.5.0/24, proto: udp}, to: b"],
    [
      `1: rule r: ${ONE.replace("10.1.0.0/16", "10.1.5.0/24")}; add 10.1.5.0/24 to the subnets of b and a, and behind r a rule with match: {dst: 10.1.5.0/24} and to: a for the rest`,
    ],
  ],
  [
    "all of a part of another connection's subnet",
    ["name: r, match: {dst: 10.1.5.0/24}, to: b"],
    [`1: rule r: ${ONE.replace("10.1.0.0/16", "10.1.5.0/24")}; add 10.1.5.0/24 to b's subnets`],
  ],
  [
    "everything, to one that owns a part of it",
    ["name: r, match: {proto: udp}, to: b"],
    [
      `1: rule r: replies from 10.1.0.0/16 and fd00:1::/48 come in on b, whose subnets do not hold them: ${DROPPED}; add 10.1.0.0/16 and fd00:1::/48 to b's subnets, and behind r rules that send the rest to a`,
    ],
  ],
  [
    "everything but what others own",
    ['name: r, match: {dst: {not: [10.1.0.0/16, "fd00::/16"]}, proto: udp}, to: b'],
    [],
  ],
  [
    "everything but a part of what others own",
    ['name: r, match: {src: 10.0.0.0/8, dst: {not: [10.1.0.0/17, "fd00::/16"]}, proto: udp}, to: b'],
    [
      `1: rule r: ${ONE}; add 10.1.0.0/16 to b's subnets, and behind r a rule with match: {dst: 10.1.0.0/16} and to: a for the rest`,
    ],
  ],
  ["the connection's own subnet", ["match: {dst: 10.2.0.0/16, proto: udp}, to: b"], []],
  [
    "a network around the connection's subnet and nobody else's",
    ["match: {dst: 10.2.0.0/15, proto: udp}, to: b"],
    [],
  ],
  [
    "what nobody owns",
    ["name: r, match: {dst: 10.9.0.0/16, proto: udp}, to: b"],
    [`1: rule r: ${ONE.replace("10.1.0.0/16", "10.9.0.0/16")}; add 10.9.0.0/16 to b's subnets`],
  ],
  [
    "whatever there is, to one that owns nothing",
    ["match: {dst: 10.1.0.0/16}, to: a", "name: r, match: {src: 10.0.0.0/8, dst: {not: 10.2.0.0/16}}, to: c"],
    [
      "2: rule r: all replies that come in on c are dropped as bad source, as it has no subnets; give c the subnets that lie behind it",
    ],
  ],
  [
    "each member of a group on its own",
    [
      "name: r, match: {dst: 10.1.0.0/16, proto: udp}, to: {group: [a, b, c]}",
      "match: {dst: 10.1.0.0/16}, to: a",
    ],
    [
      `1: rule r: ${ONE}; add 10.1.0.0/16 to b's subnets`,
      `1: rule r: ${ONE.replace("on b", "on c")}; add 10.1.0.0/16 to c's subnets`,
    ],
  ],
  [
    "nothing, as an earlier rule takes it",
    ["match: {dst: 10.0.0.0/8}, to: drop", "match: {dst: 10.1.0.0/16}, to: b"],
    [],
  ],
  [
    "nothing of it, as earlier rules take each part that is owned",
    [
      'match: {dst: "fd00::/8"}, to: drop',
      "match: {dst: 10.1.0.0/17}, to: a",
      "match: {dst: 10.1.128.0/17}, to: drop",
      "match: {proto: udp}, to: b",
    ],
    [],
  ],
  [
    "nothing of it but what the exception of an earlier rule leaves",
    [
      "match: {dst: 10.1.0.0/17}, to: a",
      'match: {dst: "::/0"}, to: drop',
      "name: r, match: {proto: udp}, to: b",
    ],
    [`3: rule r: ${ONE}; add 10.1.0.0/16 to b's subnets`],
  ],
  [
    "drop and pass",
    ["match: {dst: 10.1.0.0/16, proto: udp}, to: drop", "match: {dst: 10.1.0.0/16}, to: pass"],
    [],
  ],
  ["multicast", ['match: {dst: [224.0.0.0/4, "ff00::/8", 255.255.255.255]}, to: b'], []],
  ["ICMP that gets no answer", ["match: {dst: 10.1.0.0/16, proto: icmp, icmp_type: [0, 3, 11]}, to: b"], []],
  [
    "ICMP that gets one",
    ["match: {dst: 10.1.0.0/16}, to: a", "match: {dst: 10.1.0.0/16, proto: icmp, icmp_type: 8}, to: b"],
    [],
  ],
];

for (const [title, rules, expected] of cases)
  test(`rules whose replies are dropped: ${title}`, (t) => {
    t.deepEqual(said(...rules), expected);
  });

test("a prefix that several own admits replies on each of them, and a longer one of others does not", (t) => {
  const policy = (more: string) =>
    policyOf(
      `connections:
  a: {if_id: 1, subnets: [10.1.0.0/16]}
  b: {if_id: 2, subnets: [10.1.0.0/16]}
  c: {if_id: 3, subnets: [${more}]}
rules: [{name: r, match: {dst: 10.1.0.0/16, proto: udp}, to: b}, {match: {dst: 10.1.0.0/16}, to: a}]
`,
    );
  t.deepEqual(warningsOf(policy("10.3.0.0/16")), []);
  t.is(warningsOf(policy("10.1.7.0/24")).length, 2);
  t.regex(warningsOf(policy("10.1.7.0/24"))[0] ?? "", /rule r: replies from 10\.1\.7\.0\/24 come in on b/);
});

test("no rule and no flow of the README and the examples is one-way", (t) => {
  const readme = /```yaml\n([\s\S]*?)```/.exec(readFileSync("README.md", "utf8"))?.[1] ?? "";
  t.deepEqual(warningsOf(policyOf(readme.replace("version: 1\n", ""))), []);
  for (const name of readdirSync("examples")) {
    const file = `examples/${name}/steer.yaml`;
    const policy = existsSync(file) ? loadPolicy(file).policy : null;
    t.deepEqual(policy === null ? [] : warningsOf(policy), [], file);
  }
});

test("kernel-lwt admits whatever an SA decrypts", (t) => {
  const text =
    "connections: {a: {if_id: 1, subnets: [10.1.0.0/16]}, b: {if_id: 2}}\nrules: [{match: {dst: 10.1.0.0/16}, to: b}]\n";
  t.is(warningsOf(policyOf(text)).length, 1);
  t.deepEqual(warningsOf(policyOf(`backend: kernel-lwt\n${text}`)), []);
});

test("exact flows are said once for each connection; subnets of flow files own like others", (t) => {
  const folder = folderWith(t, {
    "f.csv": `src,dst,proto,sport,dport,connection
,10.9.0.0/16,,,,b
10.0.0.1,10.9.0.1,udp,1,2,b
10.0.0.1,10.1.0.1,udp,1,2,b
10.0.0.1,10.1.0.2,udp,1,2,b
10.0.0.1,10.2.0.1,udp,1,2,a
`,
  });
  const file = join(folder, "steer.yaml");
  writeFileSync(file, "");
  const rule = "  - {match: {dst: 10.9.0.0/16, proto: udp}, to: b}\n";
  const hint = (name: string) =>
    `add what lies behind ${name} to its subnets too, and rules where others own it`;
  t.deepEqual(
    warningsOf(policyOf(`flows: f.csv\n${SITES}${rule}`, file)).map((line) => line.replace(/^.*?csv:/, "")),
    [
      `4:1: warning: the flow's replies from 10.1.0.1 come in on b, whose subnets do not hold it: ${DROPPED}, and so are those of 1 more flows; ${hint("b")}`,
      `6:1: warning: the flow's replies from 10.2.0.1 come in on a, whose subnets do not hold it: ${DROPPED}; ${hint("a")}`,
    ],
  );
});

test("of very many rules the first 20 are said, and the others counted", (t) => {
  const rules = Array.from({ length: 50 }, (_, i) => `match: {dst: 10.1.${i}.0/24}, to: b`);
  const lines = said(...rules);
  t.is(lines.length, 21);
  t.regex(
    lines.at(-1) ?? "",
    /^21: from this rule on there are 30 more whose connection does not admit replies/,
  );
});

test("explain says it of the packet at hand", (t) => {
  const policy = policyOf(
    `${SITES}  - {name: r, match: {dst: [10.1.0.0/16, 224.0.0.0/4], proto: [udp, icmp]}, to: b}\n`,
  );
  const unanswered = (flow: string) => explain(policy, parseFlow(flow)).unanswered;
  t.is(
    unanswered("udp 10.0.0.1:1 > 10.1.0.5:2"),
    `replies from 10.1.0.5 come in on b, whose subnets do not hold it (10.1.0.0/16 is a's): ${DROPPED}`,
  );
  t.true(formatExplanation(explain(policy, parseFlow("udp 10.0.0.1:1 > 10.1.0.5:2"))).endsWith(DROPPED));
  t.is(unanswered("udp 10.0.0.1:1 > 10.2.0.5:2"), null);
  t.is(unanswered("udp 10.0.0.1:1 > 224.0.0.5:2"), null);
  t.is(unanswered("icmp 10.0.0.1 > 10.1.0.5 type 3"), null);
  t.regex(unanswered("icmp 10.0.0.1 > 10.1.0.5 type 8") ?? "", /replies from 10\.1\.0\.5/);
});

const seeds = fc.nat(2 ** 31);

test("owners of any address are those of the longest subnet around it", (t) => {
  fc.assert(
    fc.property(seeds, (seed) => {
      const random = new Random(seed);
      const policy = randomPolicy(random, 1, 6);
      for (const family of [4, 6] as const) {
        const owners = new Owners(policy, family);
        for (let i = 0; i < 20; i++) {
          const words = randomWords(random, family);
          const longest = longestSubnet(policy, { family, words });
          const segment = owners.find(words);
          t.deepEqual([...owners.owners(segment)].sort(), (longest?.connections ?? []).sort());
          t.deepEqual(owners.prefix(segment), longest?.prefix ?? null);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test("each packet that a rule sends to where replies are dropped is explained so, and the rule is warned of", (t) => {
  let found = 0;
  fc.assert(
    fc.property(seeds, (seed) => {
      const random = new Random(seed);
      const policy: Policy = { ...randomPolicy(random, random.pick([1, 5]), 6), backend: "auto" };
      const key = parsePacket(randomPacket(random, policy));
      if ("malformed" in key) return;
      const decision = decide(policy, key);
      const { action } = decision;
      if (action.kind !== "connection") return;
      const dst = dstAddress(key);
      const answered = !isHost(dst) || (key.icmpType !== null && !asks(key.family, key.icmpType));
      const admitted = sourceAllowed(policy, action.connection, { ...key, src: key.dst, dst: key.src });
      t.is(explain(policy, key).unanswered === null, answered || admitted);
      if (answered || admitted || decision.by !== "rule" || longestSubnet(policy, dst) === null) return;
      const [rule, name] = [policy.rules[decision.rule]?.name, policy.connections[action.connection]?.name];
      const lines = [...unansweredRules(policy)].map(({ message }) => message);
      t.true(
        lines.some((line) => line.startsWith(`rule ${rule}: `) && line.includes(`come in on ${name}`)),
        `${rule} ${name} ${lines}`,
      );
      found++;
    }),
    { numRuns: 2000 },
  );
  t.true(found > 50, `${found}`);
});
