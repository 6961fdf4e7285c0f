import { Command } from "commander";
import type { Applied } from "../backends/backend.js";
import type { Policy } from "../config/index.js";
import { backendOf, demandBackend, demandRoot } from "./backend.js";
import { CliError, ExitCode } from "./exit.js";
import { print, progress } from "./output.js";
import { demandKeys, demandPolicy } from "./policy-file.js";

export function applyCommand(): Command {
  return new Command("apply")
    .description("make a policy the running one: create the interface if needed, load, attach, swap")
    .argument("<file>", "steer.yaml, or a bundle that `compile` made")
    .option("--json", "one JSON document on stdout")
    .addHelpText("after", "\nExample:\n  sudo xfrm-steer apply /etc/xfrm-steer/steer.yaml")
    .action(async (file: string, options: { json?: boolean }) => {
      const started = performance.now();
      const policy = demandPolicy(file);
      const readMs = performance.now() - started;
      demandRoot("apply");
      demandKeys(policy, file);
      await applyWith(policy, `applying ${file}`, { ...options, readMs });
    });
}

/** Applies a policy by the backend that runs its interface, or the one that it asks for, and prints what was done. */
export async function applyWith(
  policy: Policy,
  title: string,
  { json, readMs }: { json?: boolean; readMs: number },
): Promise<void> {
  const { name } = policy.interface;
  const running = await backendOf(name);
  const backend = running ?? demandBackend(policy);
  if (policy.backend !== "auto" && backend.name !== policy.backend)
    throw new CliError(
      `${name} is run by the ${backend.name} backend; \`xfrm-steer unload ${name}\` before changing to ${policy.backend}`,
      ExitCode.failed,
    );
  const applied = await progress(title, () => backend.apply(policy));
  reportApplied(applied);
  print(json, { interface: name, backend: backend.name, readMs, ...applied }, () =>
    [
      `${name}: generation ${applied.generation} ${applied.created ? "set up" : "swapped in"} by the ${backend.name} backend`,
      `  read in ${readMs.toFixed(1)} ms, compiled in ${applied.compileMs.toFixed(1)} ms, loaded in ${applied.loadMs.toFixed(1)} ms, ` +
        `${applied.tableBytes} bytes of tables`,
    ].join("\n"),
  );
}

/** What an apply has to say beside that it is done. */
export function reportApplied({ warning, notes = [] }: Applied): void {
  if (warning !== undefined) process.stderr.write(`xfrm-steer: warning: ${warning}\n`);
  for (const note of notes) process.stderr.write(`xfrm-steer: note: ${note}\n`);
}
