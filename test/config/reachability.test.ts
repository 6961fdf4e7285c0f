import test from "ava";
import fc from "fast-check";
import { coversMatch } from "../../src/config/cover.js";
import { Report } from "../../src/config/diagnostics.js";
import { matchFamilies } from "../../src/config/families.js";
import { ANY_MATCH, SET_NOTHING } from "../../src/config/match.js";
import type { Match, MatchField } from "../../src/config/policy.js";
import { findUnreachable } from "../../src/config/reachability.js";
import type { ReadRule } from "../../src/config/rules.js";
import { Random } from "../support/random.js";
import { randomMatch } from "../support/random-policy.js";

/** Each rule that an earlier one covers, and the first that does; rules that are covered count no more. */
function plainSearch(rules: readonly ReadRule[]): [rule: string, cover: string][] {
  const kept: ReadRule[] = [];
  return rules.flatMap((rule): [string, string][] => {
    if (!rule.complete) return [];
    const cover = kept.find(({ match }) => coversMatch(match, rule.match));
    if (cover !== undefined) return [[rule.name, cover.name]];
    kept.push(rule);
    return [];
  });
}

function search(rules: readonly ReadRule[]): [rule: string, cover: string][] {
  const report = new Report();
  const unreachable = findUnreachable(rules, report);
  const pairs = report.sorted().map(({ message }): [string, string] => {
    const [, rule = "", cover = ""] = /^rule (\S+) can never match: rule (\S+) /.exec(message) ?? [];
    return [rule, cover];
  });
  if (unreachable.size !== pairs.length)
    throw new Error(`${unreachable.size} rules, ${pairs.length} warnings`);
  return pairs;
}

const FIELDS = Object.keys(ANY_MATCH).filter((field): field is MatchField => field !== "not");

/** A match with some fields as the one has them, and the rest as the other has. */
function mixed(random: Random, a: Match, b: Match): Match {
  const from = new Map(FIELDS.map((field) => [field, random.chance(3) ? b : a]));
  return {
    ...(Object.fromEntries([...from].map(([field, match]) => [field, match[field]])) as unknown as Match),
    not: FIELDS.filter((field) => from.get(field)?.not.includes(field)),
  };
}

function ruleOf(index: number, match: Match): ReadRule {
  const location = { file: "random", line: index + 1, column: 1 };
  return {
    name: `r${index}`,
    match,
    to: { kind: "drop" },
    set: SET_NOTHING,
    location,
    complete: true,
    index,
  };
}

function randomRules(random: Random, count: number): ReadRule[] {
  const rules: ReadRule[] = [];
  for (let index = 0; index < count; index++) {
    const other = rules.length > 0 && random.chance(2) ? random.pick(rules).match : null;
    const fresh = randomMatch(random);
    const rule = ruleOf(index, other === null ? fresh : mixed(random, other, fresh));
    // As for a rule that was read: one that mixes the families is an error.
    rules.push({ ...rule, complete: matchFamilies(rule.match).length > 0 && !random.chance(20) });
  }
  return rules;
}

test("the rules that can never match are those that a plain search finds, each with its first cover", (t) => {
  let found = 0;
  fc.assert(
    fc.property(fc.nat(2 ** 31), fc.integer({ min: 2, max: 60 }), (seed, count) => {
      const rules = randomRules(new Random(seed), count);
      const expected = plainSearch(rules);
      found += expected.length;
      t.deepEqual(search(rules), expected);
    }),
    { numRuns: 300 },
  );
  t.true(found > 300, "most lists have some");
});

const MANY = 2_000;
const alike: readonly (readonly [title: string, match: (i: number) => Partial<Match>])[] = [
  ["mark", (i) => ({ mark: [{ value: i, mask: 0xffffffff }] })],
  ["protocol and port", (i) => ({ proto: [i & 1 ? 6 : 17], dport: [{ from: i >> 1, to: i >> 1 }] })],
  ["range of ports", (i) => ({ proto: [17], dport: [{ from: 5 * i, to: 5 * i + 4 }] })],
  ["list of devices", (i) => ({ iif: [`lan${i}`, `wan${i}`], dscp: [46] })],
];

for (const [title, match] of alike)
  test(`rules that differ by their ${title} only are not compared all with all`, (t) => {
    let reads = 0;
    const rules = Array.from({ length: MANY }, (_, index): ReadRule => {
      const own = { ...ANY_MATCH, ...match(index % (MANY - 1)) };
      return {
        ...ruleOf(index, own),
        get match() {
          reads++;
          return own;
        },
      };
    });
    t.deepEqual(search(rules), [[`r${MANY - 1}`, "r0"]]);
    t.true(reads < 20 * MANY, `${reads} reads of a match`);
  });
