import { Command } from "commander";
import { guarded } from "../backends/guard/guard.js";
import { locked } from "../backends/kernel/locked.js";
import { userspaceBackend } from "../backends/userspace/backend.js";
import { recordedInterfaces } from "../backends/userspace/device-record.js";
import { type ConnectionKeys, readKeys, wipeConnectionKeys } from "../backends/userspace/keys.js";
import { type Served, serve } from "../backends/userspace/serve.js";
import type { Policy } from "../config/index.js";
import { keyVariables } from "../config/keys.js";
import { withBuiltProgram } from "../program/build.js";
import { wipeVariable } from "../sys/secrets.js";
import { reportApplied } from "./apply.js";
import { demandRoot } from "./backend.js";
import { CliError, ExitCode } from "./exit.js";
import { print } from "./output.js";
import { demandKeys, demandPolicy } from "./policy-file.js";

export function runCommand(): Command {
  return new Command("run")
    .description(
      "the userspace backend in the foreground; ends at SIGINT or SIGTERM, which leave the interface, or at `xfrm-steer unload`",
    )
    .argument("<file>", "steer.yaml")
    .option("--until-eof", "end when standard input does, so that the service cannot outlive its parent")
    .option("--json", "print what apply would, as JSON, once the interface is up")
    .addHelpText("after", "\nExample:\n  sudo xfrm-steer run steer.yaml")
    .action(async (file: string, options: RunFlags) => {
      const read = demandPolicy(file);
      demandRoot("run");
      demandKeys(read, file);
      const keys = takeKeys(read);
      try {
        await run(await withBuiltProgram(read), keys, options);
      } finally {
        wipeConnectionKeys(keys);
      }
    });
}

/** Reads the keys and takes their variables away: /proc/PID/environ and whatever is started from here would have them. */
function takeKeys(policy: Policy): ConnectionKeys[] {
  const keys = readKeys(policy);
  for (const name of keyVariables(policy)) wipeVariable(name);
  return keys;
}

interface RunFlags {
  readonly untilEof?: boolean;
  readonly json?: boolean;
}

async function run(policy: Policy, keys: readonly ConnectionKeys[], options: RunFlags): Promise<void> {
  const probe = userspaceBackend.probe();
  if (!probe.available) throw new CliError(probe.reason, ExitCode.lacking);
  const { name } = policy.interface;
  let served: Served | null = null;
  const stop = () => void served?.stop();
  const start = async () => {
    served = await serve(name);
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, stop);
    if (options.untilEof) process.stdin.resume().on("close", stop);
    return await served.service.apply(policy, keys);
  };
  try {
    // The guard before the device.
    const applied = await locked(() => guarded(policy, "userspace", start));
    reportApplied(applied);
    wipeConnectionKeys(keys);
    print(options.json, { interface: name, backend: "userspace", ...applied }, () => `${name} is up`);
    await ended(served);
  } finally {
    stop();
    await ended(served);
    process.stdin.destroy();
    if (recordedInterfaces().includes(name))
      process.stderr.write(
        `xfrm-steer: ${name} stays, and what is routed into it is dropped; \`xfrm-steer unload ${name}\` removes it\n`,
      );
  }
}

async function ended(served: Served | null): Promise<void> {
  await served?.ended;
}
