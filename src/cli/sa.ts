import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Command } from "commander";
import { ask } from "../backends/userspace/control.js";
import type { XfrmDatabases } from "../backends/userspace/databases.js";
import { recordedInterfaces } from "../backends/userspace/device-record.js";
import { type KeySource, readKey } from "../config/index.js";
import { backendOf, demandRoot } from "./backend.js";
import { CliError, ExitCode } from "./exit.js";
import { print } from "./output.js";
import { spi } from "./values.js";
import { formatEvent, formatPolicy, formatState } from "./xfrm-text.js";

const POLL_MS = 500;

export function saCommand(): Command {
  return new Command("sa")
    .description("the SAs of running userspace interfaces, and their rekeying; keys are never shown")
    .addHelpText("after", "\nExample:\n  sudo xfrm-steer sa list ipsec0")
    .addCommand(
      listing("list", "as `ip -s xfrm state` shows the kernel's")
        .addHelpText("after", "\nExample:\n  sudo xfrm-steer sa list ipsec0")
        .action(async (name: string | undefined, { json }: { json?: boolean }) => {
          const states = (await databases("sa list", name)).flatMap((each) => each.states);
          print(json, states, () => states.map(formatState).join("\n"));
        }),
    )
    .addCommand(
      new Command("monitor")
        .description("soft and hard lifetimes as they are reached, until interrupted")
        .argument("<interface>", "a running interface of the userspace backend")
        .option("--json", "one JSON document a line")
        .addHelpText("after", "\nExample:\n  sudo xfrm-steer sa monitor ipsec0")
        .action(monitor),
    )
    .addCommand(
      step("add", "accepts packets of one more inbound SA: first, at both ends")
        .requiredOption("--key <source>", "file:PATH or env:NAME")
        .action((name, connection, options: StepOptions) => rekey("add", name, connection, options)),
    )
    .addCommand(
      step("switch", "sends with another SA, once the other end accepts it")
        .requiredOption("--key <source>", "file:PATH or env:NAME")
        .action((name, connection, options: StepOptions) => rekey("switch", name, connection, options)),
    )
    .addCommand(
      step("delete", "accepts no more packets of an inbound SA: last, when none is on its way").action(
        (name, connection, options: StepOptions) => rekey("remove", name, connection, options),
      ),
    );
}

export function policyCommand(): Command {
  return new Command("policy")
    .description("the SPD of running userspace interfaces")
    .addHelpText("after", "\nExample:\n  sudo xfrm-steer policy list ipsec0")
    .addCommand(
      listing("list", "as `ip xfrm policy` shows the kernel's")
        .addHelpText("after", "\nExample:\n  sudo xfrm-steer policy list ipsec0")
        .action(async (name: string | undefined, { json }: { json?: boolean }) => {
          const policies = (await databases("policy list", name)).flatMap((each) => each.policies);
          print(json, policies, () => policies.map(formatPolicy).join("\n"));
        }),
    );
}

function listing(name: string, what: string): Command {
  return new Command(name)
    .description(what)
    .argument("[interface]", "one interface; all of this network namespace if left out")
    .option("--json", "one JSON document on stdout");
}

function step(name: string, what: string): Command {
  return new Command(name)
    .description(what)
    .argument("<interface>", "a running interface of the userspace backend")
    .argument("<connection>", "its name")
    .requiredOption("--spi <number>", "0x100 to 0xffffffff", spi)
    .addHelpText(
      "after",
      `\nExample:\n  sudo xfrm-steer sa ${name} ipsec0 branch-a --spi 0x2001${name === "delete" ? "" : " --key file:/etc/xfrm-steer/new.key"}\n\nA later apply brings back the SAs that the policy names.`,
    );
}

interface StepOptions {
  readonly spi: number;
  readonly key?: string;
}

async function rekey(
  action: "add" | "switch" | "remove",
  name: string,
  connection: string,
  { spi, key: source }: StepOptions,
): Promise<void> {
  const [found] = await databases(`sa ${action}`, name);
  const state = found?.states.find((each) => each.connection === connection);
  if (state === undefined)
    throw new CliError(`${name} has no connection ${connection} with keys of its own`, ExitCode.usage);
  const key = source === undefined ? new Uint8Array(0) : readKey(keySource(source), state.suite);
  try {
    await ask(name, "rekey", { connection, step: action, spi }, key);
  } finally {
    key.fill(0);
  }
}

function keySource(text: string): KeySource {
  const location = { file: "--key", line: 1, column: 1 };
  const [, kind, rest = ""] = /^(file|env):(.+)$/.exec(text) ?? [];
  if (kind === "file") return { kind, path: resolve(rest), location };
  if (kind === "env") return { kind, name: rest, location };
  throw new CliError("--key names no source; write file:PATH or env:NAME", ExitCode.usage);
}

/** Of one interface, or of all that run here. */
async function databases(doing: string, name: string | undefined): Promise<XfrmDatabases[]> {
  demandRoot(doing);
  const names = name === undefined ? recordedInterfaces() : [name];
  const found = await Promise.all(names.map((each) => ask(each, "xfrm", {})));
  const running = found.filter((each) => each !== null);
  if (name !== undefined && running.length === 0) {
    const backend = await backendOf(name);
    throw new CliError(
      backend === null
        ? `${name} is not set up here; \`xfrm-steer apply\` sets it up`
        : `${name} is run by the ${backend.name} backend, whose SAs are the kernel's; \`ip xfrm\` shows them`,
      ExitCode.failed,
    );
  }
  return running;
}

async function monitor(name: string, { json }: { json?: boolean }): Promise<void> {
  let seen = 0;
  for (;;) {
    const [found] = await databases("sa monitor", name);
    for (const event of found?.events ?? []) {
      if (event.number <= seen) continue;
      seen = event.number;
      process.stdout.write(`${json ? JSON.stringify(event) : formatEvent(event)}\n`);
    }
    await sleep(POLL_MS);
  }
}
