import { Command } from "commander";
import { chooseBackend } from "../backends/select.js";
import { ExitCode } from "./exit.js";
import { paint, print } from "./output.js";

export function probeCommand(): Command {
  return new Command("probe")
    .description("what this kernel can do; which backend serves, and why")
    .option("--json", "one JSON document on stdout")
    .addHelpText("after", "\nExample:\n  sudo xfrm-steer probe")
    .action((options: { json?: boolean }) => {
      const { chosen, candidates } = chooseBackend("auto");
      print(options.json, { backend: chosen?.name ?? null, candidates }, () =>
        [
          ...candidates.map(
            ({ name, available, reason }) =>
              `${paint(available ? "green" : "yellow", available ? "yes" : available === null ? " ? " : "no ")} ${name.padEnd(10)}  ${reason}`,
          ),
          chosen
            ? `backend: ${paint("bold", chosen.name)}`
            : `backend: ${candidates.some(({ available }) => available === null) ? "not known" : "none can serve here"}`,
        ].join("\n"),
      );
      if (chosen === null) process.exitCode = ExitCode.lacking;
    });
}
