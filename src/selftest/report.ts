import type { KtapParser } from "./ktap-parser.js";
import { DURATION } from "./run.js";

/** `selftest --json`'s document. */
export interface Report {
  pass: boolean;
  /** `uname -r` of the kernel that the scenarios ran in. */
  kernel: string;
  tests: { name: string; ok: boolean; skip: string | null; ms: number; diagnostics: string[] }[];
}

/** selftest's exit codes, as kselftest's (tools/testing/selftests/kselftest.h). */
export const EXIT_PASS = 0;
export const EXIT_FAIL = 1;
export const EXIT_SKIP = 4;

/**
 * The report of a KTAP stream that has ended. A stream that ended before its plan was done is a failure, told as
 * one more test that was not ok.
 * @param broken why the run ended early, where that is known.
 */
export function reportOf(parser: KtapParser, kernel: string, broken?: string): Report {
  const tests: Report["tests"] = parser.tests.map(({ name, ok, skip, diagnostics }) => {
    const duration = diagnostics.find((line) => line.startsWith(`${DURATION} `));
    return {
      name,
      ok,
      skip: skip ?? null,
      ms: Number(duration?.split(" ")[1] ?? 0),
      diagnostics: diagnostics.filter((line) => line !== duration),
    };
  });
  const missing = (parser.plan ?? 0) - tests.length;
  if (broken !== undefined || missing > 0 || parser.plan === undefined) {
    const why = broken ?? `the run ended ${missing} tests short of its plan`;
    const diagnostics = [...parser.unfinished(), ...why.split("\n")];
    tests.push({ name: "run-to-the-end", ok: false, skip: null, ms: 0, diagnostics });
  }
  return { pass: tests.every((test) => test.ok), kernel, tests };
}

/** 1 when a test failed; 4 when none was run; else 0. */
export function exitCode(report: Report): number {
  if (!report.pass) return EXIT_FAIL;
  return report.tests.every((test) => test.skip !== null) ? EXIT_SKIP : EXIT_PASS;
}
