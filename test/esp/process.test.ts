import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import test, { type ExecutionContext } from "ava";

async function runFixture(t: ExecutionContext, name: string): Promise<{ code: number; output: string }> {
  const fixture = fileURLToPath(new URL(name, import.meta.url));
  const child = spawn(process.execPath, [fixture], { stdio: ["ignore", "pipe", "inherit"] });
  t.teardown(() => child.kill("SIGKILL"));
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const [code] = await once(child, "close", { signal: AbortSignal.timeout(30_000) });
  return { code, output };
}

test("a process that exits without stopping its data path ends all the same", async (t) => {
  t.deepEqual(await runFixture(t, "./exit-fixture.js"), { code: 3, output: "running\n" });
});

test("a stopped data path leaves no descriptor, no listener and no thread behind, so that the process ends", async (t) => {
  const { code, output } = await runFixture(t, "./stop-fixture.js");
  t.is(code, 0);
  // The first start loads what stays loaded.
  const [, second, ...others] = output.trim().split("\n");
  t.regex(second ?? "", /^\d+ descriptors, \d+ listeners$/);
  t.deepEqual(others, Array(4).fill(second));
});
