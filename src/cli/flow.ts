import { readFileSync } from "node:fs";
import { Command } from "commander";
import type { FlowAction, FlowAnswer } from "../backends/flow-requests.js";
import { formatDiagnostic } from "../config/index.js";
import { backendOf, demandRoot } from "./backend.js";
import { CliError, ExitCode } from "./exit.js";
import { print } from "./output.js";

const CSV = "src,dst,proto,sport,dport,connection";

export function flowCommand(): Command {
  return new Command("flow")
    .description("single flows of a running interface, changed without a new generation")
    .addHelpText("after", "\nExample:\n  sudo xfrm-steer flow list ipsec0")
    .addCommand(
      changing(
        "add",
        "flows that decide before the rules, and last until they are deleted or the interface is",
      ).addHelpText(
        "after",
        `\nExample:\n  printf '${CSV}\\n10.0.0.1,10.1.0.1,udp,5000,5060,branch-a\\n' | sudo xfrm-steer flow add ipsec0`,
      ),
    )
    .addCommand(
      changing(
        "del",
        "flows that were added, or that the policy's files have (these until the next apply)",
      ).addHelpText(
        "after",
        "\nExample:\n  sudo xfrm-steer flow list ipsec0 | grep branch-a | sudo xfrm-steer flow del ipsec0 --no-header",
      ),
    )
    .addCommand(
      withCommon(new Command("list").description("flows that were added or deleted, as add reads them"))
        .addHelpText("after", "\nExample:\n  sudo xfrm-steer flow list ipsec0")
        .action(async (name: string, { json }: { json?: boolean }) => {
          const { flows } = await demand(name, "list", "");
          print(json, flows, () => [CSV, ...flows.map(line)].join("\n"));
        }),
    );
}

function withCommon(command: Command): Command {
  return command
    .argument("<interface>", "a running interface of the kernel-bpf or the userspace backend")
    .option("--json", "one JSON document on stdout");
}

function changing(action: "add" | "del", what: string): Command {
  return withCommon(
    new Command(action).description(`${what}; CSV or NDJSON on standard input, all of it or nothing`),
  )
    .option("--no-header", `the first line of the CSV is a row already: ${CSV}`)
    .action(async (name: string, options: { header: boolean; json?: boolean }) => {
      const text = readFileSync(0, "utf8");
      const answer = await demand(name, action, options.header ? text : `${CSV}\n${text}`);
      print(options.json, { interface: name, changed: answer.changed }, () =>
        action === "add" ? `added ${answer.changed} flows` : `deleted ${answer.changed} flows`,
      );
    });
}

async function demand(name: string, action: FlowAction, text: string): Promise<FlowAnswer> {
  demandRoot(`flow ${action}`);
  const backend = await backendOf(name);
  if (backend !== null && !backend.flows)
    throw new CliError(
      `${name} is run by the ${backend.name} backend, which takes flows by \`apply\` only`,
      ExitCode.failed,
    );
  const answer = (await backend?.flows?.(name, { action, text })) ?? null;
  if (answer === null)
    throw new CliError(`${name} is not set up here; \`xfrm-steer apply\` sets it up`, ExitCode.failed);
  for (const diagnostic of answer.diagnostics) console.error(formatDiagnostic(diagnostic));
  if (answer.diagnostics.some(({ severity }) => severity === "error"))
    throw new CliError("the flows have errors; nothing was changed", ExitCode.usage);
  return answer;
}

function line({ src, dst, proto, sport, dport, connection }: FlowAnswer["flows"][number]): string {
  const row = [src, dst, proto, sport ?? "", dport ?? "", connection ?? ""].join(",");
  return connection === null ? `# deleted: ${row}` : row;
}
