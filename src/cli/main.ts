import { Command, CommanderError } from "commander";
import { enterNetns } from "../sys/netns.js";
import { applyCommand } from "./apply.js";
import { benchCommand } from "./bench.js";
import { checkCommand } from "./check.js";
import { compileCommand } from "./compile.js";
import { demoCommand } from "./demo.js";
import { ExitCode, reportError } from "./exit.js";
import { explainCommand } from "./explain.js";
import { flowCommand } from "./flow.js";
import { followCommand } from "./follow.js";
import { loadCommand } from "./load.js";
import { offloadCommand } from "./offload.js";
import { planCommand } from "./plan.js";
import { probeCommand } from "./probe.js";
import { runCommand } from "./run.js";
import { policyCommand, saCommand } from "./sa.js";
import { selftestCommand, vmCommand } from "./selftest.js";
import { simulateCommand } from "./simulate.js";
import { statusCommand } from "./status.js";
import { unloadCommand } from "./unload.js";

const program = new Command("xfrm-steer")
  .description("Steers flows to IPsec connections on one interface")
  .version("0.1.0")
  .option("--netns <name>", "act in this network namespace (one that `ip netns list` shows)")
  .configureHelp({ showGlobalOptions: true })
  .hook("preAction", (command) => {
    const { netns } = command.optsWithGlobals<{ netns?: string }>();
    if (netns !== undefined) enterNetns(netns);
  });

for (const command of [
  probeCommand(),
  checkCommand(),
  compileCommand(),
  offloadCommand(),
  planCommand(),
  explainCommand(),
  flowCommand(),
  saCommand(),
  policyCommand(),
  applyCommand(),
  followCommand(),
  loadCommand(),
  statusCommand(),
  unloadCommand(),
  runCommand(),
  demoCommand(),
  benchCommand(),
  selftestCommand(),
  simulateCommand(),
  vmCommand(),
])
  program.addCommand(command.copyInheritedSettings(program));

// Subcommands inherit this only when it is set on each.
for (const command of [program, ...program.commands.flatMap((each) => [each, ...each.commands])])
  command.exitOverride();

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError)
    process.exitCode = error.exitCode === 0 ? ExitCode.done : ExitCode.usage;
  else process.exitCode = reportError(error);
}
