import { Command, InvalidArgumentError, Option } from "commander";
import type { KernelVersion } from "../esp/offload/stack.js";
import { FAULT_NAMES, FAULTS, type FaultName } from "../simulator/faults.js";
import { loadProfile, ProfileError, profileNames } from "../simulator/profile.js";
import { SimulationError } from "../simulator/simulation/error.js";
import { type SimulationReport, simulate } from "../simulator/simulation/simulation.js";
import { demandRoot } from "./backend.js";
import { CliError, ExitCode } from "./exit.js";
import { print, progress, table } from "./output.js";
import { demandPolicy } from "./policy-file.js";
import { kernelVersion } from "./values.js";

interface SimulateFlags {
  profile: string;
  fault?: FaultName[];
  kernel?: KernelVersion;
  seed?: number;
  all?: boolean;
  json?: boolean;
}

export function simulateCommand(): Command {
  return new Command("simulate")
    .description(
      "traffic through a policy's connections with a simulated NIC under them: who does whose crypto",
    )
    .argument("<file>", "steer.yaml")
    .option(
      "--profile <name>",
      `the device: ${profileNames().join(", ")}, or a YAML file of your own`,
      "ideal",
    )
    .addOption(new Option("--fault <name...>", "what goes wrong").choices(FAULT_NAMES))
    .option(
      "--kernel <version>",
      "whose rules the stack goes by, such as 6.16; 6.12 if left out",
      kernelVersion,
    )
    .option("--seed <n>", "which packets a fault strikes; random, and reported, if left out", seed)
    .option("--all", "list every SA, not only those that are not offloaded or lost packets")
    .option("--json", "one JSON document on stdout")
    .addHelpText(
      "after",
      `\nFaults:\n${FAULT_NAMES.map((name) => `  ${name.padEnd(34)} ${FAULTS[name].summary}`).join("\n")}\n` +
        "\nExample:\n  sudo xfrm-steer simulate steer.yaml --profile mlx5-crypto --fault stale-secpath",
    )
    .action(async (file: string, { profile: name, fault = [], kernel, seed, all, json }: SimulateFlags) => {
      const profile = usage(() => loadProfile(name));
      const policy = demandPolicy(file);
      demandRoot("simulate");
      const options = {
        policy,
        profile,
        faults: fault,
        ...(kernel === undefined ? {} : { kernel }),
        ...(seed === undefined ? {} : { seed }),
      };
      const report = await progress("sending traffic", () => simulate(options)).catch((error) => {
        if (error instanceof SimulationError) throw new CliError(error.message, ExitCode.usage);
        throw error;
      });
      print(json, report, () => inWords(report, all === true));
      if (!report.pass) process.exitCode = ExitCode.failed;
    });
}

/** A profile that cannot be used is a mistake of the user's. */
export function usage<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof ProfileError) throw new CliError(error.message, ExitCode.usage);
    throw error;
  }
}

function seed(value: string): number {
  if (!/^\d{1,10}$/.test(value)) throw new InvalidArgumentError("write a whole number");
  return Number(value);
}

function inWords(report: SimulationReport, all: boolean): string {
  const { sas, sent, received, plaintext_on_wire, xfrm_stat, problems } = report;
  const shown = sas.filter(({ offloaded, drops, software_packets }) => {
    return all || !offloaded || drops > 0 || software_packets > 0;
  });
  const counters = (which: Record<string, number>) =>
    Object.entries(which)
      .map(([name, value]) => `${name} ${value}`)
      .join(", ") || "nothing";
  const rows = shown.map((sa) => [
    sa.connection,
    sa.direction,
    `0x${sa.spi.toString(16)}`,
    sa.offloaded ? "yes" : "no",
    sa.hardware_packets,
    sa.software_packets,
    sa.drops,
    sa.reason,
  ]);
  return [
    `${report.profile}, rules of Linux ${report.kernel}, seed ${report.seed}: ${sas.filter((sa) => sa.offloaded).length} of ${sas.length} SAs offloaded`,
    ...(rows.length > 0
      ? [table(["connection", "dir", "spi", "offloaded", "hardware", "software", "drops", "reason"], rows)]
      : []),
    `${received} of ${sent} packets came back; ${plaintext_on_wire} in the clear on the wire`,
    `gateway counted ${counters(xfrm_stat.gateway)}; its peers ${counters(xfrm_stat.peer)}`,
    ...problems.map((problem) => `FAIL: ${problem}`),
  ].join("\n");
}
