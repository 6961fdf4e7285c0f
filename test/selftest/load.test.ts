import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { loadScenarioFile, ScenarioFileError, selectScenarios } from "../../src/selftest/load.js";
import { scenario } from "../../src/selftest/scenario.js";
import { scenarios } from "../../src/selftest/scenarios/index.js";

const named = (name: string) => scenario({ name, topology: "", run: async () => {} });
const ALL = ["lwt-two-peers", "lwt-transport", "no-metadata"].map(named);

const filters: { filter: string | undefined; expected: string[] }[] = [
  { filter: undefined, expected: ["lwt-two-peers", "lwt-transport", "no-metadata"] },
  { filter: "lwt", expected: ["lwt-two-peers", "lwt-transport"] },
  { filter: "*-two-*", expected: ["lwt-two-peers"] },
  { filter: "no-*", expected: ["no-metadata"] },
];
for (const { filter, expected } of filters) {
  test(`--filter ${filter} selects ${expected.join(", ")}`, (t) => {
    t.deepEqual(
      selectScenarios(ALL, filter).map(({ name }) => name),
      expected,
    );
  });
}

test("a filter that matches nothing is an error, not a pass", (t) => {
  t.throws(() => selectScenarios(ALL, "l.t"), { instanceOf: ScenarioFileError, message: /--list/ });
});

test("two scenarios of one name are refused", (t) => {
  t.throws(() => selectScenarios([...ALL, named("no-metadata")]), {
    message: /two scenarios are called no-metadata/,
  });
});

test("the built-in scenarios have names and topologies of their own", (t) => {
  t.is(selectScenarios(scenarios).length, scenarios.length);
  for (const { name, topology } of scenarios) {
    t.regex(name, /^[a-z0-9]+(-[a-z0-9]+)*$/);
    t.true(topology.trim().length > 20, name);
  }
});

function scenarioFile(t: { teardown: (clean: () => void) => void }, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), "scenarios-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "mine.mjs");
  writeFileSync(path, text);
  return path;
}

test("loads what a file exports, alone, by name or in a list, each once", async (t) => {
  const path = scenarioFile(
    t,
    `const make = (name) => ({ name, topology: "", run: async () => {} });
     export const one = make("one");
     export default [one, make("two")];
     export const other = 3;`,
  );
  t.deepEqual((await loadScenarioFile(path)).map(({ name }) => name).sort(), ["one", "two"]);
});

test("says of a file without scenarios what it should export", async (t) => {
  const path = scenarioFile(t, "export const x = { name: 'x' };");
  await t.throwsAsync(loadScenarioFile(path), {
    instanceOf: ScenarioFileError,
    message: /exports no scenario/,
  });
});

test("says why a file cannot be loaded", async (t) => {
  const path = scenarioFile(t, "export default nonsense;");
  await t.throwsAsync(loadScenarioFile(path), { message: /loading .*mine.mjs: nonsense is not defined/ });
});
