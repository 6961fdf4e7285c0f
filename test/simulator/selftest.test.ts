import type { Report } from "../../src/selftest/index.js";
import { xfrmSteer } from "../support/cli.js";
import { rootTest } from "../support/root-test.js";

rootTest("the selftest's offload scenarios pass on this machine", async (t) => {
  t.timeout(600_000);
  const { stdout, code } = await xfrmSteer("selftest", "--filter", "offload", "--json");
  const { tests } = JSON.parse(stdout) as Report;
  t.deepEqual(
    tests.filter(({ ok }) => !ok),
    [],
  );
  const ran = tests.filter(({ name, skip }) => name.startsWith("offload-") && skip === null);
  t.true(ran.length >= 60, `${ran.length} ran`);
  t.is(code, 0);
});
