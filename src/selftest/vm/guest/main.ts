import { readFileSync } from "node:fs";
import { loadScenarioFile, selectScenarios } from "../../load.js";
import { runScenarios } from "../../run.js";
import { scenarios } from "../../scenarios/index.js";
import type { GuestPlan } from "../guest-plan.js";

const HEARTBEAT_MS = 20_000;

// Runs in the VM: the plan's path is the only argument; KTAP goes to standard output.
const plan = JSON.parse(readFileSync(process.argv[2] as string, "utf8")) as GuestPlan;
const loaded = await Promise.all(plan.files.map(loadScenarioFile));
// A scenario may be silent for as long as its limit lets it; the host takes a silent machine for one that hangs.
setInterval(() => process.stderr.write("selftest: running\n"), HEARTBEAT_MS).unref();
const all = plan.files.length > 0 ? loaded.flat() : scenarios;
const byName = new Map(selectScenarios(all).map((scenario) => [scenario.name, scenario]));
await runScenarios(
  plan.names.flatMap((name) => byName.get(name) ?? []),
  { write: (text) => process.stdout.write(text), captures: plan.captures },
);
