import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Report } from "../../../src/selftest/index.js";
import { scenarios } from "../../../src/selftest/scenarios/index.js";
import { selftest } from "../../../src/selftest/selftest.js";
import { vmTest } from "./needs-vm.js";

// This file runs from dist/test/selftest/vm; scenario files are used as their author wrote them.
const ROOT = fileURLToPath(new URL("../../../../", import.meta.url));

/** Emulation shares its cores with the other tests here. */
const LIMIT_MS = 1_500_000;

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

vmTest(
  "scenario files in TypeScript run in a VM; a wrong expectation is told with what was seen",
  async (t) => {
    t.timeout(LIMIT_MS + 60_000);
    let ktap = "";
    const code = await selftest({
      files: ["examples/own-scenario/office.ts", "test/selftest/fixtures/wrong-if-id.ts"].map((file) =>
        join(ROOT, file),
      ),
      kernel: "6.12",
      limitMs: LIMIT_MS,
      write: (text) => {
        ktap += text;
      },
    });
    t.is(code, 1, ktap);
    t.regex(ktap, /^ok 1 office-is-reached-by-if-id-7$/m);
    t.regex(ktap, /^not ok 2 wrong-if-id-in-the-expectation$/m);
    t.regex(
      ktap,
      /^# if_ids of the SAs that carried packets\n# expected: \[ 8, 8 \]\n# seen: {5}\[ 7, 7 \]$/m,
    );
    t.regex(ktap, /^# counters of hub:\n# {3}SA .* spi 0x70[01] if_id 7 tunnel: 3 packets/m);
    t.regex(ktap, /^# {3}ipsec0: rxPackets 3, txPackets 3$/m);
  },
);
