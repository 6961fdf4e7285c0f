import { Command, CommanderError } from "commander";
import { enterNetns } from "../sys/netns.js";
import { ExitCode, reportError } from "./exit.js";

/** In the order of --help. Only those whose names the command line has are loaded: most take less time than all to load. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  probe: async () => (await import("./probe.js")).probeCommand(),
  check: async () => (await import("./check.js")).checkCommand(),
  compile: async () => (await import("./compile.js")).compileCommand(),
  offload: async () => (await import("./offload.js")).offloadCommand(),
  plan: async () => (await import("./plan.js")).planCommand(),
  explain: async () => (await import("./explain.js")).explainCommand(),
  flow: async () => (await import("./flow.js")).flowCommand(),
  sa: async () => (await import("./sa.js")).saCommand(),
  policy: async () => (await import("./sa.js")).policyCommand(),
  apply: async () => (await import("./apply.js")).applyCommand(),
  follow: async () => (await import("./follow.js")).followCommand(),
  load: async () => (await import("./load.js")).loadCommand(),
  status: async () => (await import("./status.js")).statusCommand(),
  capture: async () => (await import("./capture.js")).captureCommand(),
  unload: async () => (await import("./unload.js")).unloadCommand(),
  run: async () => (await import("./run.js")).runCommand(),
  demo: async () => (await import("./demo.js")).demoCommand(),
  bench: async () => (await import("./bench.js")).benchCommand(),
  selftest: async () => (await import("./selftest.js")).selftestCommand(),
  simulate: async () => (await import("./simulate.js")).simulateCommand(),
  vm: async () => (await import("./selftest.js")).vmCommand(),
};

const program = new Command("xfrm-steer")
  .description("Steers flows to IPsec connections on one interface")
  .version("0.1.0")
  .option("--netns <name>", "act in this network namespace (one that `ip netns list` shows)")
  .configureHelp({ showGlobalOptions: true })
  .exitOverride()
  .hook("preAction", (command) => {
    const { netns } = command.optsWithGlobals<{ netns?: string }>();
    if (netns !== undefined) enterNetns(netns);
  });

// `xfrm-steer status | head` ends quietly when its reader has seen enough.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(ExitCode.done);
  process.exit(reportError(error));
});

const words = new Set(process.argv.slice(2));
const named = Object.keys(COMMANDS).filter((name) => words.has(name));
for (const name of named.length > 0 ? named : Object.keys(COMMANDS)) {
  const command = await COMMANDS[name]?.();
  if (command) program.addCommand(inheriting(command, program));
}

/** With its parent's settings, and so all below it. */
function inheriting(command: Command, parent: Command): Command {
  command.copyInheritedSettings(parent);
  for (const each of command.commands) inheriting(each, command);
  return command;
}

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError)
    process.exitCode = error.exitCode === 0 ? ExitCode.done : ExitCode.usage;
  else process.exitCode = reportError(error);
}
