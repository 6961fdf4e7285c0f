import test from "ava";
import fc from "fast-check";
import { aggregate, prefixesOf, prefixSet, within, without } from "../../src/backends/guard/aggregate.js";
import { guardMetric } from "../../src/backends/guard/constants.js";
import { ownedPrefixes, routable } from "../../src/backends/guard/owned.js";
import { guardPrefixes, type TableState } from "../../src/backends/guard/plan.js";
import { contains, covers, formatPrefix, maskWord, parsePrefix } from "../../src/config/address.js";
import { parsePolicy } from "../../src/config/index.js";
import type { Prefix } from "../../src/config/policy.js";

function prefix(text: string): Prefix {
  const result = parsePrefix(text);
  if (!("prefix" in result)) throw new Error(text);
  return result.prefix;
}

const texts = (prefixes: readonly Prefix[]) => prefixes.map(formatPrefix);
const set = (...list: string[]) => prefixSet(list[0]?.includes(":") ? 6 : 4, list.map(prefix));

const EMPTY: TableState = { into: [], ours: [], elsewhere: [], followed: [], main: true };

/** Prefixes of the guards and their kinds, in order. */
function guards(
  owned: string[],
  state: Partial<Record<Exclude<keyof TableState, "main">, string[]>> = {},
  main = true,
) {
  const lists = Object.fromEntries(Object.entries(state).map(([key, list]) => [key, list.map(prefix)]));
  const found = guardPrefixes(set(...owned), { ...EMPTY, ...lists, main }).guards;
  return [...found].map(([text, kind]) => `${text} ${kind}`).sort();
}

