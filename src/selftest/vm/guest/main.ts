import { readFileSync } from "node:fs";
import { loadScenarioFile, selectScenarios } from "../../load.js";
import { runScenarios } from "../../run.js";
import { scenarios } from "../../scenarios/index.js";
import type { GuestPlan } from "../guest-plan.js";

// Runs in the VM: the plan's path is the only argument; KTAP goes to standard output.
const plan = JSON.parse(readFileSync(process.argv[2] as string, "utf8")) as GuestPlan;
const loaded = await Promise.all(plan.files.map(loadScenarioFile));
const all = plan.files.length > 0 ? loaded.flat() : scenarios;
const byName = new Map(selectScenarios(all).map((scenario) => [scenario.name, scenario]));
await runScenarios(
  plan.names.flatMap((name) => byName.get(name) ?? []),
  { write: (text) => process.stdout.write(text), captures: plan.captures },
);
