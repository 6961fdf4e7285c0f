import { Command } from "commander";
import { userspaceBackend } from "../backends/userspace/backend.js";
import { type DemoResult, runDemo } from "../demo/demo.js";
import { clearLeftovers, DRAWING } from "../demo/topology.js";
import { demandRoot } from "./backend.js";
import { CliError, ExitCode } from "./exit.js";
import { paint, print, table } from "./output.js";

export function demoCommand(): Command {
  return new Command("demo")
    .description(
      "the main job on this machine, end to end: two sites with one address, told apart by metadata",
    )
    .option("--json", "one JSON document on stdout")
    .addHelpText("after", "\nExample:\n  sudo xfrm-steer demo")
    .action(async (options: { json?: boolean }) => {
      demandRoot("the demo");
      const probe = userspaceBackend.probe();
      if (!probe.available) throw new CliError(probe.reason, ExitCode.lacking);
      const cleared = clearLeftovers();
      if (cleared.length > 0) console.error(`cleared what an interrupted demo left: ${cleared.join(", ")}`);
      if (!options.json) console.log(`${DRAWING}\n`);
      const result = await runDemo((step) => console.error(`demo: ${step}`));
      print(options.json, result, () => format(result));
      if (!result.pass) process.exitCode = ExitCode.failed;
    });
}

function format({ pass, flows, problems, backend }: DemoResult): string {
  const hex = (spi: number | null) => (spi === null ? "-" : `0x${spi.toString(16)}`);
  return [
    "",
    table(
      ["flow", "rule", "connection", "if_id", "SPI", "sent", "received", "", "on the wire", "in the clear"],
      flows.map(
        ({
          name,
          rule,
          connection,
          if_id,
          spi,
          sent,
          received,
          unit,
          on_wire,
          sampled,
          plaintext_on_wire,
        }) => [
          name,
          rule ?? "(none: dropped)",
          connection ?? "-",
          if_id ?? "-",
          hex(spi),
          sent,
          received,
          unit,
          sampled === 1 ? `${on_wire}` : `${on_wire} (1 in ${sampled})`,
          plaintext_on_wire,
        ],
      ),
    ),
    "",
    ...flows.flatMap(({ name, gbit_per_second }) =>
      gbit_per_second === null ? [] : [`${name}: ${gbit_per_second.toFixed(2)} Gbit/s of TCP payload`],
    ),
    ...problems.map((problem) => paint("red", `problem: ${problem}`)),
    pass ? paint("green", `PASS (${backend} backend)`) : paint("red", "FAIL"),
  ].join("\n");
}
