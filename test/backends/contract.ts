import { KtapParser } from "../../src/selftest/ktap-parser.js";
import { runScenarios } from "../../src/selftest/run.js";
import { contract } from "../../src/selftest/scenarios/contract/index.js";
import type { Subject } from "../../src/selftest/scenarios/contract/subject.js";
import { serialRootTest } from "../support/root-test.js";

/**
 * Declares the contract of all backends for one of them, as tests in this kernel. The kernel backends run the same
 * scenarios in a VM, among the selftests.
 */
export function testContract(subject: Subject): void {
  for (const scenario of contract(subject)) {
    serialRootTest(scenario.name, async (t) => {
      const parser = new KtapParser();
      await runScenarios([scenario], { write: (text) => parser.push(text) });
      const [result] = parser.tests;
      t.true(result?.ok, result?.diagnostics.join("\n"));
      t.is(result?.skip, undefined);
    });
  }
}
