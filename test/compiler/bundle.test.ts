import { existsSync } from "node:fs";
import test from "ava";
import fc from "fast-check";
import { BundleError, decodeBundle, encodeBundle, isBundle } from "../../src/compiler/bundle/index.js";
import { loadPolicy, type Policy } from "../../src/config/index.js";
import { Random } from "../support/random.js";
import { randomPolicy } from "../support/random-policy.js";

const example = (name: string): Policy => {
  const { policy } = loadPolicy(`examples/${name}/steer.yaml`);
  if (policy === null) throw new Error(name);
  return policy;
};

const policies = fc
  .record({ seed: fc.nat(2 ** 31), rules: fc.nat(40), subnets: fc.nat(8) })
  .map(({ seed, rules, subnets }): Policy => {
    const policy = randomPolicy(new Random(seed), rules, subnets);
    const device = { ...policy.interface, guard: seed % 2 === 0, routes: seed % 3 === 0 };
    return { ...policy, interface: device, flows: { ...policy.flows, files: ["flows.csv"] } };
  });

test("any policy comes out of its bundle as it went in", (t) => {
  fc.assert(
    fc.property(policies, (policy) => {
      t.deepEqual(decodeBundle(encodeBundle(policy)), policy);
    }),
    { numRuns: 60 },
  );
  t.pass();
});

for (const name of ["hub-and-sites", "branch-office", "minimal", "rule-language"])
  test(`examples/${name} comes out of its bundle as it went in`, (t) => {
    const policy = example(name);
    t.deepEqual(decodeBundle(encodeBundle(policy)), policy);
  });

test("a bundle is the same bytes each time, and is told from YAML by its first", (t) => {
  const policy = example("rule-language");
  const bytes = encodeBundle(policy);
  t.deepEqual(encodeBundle(policy), bytes);
  t.true(isBundle(bytes));
  t.false(isBundle(Buffer.from("version: 1\n")));
  t.false(isBundle(bytes.subarray(0, 5)));
});

test("a bundle that was cut off or changed anywhere is refused", (t) => {
  const whole = encodeBundle(example("rule-language"));
  fc.assert(
    fc.property(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), fc.boolean(), (at, flip, cut) => {
      const bytes = cut ? whole.slice(0, at) : Uint8Array.from(whole);
      if (!cut) bytes[at] = (bytes[at] as number) ^ flip;
      t.throws(() => decodeBundle(bytes), { instanceOf: BundleError });
    }),
    { numRuns: 300 },
  );
});

test("what is no bundle, and one of another format, is refused with what to do", (t) => {
  t.throws(() => decodeBundle(Buffer.from("version: 1\n")), {
    instanceOf: BundleError,
    message: "this is not a bundle; make one with `xfrm-steer compile`",
  });
  const bytes = encodeBundle(example("minimal"));
  const format = bytes.indexOf(0x10) + 1; // field 2, varint
  bytes[format] = 9;
  t.throws(() => decodeBundle(bytes), {
    instanceOf: BundleError,
    message: "the bundle has format 9, and this release reads 1; compile it with this release",
  });
});

test("a bundle names keys and holds none", (t) => {
  const policy = example("hub-and-sites");
  const keys = policy.connections.flatMap(({ esp }) => (esp === null ? [] : [esp.out.key, esp.in.key]));
  t.is(keys.length, 4);
  // The examples come without keys: nothing that encodeBundle could have read is there.
  for (const key of keys) t.false(key.kind === "file" && existsSync(key.path));
  t.deepEqual(
    decodeBundle(encodeBundle(policy)).connections.map(({ esp }) => esp?.out.key),
    policy.connections.map(({ esp }) => esp?.out.key),
  );
});
