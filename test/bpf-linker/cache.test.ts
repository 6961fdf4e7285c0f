/** Objects come from the cache only where nobody else can have put them there. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { type CompileOptions, compile } from "bpf-linker";
import { BpfObject } from "libbpf-ts";
import { packageRoot } from "../../src/sys/paths.js";
import { serialRootTest } from "../support/root-test.js";

/** Another user; on every Debian this is nobody. */
const ANOTHER = 65534;

const program = (verdict: string) => `#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "GPL";
const volatile int verdict = ${verdict};
`;

function folderOf(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), "bpf-linker-cache-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return folder;
}

function verdictOf(path: string): unknown {
  using object = BpfObject.open(path);
  return object.rodata.get("verdict");
}

/** An entry as another makes it who knows the names: DROP's manifest, with `inputs` kept or none, over NEXT's object. */
async function plant(folder: string, cache: string, keepInputs: boolean, options: Partial<CompileOptions>) {
  const source = join(folder, "x.bpf.c");
  const output = join(folder, "x.bpf.o");
  writeFileSync(source, program("-1"));
  await compile(source, { output, ...options });
  const next = readFileSync(output);
  writeFileSync(source, program("2"));
  await compile(source, { output, ...options });
  for (const name of readdirSync(cache)) {
    const path = join(cache, name);
    if (name.endsWith(".o")) writeFileSync(path, next);
    if (name.endsWith(".json") && !keepInputs) {
      const manifest = JSON.parse(readFileSync(path, "utf8"));
      writeFileSync(path, JSON.stringify({ ...manifest, inputs: [] }));
    }
  }
  return { source, output };
}

for (const keepInputs of [true, false]) {
  test(`an object that is not the one that was stored is compiled again, inputs ${keepInputs ? "kept" : "left out"}`, async (t) => {
    const folder = folderOf(t);
    const cache = join(folder, "cache");
    const { source, output } = await plant(folder, cache, keepInputs, { cache });
    const { cached } = await compile(source, { output, cache });
    t.false(cached);
    t.is(verdictOf(output), 2, "DROP, as the source says");
  });
}

serialRootTest("root uses no cache below a HOME of another user's", async (t) => {
  const folder = folderOf(t);
  const home = join(folder, "home");
  const cache = join(home, ".cache", "bpf-linker");
  mkdirSync(cache, { recursive: true });
  chmodSync(folder, 0o755);
  const { source, output } = await plant(folder, cache, false, { cache });
  for (const path of [home, join(home, ".cache"), cache]) chownSync(path, ANOTHER, ANOTHER);
  const before = readdirSync(cache);
  // A process of its own: a test's worker has no environment that os.homedir() would see.
  const text = `import { compile } from "bpf-linker"; await compile(${JSON.stringify(source)}, ${JSON.stringify({ output })});`;
  const { XDG_CACHE_HOME: _, ...env } = process.env;
  execFileSync(process.execPath, ["--input-type=module", "-e", text], {
    cwd: packageRoot,
    env: { ...env, HOME: home },
  });
  t.is(verdictOf(output), 2, "DROP, as the source says");
  t.deepEqual(readdirSync(cache), before, "nothing is written there either");
});

serialRootTest(
  "a cache that others may write to, or that another's link leads to, is not used",
  async (t) => {
    const folder = folderOf(t);
    const cache = join(folder, "cache");
    const { source, output } = await plant(folder, cache, true, { cache });
    chmodSync(cache, 0o777);
    t.false((await compile(source, { output, cache })).cached);
    t.is(statSync(cache).mode & 0o777, 0o777);
    chmodSync(cache, 0o755);
    await compile(source, { output, cache });
    t.is(statSync(cache).mode & 0o777, 0o700, "our own, that others could only read, becomes private");
    t.true((await compile(source, { output, cache })).cached);
  },
);
