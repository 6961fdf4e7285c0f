/** Where keys are in the memory of the processes that have them, counted as a core dump would show them. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import type { ExecutionContext } from "ava";
import { countInMemory } from "../support/process-memory.js";
import { serialRootTest } from "../support/root-test.js";
import { ESP, Gateway, HUB_POLICY } from "./gateway.js";

/** Of aes128-gcm: the AES key; 4 bytes of salt follow in the keying material. */
const AES_KEY = 16;

interface Copies {
  /** Whole keying materials, which no cipher has a use for. */
  readonly keymat: number;
  /** AES keys, with or without salt. The first round key of a key schedule is one (FIPS 197 section 5.2). */
  readonly raw: number;
  /** Hexadecimal digits, in bytes and in UTF-16. */
  readonly hex: number;
}

function copiesIn(pid: number, keys: readonly string[]): Copies {
  const bytes = keys.map((hex) => Buffer.from(hex, "hex"));
  const digits = keys.map((hex) => hex.slice(0, 2 * AES_KEY));
  const wanted = [
    ...bytes,
    ...bytes.map((key) => key.subarray(0, AES_KEY)),
    ...digits.map((hex) => Buffer.from(hex)),
    ...digits.map((hex) => Buffer.from(hex, "utf16le")),
  ];
  const counts = countInMemory(pid, wanted);
  const sum = (from: number, to: number) => counts.slice(from, to).reduce((all, count) => all + count, 0);
  const n = keys.length;
  return { keymat: sum(0, n), raw: sum(n, 2 * n), hex: sum(2 * n, 4 * n) };
}

/** One schedule for each of two SAs, each of one direction. */
const CIPHERS_OWN = 2;

function assertNoneToSpare(t: ExecutionContext, copies: Copies, when: string): void {
  t.log(`${when}: ${JSON.stringify(copies)}`);
  t.is(copies.hex, 0, `${when}: hexadecimal digits of a key`);
  t.is(copies.keymat, 0, `${when}: whole keying material`);
  t.true(
    copies.raw <= CIPHERS_OWN,
    `${when}: ${copies.raw} raw keys, of which the ciphers need ${CIPHERS_OWN}`,
  );
}

function assertNoCore(t: ExecutionContext, pid: number): void {
  const limits = readFileSync(`/proc/${pid}/limits`, "utf8");
  t.regex(limits, /^Max core file size +0 +0 /m);
}

serialRootTest("the service has each key where its cipher needs it, and nowhere else", async (t) => {
  const gateway = await Gateway.build(t);
  const { code, stderr } = await gateway.apply("hub", HUB_POLICY);
  t.is(code, 0, stderr);
  const [pid = 0] = await gateway.servers("hub");
  assertNoneToSpare(t, copiesIn(pid, gateway.keys()), "after the first apply");
  assertNoCore(t, pid);
  for (let round = 0; round < 3; round++) await gateway.apply("hub", HUB_POLICY);
  assertNoneToSpare(t, copiesIn(pid, gateway.keys()), "after three more");
});

serialRootTest(
  "a key that came by sa add and sa switch is where its cipher needs it, and nowhere else",
  async (t) => {
    const gateway = await Gateway.build(t);
    await gateway.apply("hub", HUB_POLICY);
    const keys = [1, 2].map(() => randomBytes(20).toString("hex"));
    for (const [index, step] of (["add", "switch"] as const).entries()) {
      const file = gateway.write(`${step}.key`, "");
      writeFileSync(file, keys[index] as string, { mode: 0o600 });
      await gateway.exec("hub", "chmod", "0600", file);
      const spi = `0x300${index}`;
      const { code, stderr } = await gateway.cli(
        "hub",
        "sa",
        step,
        "ipsec0",
        "site",
        "--spi",
        spi,
        "--key",
        `file:${file}`,
      );
      t.is(code, 0, stderr);
    }
    const [pid = 0] = await gateway.servers("hub");
    assertNoneToSpare(t, copiesIn(pid, keys), "after a rekey");
  },
);

serialRootTest("`run` has no other copy either, with keys in the environment too", async (t) => {
  const gateway = await Gateway.build(t);
  const keys = ["XST_MEM_OUT", "XST_MEM_IN"].map((name) => [name, randomBytes(20).toString("hex")] as const);
  const esp = ESP.hub
    .replace("file:keys/out.key", "env:XST_MEM_OUT")
    .replace("file:keys/in.key", "env:XST_MEM_IN");
  for (const [what, policy, secret, env] of [
    ["files", HUB_POLICY, gateway.keys(), {}],
    ["variables", HUB_POLICY.replace(ESP.hub, esp), keys.map(([, key]) => key), Object.fromEntries(keys)],
  ] as const) {
    const child = gateway.start("hub", "run", gateway.write("run.yaml", policy), "--json", env);
    t.teardown(() => child.kill("SIGKILL"));
    const ended = once(child, "close");
    const up = await Promise.race([once(child.stdout, "data").then(() => true), ended.then(() => false)]);
    t.true(up, "run ended");
    assertNoneToSpare(t, copiesIn(child.pid ?? 0, secret), what);
    assertNoCore(t, child.pid ?? 0);
    const environ = readFileSync(`/proc/${child.pid}/environ`, "latin1");
    for (const key of secret) t.false(environ.includes(key), "/proc/PID/environ");
    child.kill("SIGTERM");
    await ended;
    await gateway.cli("hub", "unload");
  }
});
