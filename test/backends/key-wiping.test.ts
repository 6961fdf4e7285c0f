/** Keys on their way through the userspace backend are overwritten however the way ends. */
import { randomBytes } from "node:crypto";
import test from "ava";
import {
  type ConnectionKeys,
  packKeys,
  readKeys,
  unpackKeys,
  wipeConnectionKeys,
} from "../../src/backends/userspace/keys.js";
import { UserspaceService } from "../../src/backends/userspace/service.js";
import { type Policy, parsePolicy } from "../../src/config/index.js";
import { inNetns, withinNetns } from "../../src/sys/netns.js";
import { serialRootTest } from "../support/root-test.js";
import { makeNamespace } from "../sys/namespace.js";

const buffersOf = (keys: readonly ConnectionKeys[]): Uint8Array[] =>
  keys.flatMap((each) => [each.out, each.in, ...each.alsoIn]);
const areZero = (keys: readonly ConnectionKeys[]): boolean =>
  buffersOf(keys).every((key) => key.every((byte) => byte === 0));

const policyOf = (address: string, link = ""): Policy => {
  const esp = (number: number) =>
    `{local: 127.0.0.1, remote: 127.0.0.2, suite: aes128-gcm, out: {spi: ${number}1, key: env:XST_WIPE_OUT${number}}, in: {spi: ${number}2, key: env:XST_WIPE_IN${number}}}`;
  const text = `version: 1
interface: {name: wipe0, addresses: ["${address}"]}
connections:
  a: {if_id: 1, subnets: [10.1.0.0/16], esp: ${esp(100)}}
  b: {if_id: 2, ${link}subnets: [10.2.0.0/16], esp: ${esp(200)}}
`;
  const { policy } = parsePolicy(text, "wiping");
  if (policy === null) throw new Error("the test's policy is wrong");
  return policy;
};

serialRootTest("an apply that fails in whatever place leaves no key", async (t) => {
  const names = [100, 200].flatMap((number) => [`XST_WIPE_OUT${number}`, `XST_WIPE_IN${number}`]);
  t.teardown(() => {
    for (const name of names) delete process.env[name];
  });
  for (const name of names) process.env[name] = randomBytes(20).toString("hex");
  const netns = makeNamespace(t);
  const service = inNetns(netns, () => new UserspaceService("wipe0", null));
  t.teardown(() => service.stop());
  /** As serve() and `run` do: who has the keys wipes them where the data path did not get them. */
  const apply = async (policy: Policy, keys: readonly ConnectionKeys[]) => {
    try {
      await withinNetns(netns, () => service.apply(policy, keys));
    } finally {
      wipeConnectionKeys(keys);
    }
  };
  const good = policyOf("10.0.0.1/32");
  const first = readKeys(good);
  t.is(buffersOf(first).length, 4);
  t.false(areZero(first));
  await t.throwsAsync(apply(policyOf("10.0.0.1/32", "link: nowhere0, "), first), { message: /nowhere0/ });
  t.true(areZero(first), "before the first policy: a link that is not there");
  const second = readKeys(good);
  await withinNetns(netns, () => service.apply(good, second));
  t.true(areZero(second), "the data path wipes them itself");
  const bad = policyOf("::1/128");
  const third = readKeys(bad);
  await t.throwsAsync(withinNetns(netns, () => service.apply(bad, third)));
  t.true(areZero(third), "an address that the kernel refuses");
});

test("keys for a request stand in one buffer, and nowhere else", (t) => {
  const keys = () => [
    { connection: "a", out: randomBytes(20), in: randomBytes(20), alsoIn: [randomBytes(20)] },
    { connection: "b", out: randomBytes(36), in: randomBytes(36), alsoIn: [] },
  ];
  const given = keys();
  const before = structuredClone(given);
  const { layout, bytes } = packKeys(given);
  t.true(areZero(given));
  t.false(JSON.stringify(layout).includes(Buffer.from(before[0]?.out ?? []).toString("hex")));
  const got = unpackKeys(layout, bytes);
  t.deepEqual(
    buffersOf(got).map((key) => [...key]),
    buffersOf(before).map((key) => [...key]),
  );
  t.true(buffersOf(got).every(({ buffer }) => buffer === bytes.buffer));
  t.throws(() => unpackKeys(layout, bytes.subarray(1)), { instanceOf: RangeError });
  bytes.fill(0);
  t.true(areZero(got));
});
