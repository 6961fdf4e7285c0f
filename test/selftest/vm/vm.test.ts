import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Report } from "../../../src/selftest/index.js";
import { scenarios } from "../../../src/selftest/scenarios/index.js";
import { selftest } from "../../../src/selftest/selftest.js";
import { vmTest } from "./needs-vm.js";

/** Emulation shares its cores with the other tests here. */
const LIMIT_MS = 900_000;

vmTest("every built-in scenario passes on Linux 6.12, in a VM", async (t) => {
  t.timeout(LIMIT_MS + 60_000);
  const folder = mkdtempSync(join(tmpdir(), "selftest-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  let output = "";
  const code = await selftest({
    kernel: "6.12",
    json: true,
    captures: folder,
    limitMs: LIMIT_MS,
    write: (text) => {
      output += text;
    },
    progress: (message) => t.log(message),
  });
  const report = JSON.parse(output) as Report;
  t.not(code, 4, report.tests[0]?.skip ?? "");
  const failed = report.tests.filter(({ ok }) => !ok);
  t.deepEqual(failed, []);
  t.is(code, 0);
  t.regex(report.kernel, /^6\.12\./);
  t.deepEqual(
    report.tests.map(({ name, skip }) => [name, skip]).sort(),
    scenarios
      .filter(({ host = false }) => !host)
      .map(({ name }) => [name, null])
      .sort(),
  );
  t.regex(readFileSync(join(folder, "kernel.log"), "utf8"), /Linux version 6\.12\./);
});
