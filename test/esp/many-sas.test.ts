import { fileURLToPath } from "node:url";
import test from "ava";
import { execute } from "../support/cli.js";

test("10,000 SAs in each direction, added and deleted, leave no SA and no descriptor behind", async (t) => {
  const fixture = fileURLToPath(new URL("./many-sas-fixture.js", import.meta.url));
  const { code, stdout, stderr } = await execute(process.execPath, [fixture]);
  t.is(code, 0, stderr);
  const { states, early, late } = JSON.parse(stdout);
  t.is(states, 200);
  t.is(late, early);
});
