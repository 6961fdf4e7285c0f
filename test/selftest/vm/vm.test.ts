import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import type { Report } from "../../../src/selftest/index.js";
import { scenarios } from "../../../src/selftest/scenarios/index.js";
import { selftest } from "../../../src/selftest/selftest.js";

test.serial("every built-in scenario passes on Linux 6.12, in a VM", async (t) => {
  t.timeout(300_000);
  const folder = mkdtempSync(join(tmpdir(), "selftest-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  let output = "";
  const code = await selftest({
    kernel: "6.12",
    json: true,
    captures: folder,
    write: (text) => {
      output += text;
    },
    progress: (message) => t.log(message),
  });
  const report = JSON.parse(output) as Report;
  if (code === 4) {
    const why = report.tests[0]?.skip ?? "";
    // CI has QEMU and a mirror: there, a skip is a defect.
    if (process.env.CI) return t.fail(`no VM: ${why}`);
    t.log(`skipped, for there is no VM here: ${why}`);
    return t.pass();
  }
  const failed = report.tests.filter(({ ok }) => !ok);
  t.deepEqual(failed, []);
  t.is(code, 0);
  t.regex(report.kernel, /^6\.12\./);
  t.deepEqual(
    report.tests.map(({ name, skip }) => [name, skip]).sort(),
    scenarios.map(({ name }) => [name, null]).sort(),
  );
  t.regex(readFileSync(join(folder, "kernel.log"), "utf8"), /Linux version 6\.12\./);
});
