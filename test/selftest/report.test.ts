import test from "ava";
import { KtapParser } from "../../src/selftest/ktap-parser.js";
import { exitCode, reportOf } from "../../src/selftest/report.js";

function report(text: string, broken?: string) {
  const parser = new KtapParser();
  parser.push(`KTAP version 1\n${text}`);
  return reportOf(parser, "6.12.1", broken);
}

const codes: { name: string; text: string; broken?: string; code: number }[] = [
  { name: "all passed", text: "1..2\nok 1 a\nok 2 b\n", code: 0 },
  { name: "one passed, one skipped", text: "1..2\nok 1 a\nok 2 b # SKIP needs 6.2\n", code: 0 },
  { name: "one failed", text: "1..2\nok 1 a\nnot ok 2 b\n", code: 1 },
  { name: "all skipped", text: "1..1\nok 1 a # SKIP needs 6.2\n", code: 4 },
  { name: "nothing planned", text: "1..0 # SKIP not root\n", code: 4 },
  { name: "short of the plan", text: "1..2\nok 1 a\n", code: 1 },
  { name: "no plan at all", text: "", code: 1 },
  { name: "broken off with all tests passed", text: "1..1\nok 1 a\n", broken: "the VM hung", code: 1 },
];

for (const { name, text, broken, code } of codes) {
  test(`exit code ${code} for ${name}`, (t) => t.is(exitCode(report(text, broken)), code));
}

test("takes a test's duration out of its diagnostics", (t) => {
  const { tests } = report("1..1\n# duration_ms 12\n# seen 3\nok 1 a\n");
  t.deepEqual(tests, [{ name: "a", ok: true, skip: null, ms: 12, diagnostics: ["seen 3"] }]);
});

test("tells what was said last, and why the run broke off", (t) => {
  const { tests, pass } = report("1..2\nok 1 a\n# connecting", "the VM said nothing for 60 s\nconsole");
  t.false(pass);
  t.deepEqual(tests.at(-1)?.diagnostics, ["# connecting", "the VM said nothing for 60 s", "console"]);
});
