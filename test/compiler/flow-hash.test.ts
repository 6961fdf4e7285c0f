import test from "ava";
import fc from "fast-check";
import { parseFlow } from "../../src/compiler/flow.js";
import { BUCKETS, flowBucket, flowHash, groupBuckets } from "../../src/compiler/flow-hash.js";

const member = (connection: string, weight: number) => ({ connection, weight });

const groups = fc.uniqueArray(
  fc.record({
    connection: fc.stringMatching(/^[a-z][a-z0-9-]{0,9}$/),
    weight: fc.integer({ min: 1, max: 255 }),
  }),
  { minLength: 2, maxLength: 12, selector: ({ connection }) => connection },
);

test("when a member leaves, only its own buckets change hands", (t) => {
  fc.assert(
    fc.property(groups, fc.nat(), (members, pick) => {
      const gone = pick % members.length;
      const left = members.filter((_, index) => index !== gone);
      const before = groupBuckets(members);
      const after = groupBuckets(left);
      for (const [bucket, index] of before.entries())
        if (index !== gone) t.is(left[after[bucket] as number], members[index]);
    }),
    { numRuns: 30 },
  );
  t.pass();
});

test("the order of the members does not matter", (t) => {
  const members = [member("a", 3), member("b", 1), member("c", 7)];
  const turned = members.toReversed();
  t.deepEqual(
    [...groupBuckets(members)].map((index) => members[index]),
    [...groupBuckets(turned)].map((index) => turned[index]),
  );
});

test("each member has about its share of the buckets", (t) => {
  const owners = groupBuckets([member("branch-a", 3), member("branch-b", 1)]);
  const share = owners.filter((index) => index === 0).length / BUCKETS;
  t.true(Math.abs(share - 0.75) < 0.05, `${share}`);
});

test("neighbouring flows spread over the buckets", (t) => {
  const hit = new Set<number>();
  for (let port = 1; port <= 4 * BUCKETS; port++)
    hit.add(flowBucket(parseFlow(`udp 10.0.0.1:${port} > 10.1.0.1:53`)));
  // 4 balls a bin leave e^-4 of the bins empty.
  t.true(hit.size > 0.96 * BUCKETS, `${hit.size} of ${BUCKETS} buckets`);
});

test("the hash is the one that is written down", (t) => {
  // Worked out by hand from the definition: seed, four words, final mix.
  let h = 0x9e3779b9n;
  const mod = 1n << 32n;
  for (const word of [0x0a000001n, 0x0a010002n, (1234n << 16n) | 5060n, 17n]) {
    h = ((h ^ word) * 0x85ebca6bn) % mod;
    h ^= h >> 15n;
  }
  h = (h * 0xc2b2ae35n) % mod;
  h ^= h >> 16n;
  t.is(flowHash(parseFlow("udp 10.0.0.1:1234 > 10.1.0.2:5060")), Number(h));
});

test("all fragments of a packet take one way", (t) => {
  const first = parseFlow("udp 10.0.0.1:1234 > 10.1.0.2:5060 fragment first");
  const later = parseFlow("udp 10.0.0.1 > 10.1.0.2 fragment later");
  t.is(flowHash(first), flowHash(later));
});
