import { spawn } from "node:child_process";
import { once } from "node:events";
import type { ExecutionContext } from "ava";
import type { BenchResult } from "../../src/bench/measure.js";
import { CLI } from "../support/cli.js";
import { rootTest } from "../support/root-test.js";

/** Interrupts a bench as soon as it has printed its first row, and gives what it had printed by its end. */
async function interrupted(t: ExecutionContext, ...args: string[]) {
  const child = spawn(process.execPath, [CLI, "bench", ...args], { stdio: ["ignore", "pipe", "pipe"] });
  t.teardown(() => child.kill("SIGKILL"));
  let stdout = "";
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    const done = stdout.includes("xfrm-steer");
    stdout += text;
    if (!done && stdout.includes("xfrm-steer")) child.kill("SIGINT");
  });
  const [code] = await once(child, "close");
  return { code, stdout, stderr };
}

const CLASSIFY = [
  "classify",
  "--case",
  "prefix4",
  "acl",
  "--size",
  "10",
  "1000",
  "--no-peers",
  "--runs",
  "1",
];

rootTest("an interrupted bench has printed the rows that were done, and says what was not", async (t) => {
  const { code, stdout, stderr } = await interrupted(t, ...CLASSIFY);
  t.is(code, 130);
  t.regex(stdout, /^ *case +size +subject .*\nprefix4 +10 +xfrm-steer /);
  t.regex(stderr, /interrupted; not measured: .*acl 1000/);
});

rootTest("an interrupted bench with --json has printed one whole document", async (t) => {
  const { code, stdout } = await interrupted(t, ...CLASSIFY, "--json");
  t.is(code, 130);
  const { bench, cases } = JSON.parse(stdout) as BenchResult;
  t.is(bench, "classify");
  t.true(cases.length >= 2 && cases.length < 8, `${cases.length} rows`);
});

rootTest("a bench that ends by itself prints every row once", async (t) => {
  const child = spawn(process.execPath, [CLI, "bench", ...CLASSIFY, "--json"]);
  t.teardown(() => child.kill("SIGKILL"));
  let stdout = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  await once(child, "close");
  const { cases } = JSON.parse(stdout) as BenchResult;
  t.deepEqual(
    cases.map((row) => `${row.case} ${row.size}`),
    ["prefix4", "acl"].flatMap((name) =>
      [10, 1000].flatMap((size) => [`${name} ${size}`, `${name}-adversarial ${size}`]),
    ),
  );
});
