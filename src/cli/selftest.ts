import { Command } from "commander";
import { DEFAULT_KERNEL, ScenarioFileError, selftest, vmShell } from "../selftest/index.js";
import { CliError, ExitCode } from "./exit.js";

const progress = (message: string) => {
  if (process.stderr.isTTY) process.stderr.write(`${message}\n`);
};

export function selftestCommand(): Command {
  return new Command("selftest")
    .description(
      "kernel-selftest-style scenarios in KTAP, in this kernel or in a VM; exit 4 where nothing can run",
    )
    .argument("[file...]", "scenario files of your own (.ts, .js), run in place of the built-in ones")
    .option("--filter <pattern>", "only scenarios whose name contains this, or matches it where it has a *")
    .option("--except <name...>", "not these scenarios")
    .option("--list", "print the names and run nothing")
    .option("--vm", `run in a VM with a Debian kernel (${DEFAULT_KERNEL} if --kernel does not say another)`)
    .option(
      "--kernel <version>",
      'the VM\'s kernel: "6.1", "6.12", "7.2" or the path of an unpacked one; implies --vm',
    )
    .option("--captures <folder>", "where captures of failed scenarios and a VM's kernel log go")
    .option("--limit <seconds>", "end the VM after so long", Number)
    .option("--json", "one JSON document on stdout instead of KTAP")
    .addHelpText("after", "\nExample:\n  sudo xfrm-steer selftest --vm --kernel 6.12 --filter lwt")
    .action(async (files: string[], { limit, ...options }: SelftestFlags) => {
      if (limit !== undefined && !(limit > 0))
        throw new CliError("--limit takes a number of seconds above 0", ExitCode.usage);
      try {
        process.exitCode = await selftest({
          ...options,
          files,
          ...(limit === undefined ? {} : { limitMs: limit * 1000 }),
          write: (text) => process.stdout.write(text),
          progress,
        });
      } catch (error) {
        if (error instanceof ScenarioFileError) throw new CliError(error.message, ExitCode.usage);
        throw error;
      }
    });
}

interface SelftestFlags {
  filter?: string;
  except?: string[];
  list?: boolean;
  vm?: boolean;
  kernel?: string;
  captures?: string;
  limit?: number;
  json?: boolean;
}

export function vmCommand(): Command {
  return new Command("vm")
    .description("the virtual machine of the selftests")
    .addHelpText("after", "\nExample:\n  xfrm-steer vm shell --kernel 6.12")
    .addCommand(
      new Command("shell")
        .description("a shell in the guest; end it with exit")
        .option(
          "--kernel <version>",
          '"6.1", "6.12", "7.2" or the path of an unpacked kernel',
          DEFAULT_KERNEL,
        )
        .addHelpText("after", "\nExample:\n  xfrm-steer vm shell --kernel 6.12")
        .action(async ({ kernel }: { kernel: string }) => {
          process.exitCode = await vmShell({ kernel, progress });
        }),
    );
}
