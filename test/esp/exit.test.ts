import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import test from "ava";

test("a process that exits without stopping its data path ends all the same", async (t) => {
  const fixture = fileURLToPath(new URL("./exit-fixture.js", import.meta.url));
  const child = spawn(process.execPath, [fixture], { stdio: ["ignore", "pipe", "inherit"] });
  t.teardown(() => child.kill("SIGKILL"));
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const [code] = await once(child, "close", { signal: AbortSignal.timeout(20_000) });
  t.is(output, "running\n");
  t.is(code, 3);
});
