import test from "ava";
import { compile, type Generation } from "../../src/compiler/compile.js";
import { MATCH_FIELDS } from "../../src/compiler/reference.js";
import { matchWords } from "../../src/compiler/same-rules.js";
import { ANY_MATCH } from "../../src/config/match.js";
import type { Match, Policy } from "../../src/config/policy.js";
import { Random } from "../support/random.js";
import { randomMatch, randomPolicy } from "../support/random-policy.js";

const DEVICES = { ifindexOf: () => 1, ifindexesOfGroup: () => [] };
const SEED = 20261;

/** A rule set, and the same with one field of one rule's match taken from another match. */
function withOneChange(random: Random): { policy: Policy; changed: Policy } {
  const policy = randomPolicy(random, 3, 2);
  const field = random.pick(MATCH_FIELDS);
  const other = randomMatch(random);
  const which = random.below(policy.rules.length);
  const rules = policy.rules.map((rule, i) => {
    if (i !== which) return rule;
    const not = [...rule.match.not.filter((name) => name !== field), ...other.not.filter((n) => n === field)];
    return { ...rule, match: { ...rule.match, [field]: other[field], not } as Match };
  });
  return { policy, changed: { ...policy, rules } };
}

const copyOf = (policy: Policy): Policy => structuredClone(policy);

test("a compilation that builds on the last one gives the bytes of one that does not, whatever changed", (t) => {
  t.log(`seed ${SEED}`);
  const random = new Random(SEED);
  for (let i = 0; i < 40; i++) {
    const { policy, changed } = withOneChange(random);
    const generation = compile(policy, DEVICES);
    t.deepEqual(compile(copyOf(changed), DEVICES, { policy, generation }), compile(changed, DEVICES));
  }
});

test("where rules ask for what they asked for, their tables are the same objects, so that the maps are taken over", (t) => {
  t.log(`seed ${SEED}`);
  const random = new Random(SEED);
  let shared = 0;
  for (let i = 0; i < 100; i++) {
    const policy = randomPolicy(random, 3, 2);
    if (policy.rules.some(({ match }) => match.iif.length > 0)) continue;
    const generation: Generation = compile(policy, DEVICES);
    const again = compile(copyOf(policy), DEVICES, { policy, generation });
    t.is(again.tables.slots, generation.tables.slots);
    t.is(again.tables.rules4, generation.tables.rules4);
    shared++;
  }
  t.true(shared > 20);
});

test("the same values in another field, or negated, are another match", (t) => {
  const { rules } = randomPolicy(new Random(SEED), 1, 0);
  const prefixes = [{ family: 4, words: [0], length: 2 }] as const;
  const ranges = [{ from: 1, to: 2 }];
  const alone: Partial<Match>[] = [
    ...(["src", "dst"] as const).map((field) => ({ [field]: prefixes })),
    ...(["sport", "dport", "icmpType", "length"] as const).map((field) => ({ [field]: ranges })),
    ...(["proto", "dscp", "ecn"] as const).map((field) => ({ [field]: [1] })),
    { mark: [{ value: 1, mask: 2 }] },
    { fragment: ["first"] },
  ];
  const negated = alone.map((match) => ({ ...match, not: Object.keys(match) as Match["not"] }));
  const words = [{}, ...alone, ...negated].map((match) =>
    matchWords(rules.map((rule) => ({ ...rule, match: { ...ANY_MATCH, ...match } })))?.join(),
  );
  t.is(new Set(words).size, words.length);
});
