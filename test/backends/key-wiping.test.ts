/** Keys on their way through the userspace backend are overwritten however the way ends. */
import { randomBytes } from "node:crypto";
import type { ExecutionContext } from "ava";
import { readHexKey, readKeys } from "../../src/backends/userspace/keys.js";
import { UserspaceService } from "../../src/backends/userspace/service.js";
import { type Policy, parsePolicy } from "../../src/config/index.js";
import { inNetns, withinNetns } from "../../src/sys/netns.js";
import { serialRootTest } from "../support/root-test.js";
import { makeNamespace } from "../sys/namespace.js";

/** Notes every buffer that hexadecimal digits are written to, and so each key. */
function watchKeys(t: ExecutionContext): Buffer[] {
  const seen: Buffer[] = [];
  const { write } = Buffer.prototype;
  t.teardown(() => {
    Buffer.prototype.write = write;
  });
  Buffer.prototype.write = function (this: Buffer, ...args: unknown[]): number {
    if (args[1] === "hex") seen.push(this);
    return Reflect.apply(write, this, args) as number;
  } as typeof write;
  return seen;
}

const areZero = (keys: readonly Buffer[]): boolean => keys.every((key) => key.every((byte) => byte === 0));

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
  const seen = watchKeys(t);
  const service = inNetns(netns, () => new UserspaceService("wipe0", null));
  t.teardown(() => service.remove());
  const apply = (policy: Policy) => withinNetns(netns, () => service.apply(policy, readKeys(policy)));
  const good = policyOf("10.0.0.1/32");
  await t.throwsAsync(apply(policyOf("10.0.0.1/32", "link: nowhere0, ")), { message: /nowhere0/ });
  t.true(seen.length >= 4 && areZero(seen), "before the first policy: a link that is not there");
  await apply(good);
  t.true(areZero(seen));
  const before = seen.length;
  await t.throwsAsync(apply(policyOf("ff02::77/128")));
  t.is(seen.length, before + 8, "four for the request, four of the service");
  t.true(areZero(seen), "an address that the kernel refuses");
});

serialRootTest("a key for a request is wiped once it is written in hexadecimal", (t) => {
  const digits = randomBytes(20).toString("hex");
  process.env.XST_WIPE = digits;
  t.teardown(() => {
    delete process.env.XST_WIPE;
  });
  const seen = watchKeys(t);
  const source = { kind: "env", name: "XST_WIPE", location: { file: "", line: 1, column: 1 } } as const;
  t.true(readHexKey(source, "aes128-gcm") === digits);
  t.is(seen.length, 1);
  t.true(areZero(seen));
});
