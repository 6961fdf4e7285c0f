import { Command } from "commander";
import type { KernelVersion } from "../esp/offload/stack.js";
import { type Explanation, explainOffload } from "../simulator/explain.js";
import { loadProfile, profileNames } from "../simulator/profile.js";
import { textView } from "../simulator/text-view.js";
import { print, table } from "./output.js";
import { demandPolicy } from "./policy-file.js";
import { usage } from "./simulate.js";
import { kernelVersion } from "./values.js";

interface ExplainFlags {
  profile: string;
  kernel?: KernelVersion;
  table?: boolean;
  json?: boolean;
}

export function offloadCommand(): Command {
  return new Command("offload")
    .description("IPsec offload to network devices")
    .addHelpText("after", "\nExample:\n  xfrm-steer offload explain steer.yaml --profile ixgbe")
    .addCommand(
      new Command("explain")
        .description("which SAs of a policy a device would take, and why it would not take the others")
        .argument("<file>", "steer.yaml")
        .requiredOption(
          "--profile <name>",
          `the device: ${profileNames().join(", ")}, or a YAML file of your own`,
        )
        .option("--kernel <version>", "whose rules count, such as 6.16; 6.12 if left out", kernelVersion)
        .option("--table", "the device's table as netdevsim's debugfs file shows it, without keys")
        .option("--json", "one JSON document on stdout")
        .addHelpText("after", "\nExample:\n  xfrm-steer offload explain steer.yaml --profile ixgbe")
        .action((file: string, { profile, kernel, table: wantsTable, json }: ExplainFlags) => {
          const explanation = explainOffload(
            demandPolicy(file),
            usage(() => loadProfile(profile)),
            kernel,
          );
          print(json, explanation.sas, () => (wantsTable ? tables(explanation) : inWords(explanation)));
        }),
    );
}

const tables = ({ ports }: Explanation): string =>
  ports.map((port) => `${ports.length > 1 ? `${port.name}:\n` : ""}${textView(port)}`.trimEnd()).join("\n");

function inWords({ sas }: Explanation): string {
  const rows = sas.map(({ connection, direction, spi, offloaded, reason }) => [
    connection,
    direction,
    `0x${spi.toString(16)}`,
    offloaded ? "yes" : "no",
    reason,
  ]);
  return table(["connection", "dir", "spi", "offloaded", "reason"], rows);
}
