import { Command } from "commander";
import { compile } from "../compiler/compile.js";
import { formatChange, planChanges } from "../compiler/plan.js";
import { withBuiltProgram } from "../program/build.js";
import { backendOf, demandRoot } from "./backend.js";
import { ANY_DEVICE } from "./check.js";
import { ExitCode } from "./exit.js";
import { print } from "./output.js";
import { withSaChanges } from "./plan-sas.js";
import { demandPolicy } from "./policy-file.js";

export function planCommand(): Command {
  return new Command("plan")
    .description("what apply would change against what is loaded: exit 0 for nothing, 3 for changes")
    .argument("<file>", "steer.yaml or a bundle")
    .option("--json", "one JSON document on stdout")
    .addHelpText(
      "after",
      "\nSAs are compared by their SPIs, keys by where they are kept and not by what they are.\n\nExample:\n  sudo xfrm-steer plan /etc/xfrm-steer/steer.yaml",
    )
    .action(async (file: string, options: { json?: boolean }) => {
      const read = demandPolicy(file);
      demandRoot("plan");
      const policy = await withBuiltProgram(read);
      compile(policy, ANY_DEVICE); // what does not fit the tables would not be applied
      const { name } = policy.interface;
      const backend = await backendOf(name);
      const changes = [
        ...(await withSaChanges(planChanges((await backend?.loaded(name)) ?? null, policy), policy)),
        ...((await backend?.ifIdChanges?.(policy)) ?? []),
      ];
      print(options.json, { interface: name, backend: backend?.name ?? null, changes }, () =>
        changes.length === 0 ? `${name}: nothing would change` : changes.map(formatChange).join("\n"),
      );
      if (changes.length > 0) process.exitCode = ExitCode.changes;
    });
}