const aggregates: readonly (readonly [title: string, from: string[], to: string[]])[] = [
  ["halves become one", ["10.0.0.0/16", "10.1.0.0/16"], ["10.0.0.0/15"]],
  ["neighbours that are not halves stay", ["10.1.0.0/16", "10.2.0.0/16"], ["10.1.0.0/16", "10.2.0.0/16"]],
  ["what another covers goes", ["10.1.2.0/24", "10.1.0.0/16"], ["10.1.0.0/16"]],
  ["halves of halves", ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/23"], ["10.0.0.0/22"]],
  ["nothing becomes the default route", ["0.0.0.0/1", "128.0.0.0/1"], ["0.0.0.0/1", "128.0.0.0/1"]],
  ["IPv6", ["fd00:0:1::/48", "fd00::/48", "fd00:0:1:7::/64"], ["fd00::/47"]],
];
for (const [title, from, to] of aggregates)
  test(`aggregation: ${title}`, (t) => {
    t.deepEqual(texts(prefixesOf(aggregate(set(...from)))), to);
  });

const anyPrefix = fc
  .tuple(fc.nat(0xffff), fc.integer({ min: 1, max: 16 }))
  .map(
    ([bits, length]): Prefix => ({ family: 4, words: [((bits << 16) & maskWord(0, length)) >>> 0], length }),
  );

test("aggregated prefixes hold the same addresses, and no two can be put together", (t) => {
  fc.assert(
    fc.property(
      fc.array(anyPrefix, { minLength: 1, maxLength: 40 }),
      fc.array(fc.nat(0xffff)),
      (list, hosts) => {
        const made = prefixesOf(aggregate(prefixSet(4, list)));
        for (const host of hosts) {
          const address = { family: 4 as const, words: [(host << 16) >>> 0] };
          t.is(
            made.filter((each) => contains(each, address)).length,
            list.some((each) => contains(each, address)) ? 1 : 0,
          );
        }
        t.is(
          new Set(
            made.map((each) => `${(each.words[0] as number) & maskWord(0, each.length - 1)}/${each.length}`),
          ).size,
          made.filter(({ length }) => length > 1).length + (made.some(({ length }) => length === 1) ? 1 : 0),
        );
      },
    ),
  );
  t.pass();
});

test("a million neighbouring subnets are one prefix, within a second or so", (t) => {
  const list = Array.from(
    { length: 1 << 20 },
    (_, i): Prefix => ({ family: 4, words: [(0x0a00_0000 + i * 16) >>> 0], length: 28 }),
  );
  t.deepEqual(texts(prefixesOf(aggregate(prefixSet(4, list)))), ["10.0.0.0/8"]);
});

test("those inside of a prefix, and longer", (t) => {
  const all = set("10.0.0.0/8", "10.1.0.0/16", "10.1.0.0/24", "10.1.9.0/24", "10.2.0.0/16");
  t.deepEqual(texts(within(all, prefix("10.1.0.0/16"))), ["10.1.0.0/24", "10.1.9.0/24"]);
});

test("a prefix without a hole in it", (t) => {
  t.deepEqual(texts(without(prefix("128.0.0.0/1"), prefix("224.0.0.0/4"))), [
    "128.0.0.0/2",
    "192.0.0.0/3",
    "240.0.0.0/4",
  ]);
  t.deepEqual(without(prefix("224.1.0.0/16"), prefix("224.0.0.0/4")), []);
});

test("no route of ours is for multicast, link-local or loopback addresses", (t) => {
  for (const never of ["224.0.0.0/8", "169.254.7.0/24", "127.0.0.1/32", "ff02::/16", "fe80::/64", "::1/128"])
    t.deepEqual(routable(prefix(never)), [], never);
  t.false(routable(prefix("192.0.0.0/2")).some((each) => covers(each, prefix("224.0.0.5/32"))));
});

test("owned is what subnets and flow files say, once each", (t) => {
  const { policy } = parsePolicy(
    'version: 1\nconnections:\n  a: {if_id: 1, subnets: [10.1.0.0/16, "fd00::/48"]}\n  b: {if_id: 2, subnets: [10.0.0.0/8]}\n',
    "x",
  );
  t.truthy(policy);
  if (policy === null) return;
  const more = { ...policy.flows.subnets4, words: Uint32Array.of(0x0a02_0000), length: Uint8Array.of(24) };
  const owned = ownedPrefixes({ ...policy, flows: { ...policy.flows, subnets4: more } }, 4);
  t.deepEqual(texts(prefixesOf(owned)), ["10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/24"]);
  t.deepEqual(texts(prefixesOf(ownedPrefixes(policy, 6))), ["fd00::/48"]);
});

test("a guard stands at the prefix of a broader route into the interface, in place of its own", (t) => {
  t.deepEqual(guards(["10.1.0.0/16", "10.2.0.0/16"], { into: ["10.0.0.0/8"] }), ["10.0.0.0/8 followed"]);
  t.deepEqual(guards(["10.1.0.0/16"], { into: ["10.1.2.0/24"] }), ["10.1.0.0/16 owned"]);
  t.deepEqual(guards(["10.1.0.0/16"], { into: ["192.168.0.0/16"] }), [
    "10.1.0.0/16 owned",
    "192.168.0.0/16 followed",
  ]);
});

test("a guard that followed a route stays without it", (t) => {
  t.deepEqual(guards(["10.1.0.0/16"], { followed: ["10.0.0.0/8"] }), ["10.0.0.0/8 followed"]);
});

test("another's route that lies between does not come before the guard of what is inside of it", (t) => {
  const owned = ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"];
  t.deepEqual(guards(owned), ["10.0.0.0/22 owned"]);
  t.deepEqual(guards(owned, { elsewhere: ["10.0.2.0/23"] }), [
    "10.0.0.0/22 owned",
    "10.0.2.0/24 owned",
    "10.0.3.0/24 owned",
  ]);
  t.deepEqual(guards(owned, { elsewhere: ["10.0.0.0/16"] }), ["10.0.0.0/22 owned"]);
});

test("the default route of the table main has no guard, that of another table has", (t) => {
  t.deepEqual(guards(["0.0.0.0/0", "10.1.0.0/16"], { into: ["0.0.0.0/0"] }), ["10.1.0.0/16 owned"]);
  t.deepEqual(guards(["10.1.0.0/16"], { into: ["0.0.0.0/0"] }, false), ["0.0.0.0/0 followed"]);
});

test("too many prefixes: only the routes into the interface have guards", (t) => {
  const scattered = Array.from({ length: 5000 }, (_, i) => `10.${i >> 7}.${(i & 127) * 2}.0/24`);
  const { guards: made, tooMany } = guardPrefixes(set(...scattered), {
    ...EMPTY,
    into: [prefix("10.0.0.0/8")],
  });
  t.deepEqual([...made.keys()], ["10.0.0.0/8"]);
  t.is(tooMany, 5000);
});

test("guards have the worst metrics, and each interface its own", (t) => {
  const metrics = ["ipsec0", "ipsec1", "x"].flatMap((name) => [
    guardMetric(name, "owned"),
    guardMetric(name, "followed"),
  ]);
  t.is(new Set(metrics).size, metrics.length);
  for (const metric of metrics) t.true(metric >= 0xff000000 && metric <= 0xffffffff);
});

for (const asked of ["guard", "routes"])
  test(`${asked}: true for a default route of a kernel backend is refused, and says why`, (t) => {
    const text = `version: 1\ninterface: {${asked}: true}\nconnections:\n  all: {if_id: 1, subnets: [0.0.0.0/0]}\n`;
    const { diagnostics } = parsePolicy(text, "p");
    t.regex(
      diagnostics[0]?.message ?? "",
      new RegExp(`^${asked} cannot be for the default route, which all owns`),
    );
    t.deepEqual(parsePolicy(text.replace(`${asked}: true`, ""), "p").diagnostics, []);
  });
