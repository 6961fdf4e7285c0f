import test from "ava";
import { packetTo } from "../../src/bench/kernel-gateway.js";
import { ifIdOf, subnet, subnetPolicy } from "../../src/bench/kernel-policy.js";
import { compile } from "../../src/compiler/compile.js";
import { formatPrefix } from "../../src/config/index.js";

test("the bench's subnets are unicast /24, and no two of a million are equal", (t) => {
  const all = Uint32Array.from({ length: 1_000_000 }, (_, k) => subnet(k));
  t.is(new Set(all).size, all.length);
  t.true(all.every((word) => word % 256 === 0 && word >= 0x01000000 && word < 0x7f000000));
});

for (const size of [1, 100, 2500])
  test(`a policy of ${size} subnets has them all, each at the connection whose if_id LWT gives it`, (t) => {
    const policy = subnetPolicy(size);
    const seen = new Map(
      policy.connections.flatMap(({ ifId, subnets }) =>
        subnets.map(({ words }) => [words[0] as number, ifId] as const),
      ),
    );
    t.is(seen.size, size);
    for (let k = 0; k < size; k++) t.is(seen.get(subnet(k)), ifIdOf(k));
    const generation = compile(policy, { ifindexOf: () => 0, ifindexesOfGroup: () => [] });
    t.is(generation.connections.length, Math.min(size, 1000));
  });

test("a larger policy contains the smaller one", (t) => {
  const prefixes = (size: number) =>
    new Set(subnetPolicy(size).connections.flatMap(({ subnets }) => subnets.map(formatPrefix)));
  const large = prefixes(1500);
  t.true([...prefixes(100)].every((prefix) => large.has(prefix)));
});

test("the bench's packet has the header checksum of RFC 1071", (t) => {
  const packet = packetTo(0x01020304).subarray(14);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += packet.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  t.is(sum, 0xffff);
  t.is(packet.readUInt32BE(16), 0x01020304);
  t.is(packet.readUInt16BE(2), packet.length);
});
