/** scripts/test.js with another runner in AVA's place, which prints TAP and ends. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { packageRoot } from "../../src/sys/paths.js";
import { folderWith } from "../support/folder.js";

/** @returns exit status, the last line of standard output, and standard error */
function run(t: ExecutionContext, tap: string, ci: string): [number | null, string | undefined, string] {
  const folder = folderWith(t, {
    "package.json": '{"type": "module"}',
    "scripts/setup.js": "",
    "scripts/test.js": readFileSync(join(packageRoot, "scripts/test.js")),
    "node_modules/ava/entrypoints/cli.mjs": `process.stdout.write(${JSON.stringify(tap)});`,
  });
  const { status, stdout, stderr } = spawnSync(process.execPath, ["scripts/test.js"], {
    cwd: folder,
    env: { ...process.env, CI: ci },
    encoding: "utf8",
  });
  return [status, stdout.trimEnd().split("\n").at(-1), stderr];
}

const SKIPPED = "TAP version 13\nok 1 - a\nok 2 - b (needs root) # SKIP\nok 3 - c # TODO\n1..3\n";
const COUNTED = "1 passed, 0 failed, 2 skipped";

test("a skipped test is counted, and fails the whole under CI, by name", (t) => {
  t.deepEqual(run(t, SKIPPED, ""), [0, COUNTED, ""]);
  const [status, last, said] = run(t, SKIPPED, "1");
  t.deepEqual([status, last], [1, COUNTED]);
  t.regex(said, /b \(needs root\)/);
  t.regex(said, /CI.* c /);
});

test("under CI, too, tests that all pass are a pass, and a failed one is none", (t) => {
  t.deepEqual(run(t, "TAP version 13\nok 1 - a\n1..1\n", "1"), [0, "1 passed, 0 failed, 0 skipped", ""]);
  t.is(run(t, "TAP version 13\nok 1 - a\nnot ok 2 - b\n1..2\n", "1")[0], 1);
});
