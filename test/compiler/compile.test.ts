import test from "ava";
import { KeyWord, Owner, Slot } from "../../src/bpf/tables.bpf.js";
import { compile, counterCounts } from "../../src/compiler/compile.js";
import { CompileError } from "../../src/compiler/error.js";
import { dstAddress, isErrorType, parsePacket } from "../../src/compiler/packet.js";
import { decide, decidingPacket, longestSubnet } from "../../src/compiler/reference.js";
import { EntrySize, type TableName } from "../../src/compiler/table.js";
import { type Policy, parsePolicy } from "../../src/config/index.js";
import { Random } from "../support/random.js";
import { randomPacket } from "../support/random-packet.js";
import { randomPolicy } from "../support/random-policy.js";
import { keyOf, matchFlow, matchRules, ownerOf } from "../support/walk.js";

const DEVICES = {
  ifindexOf: (name: string) => ({ lo: 1, wan0: 7 })[name] ?? 99,
  ifindexesOfGroup: (group: string) => (group === "0" ? [1] : []),
};

const NO_DEVICE = { iif: null };
const LO = { iif: "lo", iifGroup: "group:0" };

function policyOf(yaml: string): Policy {
  const { policy, diagnostics } = parsePolicy(yaml, "test.yaml");
  if (policy === null) throw new Error(JSON.stringify(diagnostics));
  return policy;
}

for (const [rules, subnets] of [
  [0, 3],
  [5, 5],
  [60, 30],
  [600, 200],
  [1200, 5],
] as const)
  test(`tables of ${rules} random rules decide as the linear reference does`, (t) => {
    const seed = 4711 + rules;
    const random = new Random(seed);
    const policy = randomPolicy(random, rules, subnets);
    const generation = compile(policy, DEVICES);
    for (let i = 0; i < 2000; i++) {
      const sent = parsePacket(randomPacket(random, policy), {
        mark: random.below(6),
        ...random.pick([NO_DEVICE, LO]),
      });
      if ("malformed" in sent) continue;
      const decision = decide(policy, sent);
      const packet = decidingPacket(policy, sent);
      const key = keyOf(packet, DEVICES.ifindexOf);
      const isError = isErrorType(sent.family, sent.icmpType) && sent.fragment === "none";
      const flow = matchFlow(generation, key, packet);
      t.is(flow === null, decision.by !== "flow", `seed ${seed}, packet ${i}`);
      if (decision.by === "flow") continue;
      if (isError) {
        const own = keyOf(sent, DEVICES.ifindexOf);
        const naming = matchRules(generation, own, false, undefined, "icmpTrees");
        const takesItself = decision.by === "rule" && packet === sent && naming !== Slot.INDEX_NONE;
        t.is(naming, takesItself ? decision.rule : Slot.INDEX_NONE, `seed ${seed}, packet ${i}`);
        if (takesItself) continue;
      }
      const index = matchRules(generation, key, packet.sport !== null);
      t.is(index, decision.by === "rule" ? decision.rule : Slot.INDEX_NONE, `seed ${seed}, packet ${i}`);
      const owner = ownerOf(
        generation,
        packet.family === 4 ? "trie4" : "trie6",
        packet.family === 4 ? generation.subnets4 : generation.subnets6,
        key,
        KeyWord.KEY_DST,
      );
      const owners = longestSubnet(policy, dstAddress(packet))?.connections ?? [];
      if (owners.length === 0) t.is(owner, null);
      else if (owners.length === 1) t.is(owner, owners[0] as number);
      else t.true(owner !== null && owner >= Owner.OWNER_SHARED, `seed ${seed}, packet ${i}`);
    }
  });

test("compiling is pure: the same policy gives the same bytes", (t) => {
  const policy = randomPolicy(new Random(1), 100, 20);
  t.deepEqual(compile(policy, DEVICES), compile(policy, DEVICES));
});

test("every table whose indexes are masked is a power of two of entries, also an empty one", (t) => {
  for (const rules of [0, 3, 50]) {
    const { tables } = compile(randomPolicy(new Random(rules), rules, 4), DEVICES);
    for (const [name, { length }] of Object.entries(tables)) {
      if (/^(flows|pilots|trie)/.test(name)) continue;
      const entries = length / EntrySize[name as TableName];
      t.is(Math.log2(entries) % 1, 0, `${name} has ${entries} entries`);
    }
  }
});

test("connections hold if_id, the link's ifindex and the receive mark", (t) => {
  const { tables } = compile(
    policyOf("version: 1\nconnections: {a: {if_id: 0xfffffffe, link: wan0, rx: {mark: 0x66/0xff}}}\n"),
    DEVICES,
  );
  t.deepEqual([...new Uint32Array(tables.connections.slice().buffer)], [0xfffffffe, 7, 0x66, 0xff]);
});

test("a prefix that two connections own gets a list in the shared table", (t) => {
  const generation = compile(
    policyOf(`version: 1
connections:
  a: {if_id: 1, subnets: [10.0.0.0/8]}
  b: {if_id: 2, subnets: [10.0.0.0/8]}
rules:
  - {match: {dst: 10.0.0.0/8, proto: icmp}, to: a}
  - {match: {dst: 10.0.0.0/8, proto: udp}, to: b}
`),
    DEVICES,
  );
  t.is(generation.sharedSteps, 1);
  t.deepEqual([...new Uint32Array(generation.tables.shared.slice().buffer)].slice(0, 3), [2, 0, 1]);
});

test("counters: one a rule, one a connection and the reasons; receive has two a connection", (t) => {
  const policy = randomPolicy(new Random(2), 10, 3);
  const { length } = policy.connections;
  t.deepEqual(counterCounts(compile(policy, DEVICES)), { tx: 10 + length + 3, rx: 2 * length + 3 });
});

test("rules that no field can tell apart are refused by name instead of cut off", (t) => {
  // 7000 rules on the same port range that each still need ports: none covers the node, nothing separates them.
  const policy = policyOf("version: 1\nconnections: {a: {if_id: 1}}\n");
  const rule = policyOf(
    "version: 1\nconnections: {a: {if_id: 1}}\nrules: [{match: {proto: udp, sport: 0-65535, dport: 0-65535}, to: a}]\n",
  ).rules[0];
  if (!rule) return t.fail();
  const rules = Array.from({ length: 7000 }, (_, i) => ({ ...rule, name: `same-${i}` }));
  const error = t.throws(() => compile({ ...policy, rules }, DEVICES), { instanceOf: CompileError });
  t.true(error?.rules.includes("same-6999") && error.rules.length > 100);
});

test("an unknown device is the caller's error, with its place, not a zero", (t) => {
  const policy = policyOf("version: 1\nconnections: {a: {if_id: 1, link: nowhere}}\n");
  t.throws(
    () =>
      compile(policy, {
        ...DEVICES,
        ifindexOf: (name) => {
          throw new Error(`no device ${name}`);
        },
      }),
    { message: "test.yaml:2:15: connection a: no device nowhere" },
  );
});
