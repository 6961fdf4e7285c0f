import test from "ava";
import { BENCH_DEVICES, benchPolicy } from "../../src/bench/cases.js";
import { crossingKeys, type Keys } from "../../src/bench/keys.js";
import { longestWalks, walkLength } from "../../src/bench/walks.js";
import { Slot } from "../../src/bpf/tables.bpf.js";
import { compile, type Generation } from "../../src/compiler/compile.js";
import { matchRules } from "../support/walk.js";

const SEED = 11;

/** A packet's key of bench key `i`. */
function keyOf({ words, stride }: Keys, i: number): { words: Uint32Array; ported: boolean } {
  const [src = 0, dst = 0, ports = 0, proto = 0, mark = 0, iif = 0, more = 0, ported = 0] = words.subarray(
    i * stride,
  );
  return {
    words: Uint32Array.of(src, 0, 0, 0, dst, 0, 0, 0, ports, proto, mark, iif, more, 0, 0, 0),
    ported: ported === 1,
  };
}

const slotsOf = (generation: Generation) => new Uint32Array(generation.tables.slots.slice().buffer);

test("a walk is as long as the one that the reference walks where nothing matches", (t) => {
  const policy = benchPolicy("acl", 500, SEED);
  const generation = compile(policy, BENCH_DEVICES);
  const keys = crossingKeys("acl", policy, 2000, SEED);
  let compared = 0;
  for (let i = 0; i < keys.count; i++) {
    const { words, ported } = keyOf(keys, i);
    const walked = { steps: 0 };
    if (matchRules(generation, { family: 4, words }, ported, walked) !== Slot.INDEX_NONE) continue;
    t.is(walkLength(slotsOf(generation), generation.ruleTrees4, words), walked.steps);
    compared++;
  }
  t.true(compared > 100, `${compared} keys matched nothing`);
});

test("the keys that are kept are those with the longest walks", (t) => {
  const policy = benchPolicy("fw", 500, SEED);
  const generation = compile(policy, BENCH_DEVICES);
  const keys = crossingKeys("fw", policy, 4096, SEED);
  const slots = slotsOf(generation);
  const lengths = (of: Keys) =>
    Array.from({ length: of.count }, (_, i) => walkLength(slots, generation.ruleTrees4, keyOf(of, i).words));
  const eighth = lengths(keys)
    .sort((a, b) => b - a)
    .slice(0, 512);
  t.is(Math.min(...lengths(longestWalks(generation, keys))), Math.min(...eighth));
});
