import { Command, Option } from "commander";
import { type SoakOptions, soak } from "../bench/soak.js";
import { SUITE_NAMES } from "../esp/index.js";
import { ExitCode } from "./exit.js";
import { print, table } from "./output.js";
import { count } from "./values.js";

export function benchSoakCommand(): Command {
  return new Command("soak")
    .description(
      "the ESP engine in loop-back: small packets sealed and opened, with rekeys; fails when one is lost or memory grows",
    )
    .addOption(new Option("--suite <name>", "which suite").choices(SUITE_NAMES).default("aes128-gcm"))
    .addOption(new Option("--crypto <name>", "which library").choices(["auto", "openssl"]).default("auto"))
    .option("--operations <n>", "sealing a packet is one, opening it another", count, 100_000_000)
    .option("--max-seconds <n>", "ends sooner when the time is over", count, 600)
    .option("--rekey-every <n>", "packets between two rekeys", count, 100_000)
    .option("--json", "one JSON document on stdout")
    .addHelpText("after", "\nExample:\n  xfrm-steer bench soak --operations 1000000 --rekey-every 1000")
    .action((options: SoakOptions & { json?: boolean }) => {
      const result = soak({ ...options, progress: (what) => console.error(what) });
      const growth = (result.residentLate - result.residentEarly) / 2 ** 20;
      const failed = result.lost > 0 || growth > MAX_GROWTH_MIB;
      print(options.json, { bench: "soak", pass: !failed, ...result }, () =>
        table(
          ["suite", "crypto", "operations", "million/s", "rekeys", "lost", "growth MiB"],
          [
            [
              result.suite,
              result.crypto,
              result.operations,
              Number((result.operations / result.seconds / 1e6).toFixed(2)),
              result.rekeys,
              result.lost,
              Number(growth.toFixed(1)),
            ],
          ],
        ),
      );
      if (failed) process.exitCode = ExitCode.failed;
    });
}

/** More than the collector's slack, and less than what 1,000 forgotten SAs would hold. */
const MAX_GROWTH_MIB = 16;
