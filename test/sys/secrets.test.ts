/** A process that has keys leaves them in no core dump; keys lie where they can be wiped. */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import test from "ava";
import { modulePath } from "../../src/sys/paths.js";
import { copyOfSecret, secretBytes } from "../../src/sys/secrets.js";
import { execute } from "../support/cli.js";
import { folderWith } from "../support/folder.js";

const SECRETS = JSON.stringify(modulePath("sys/secrets.js"));

/** Runs a module's text, and gives what it prints as JSON. */
async function inChild(text: string, ...env: string[]): Promise<unknown> {
  const args = [...env, process.execPath, "--input-type=module", "-e", text];
  const { code, stdout, stderr } = await execute("env", args);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

test("memory that is kept private is not dumped, and no core file is written", async (t) => {
  const said = await inChild(`import { readFileSync } from "node:fs";
    import { isDumpable, keepMemoryPrivate } from ${SECRETS};
    const before = isDumpable();
    keepMemoryPrivate();
    const limit = /^Max core file size +(\\S+) +(\\S+)/m.exec(readFileSync("/proc/self/limits", "utf8"));
    console.log(JSON.stringify({ before, after: isDumpable(), limits: [limit[1], limit[2]] }));`);
  t.deepEqual(said, { before: true, after: false, limits: ["0", "0"] });
});

test("whoever opens a key has his memory private first", async (t) => {
  const folder = folderWith(t, {});
  const source = { kind: "file", path: join(folder, "none.key"), location: { file: "", line: 1, column: 1 } };
  const said = await inChild(`import { readKey } from ${JSON.stringify(modulePath("config/index.js"))};
    import { isDumpable } from ${SECRETS};
    try { readKey(${JSON.stringify(source)}, "aes128-gcm"); } catch {}
    console.log(isDumpable());`);
  t.is(said, false);
});

test("a variable is read, and wiped in the environment that the process was started with", async (t) => {
  const digits = randomBytes(20).toString("hex");
  const said = await inChild(
    `import { readFileSync } from "node:fs";
    import { readVariable, wipeVariable } from ${SECRETS};
    const environment = () => readFileSync("/proc/self/environ", "latin1").includes(${JSON.stringify(digits)});
    const read = readVariable("XST_SECRET").toString() === ${JSON.stringify(digits)};
    const before = environment();
    wipeVariable("XST_SECRET");
    const left = [readVariable("XST_SECRET"), readVariable("XST_NEVER_SET"), process.env.XST_SECRET ?? null];
    console.log(JSON.stringify({ read, before, after: environment(), left }));`,
    `XST_SECRET=${digits}`,
  );
  t.deepEqual(said, { read: true, before: true, after: false, left: [null, null, null] });
});

test("memory for a key is its own, of whatever size", (t) => {
  for (const size of [0, 1, 20, 36, 64, 4096]) {
    t.is(secretBytes(size).buffer.byteLength, size);
    t.is(secretBytes(size).byteOffset, 0);
  }
  const key = randomBytes(20);
  t.deepEqual(copyOfSecret(key), key);
});
