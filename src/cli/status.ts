import { Command } from "commander";
import type { Status } from "../backends/backend.js";
import { formatHeld } from "../backends/kernel/if-id-text.js";
import { allBackends } from "../backends/select.js";
import { recordedInterfaces } from "../backends/userspace/device-record.js";
import { allInterfaces, demandRoot } from "./backend.js";
import { CliError, ExitCode } from "./exit.js";
import { print, table } from "./output.js";

export function statusCommand(): Command {
  return new Command("status")
    .description("connections, rules, counters, last generation")
    .argument("[interface]", "one interface; all of this network namespace if left out")
    .option("--json", "one JSON document on stdout")
    .addHelpText("after", "\nExample:\n  sudo xfrm-steer status ipsec0")
    .action(async (interfaceName: string | undefined, options: { json?: boolean }) => {
      demandRoot("status");
      const all = await statusOf(interfaceName);
      const shown = new Set(all.map((status) => status.interface));
      const left = recordedInterfaces().filter((name) => !shown.has(name));
      const lost = interfaceName === undefined ? left : left.filter((name) => name === interfaceName);
      if (interfaceName !== undefined && all.length + lost.length === 0)
        throw new CliError(
          `${interfaceName} is not set up here; \`xfrm-steer apply\` sets it up`,
          ExitCode.failed,
        );
      print(options.json, all, () =>
        all.length + lost.length === 0 ? "no interface is set up here" : all.map(format).join("\n\n"),
      );
      for (const name of lost)
        process.stderr.write(
          `xfrm-steer: ${name} was left by a process that ended, and what is routed into it is dropped; ` +
            `\`xfrm-steer apply\` takes it over, \`xfrm-steer unload ${name}\` removes it\n`,
        );
      if (lost.length > 0) process.exitCode = ExitCode.failed;
    });
}

/** Status of one interface, or of all that are set up in this network namespace. */
export async function statusOf(interfaceName: string | undefined): Promise<Status[]> {
  const names = interfaceName === undefined ? allInterfaces() : [interfaceName];
  const found = await Promise.all(
    names.flatMap((name) => allBackends().map(async (backend) => await backend.status(name))),
  );
  return found.filter((status) => status !== null);
}

function format(status: Status): string {
  const hex = (value: number | undefined) => (value === undefined ? "-" : `0x${value.toString(16)}`);
  return [
    `${status.interface} (ifindex ${status.ifindex}): ${status.backend} backend, generation ${status.generation}, applied ${status.applied}`,
    "",
    table(
      [
        "connection",
        "if_id",
        "link",
        "spi out",
        "spi in",
        "sent",
        "bytes",
        "received",
        "bytes",
        "bad source",
      ],
      status.connections.map(({ name, ifId, link, sa, sent, received, badSource }) => [
        name,
        ifId,
        link ?? "-",
        hex(sa?.spiOut),
        hex(sa?.spiIn),
        sent.packets,
        sent.bytes,
        received.packets,
        received.bytes,
        badSource.packets,
      ]),
    ),
    "",
    table(
      ["rule", "to", "packets", "bytes"],
      [
        ...status.rules.map(({ name, to, matched }) => [name, to, matched.packets, matched.bytes]),
        ["(default)", status.default.action, status.default.matched.packets, status.default.matched.bytes],
      ],
    ),
    ...status.held.map(formatHeld),
    ...(status.underlay === null
      ? []
      : [
          `plaintext from connections' sources is refused on ${status.underlay.devices.join(", ") || "no device"}`,
        ]),
    ...Object.entries(status.drops)
      .filter(([, count]) => count > 0)
      .map(([reason, count]) => `dropped ${count}: ${reason}`),
  ].join("\n");
}
