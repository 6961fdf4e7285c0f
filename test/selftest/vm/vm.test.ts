import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Report } from "../../../src/selftest/index.js";
import { scenarios } from "../../../src/selftest/scenarios/index.js";
import { endurance } from "../../../src/selftest/scenarios/kernel-bpf/index.js";
import { selftest } from "../../../src/selftest/selftest.js";
import { vmTest } from "./needs-vm.js";

/** `xfrm-steer selftest --vm --limit 1200` runs these too. */
const LEFT_OUT = endurance.map(({ name }) => name);
/** Emulation shares its cores with the other tests here. */
const LIMIT_MS = 900_000;

vmTest("every built-in scenario but the endurance ones passes on Linux 6.12, in a VM", async (t) => {
  t.timeout(LIMIT_MS + 60_000);
  t.log(`not run here: ${LEFT_OUT.join(", ")}`);
  const folder = mkdtempSync(join(tmpdir(), "selftest-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  let output = "";
  const code = await selftest({
    kernel: "6.12",
    json: true,
    captures: folder,
    except: LEFT_OUT,
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
      .filter(({ name }) => !LEFT_OUT.includes(name))
      .map(({ name }) => [name, null])
      .sort(),
  );
  t.regex(readFileSync(join(folder, "kernel.log"), "utf8"), /Linux version 6\.12\./);
});
