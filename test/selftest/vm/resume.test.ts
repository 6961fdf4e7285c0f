import test from "ava";
import type { Scenario } from "../../../src/selftest/scenario.js";
import { VmError } from "../../../src/selftest/vm/errors.js";
import { resumed } from "../../../src/selftest/vm/resume.js";

const SCENARIOS: Scenario[] = ["a", "b", "c"].map((name) => ({ name, topology: "", run: async () => {} }));

/** Machines that end as told, one after the other, each when its first scenario has passed. */
function machines(...ends: (VmError | null)[]) {
  const ran: string[][] = [];
  let text = "";
  const result = resumed(
    SCENARIOS,
    (more) => {
      text += more;
    },
    async (scenarios, write) => {
      ran.push(scenarios.map(({ name }) => name));
      write(`KTAP version 1\n1..${scenarios.length}\nok 1 ${scenarios[0]?.name}\n# half a l`);
      const end = ends[ran.length - 1];
      if (end) throw end;
    },
  );
  return { result, ran, text: () => text };
}

const HANG = new VmError("hang", "the VM said nothing for 180 s");

test("what a machine that hangs has not done is done by another, and the report says so", async (t) => {
  const { result, ran, text } = machines(HANG, null);
  await result;
  t.deepEqual(ran, [
    ["a", "b", "c"],
    ["b", "c"],
  ]);
  t.regex(text(), /^# half a l\n# the VM said nothing for 180 s\n# another one goes on\nKTAP version 1$/m);
});

test("a second hang is an error", async (t) => {
  const { result, ran } = machines(HANG, HANG);
  t.is(await t.throwsAsync(result), HANG);
  t.is(ran.length, 2);
});

test("a crash is an error at once: what runs in the machine may have caused it", async (t) => {
  const crash = new VmError("crash", "the VM ended by SIGSEGV");
  const { result, ran } = machines(crash);
  t.is(await t.throwsAsync(result), crash);
  t.is(ran.length, 1);
});
