import { Command, Option } from "commander";
import { benchApply } from "../bench/apply.js";
import { CASES, type Case, LARGEST } from "../bench/cases.js";
import { benchClassify } from "../bench/classify.js";
import type { BenchCase, BenchResult } from "../bench/measure.js";
import { benchEspCommand } from "./bench-esp.js";
import { benchKernelCommand } from "./bench-kernel.js";
import { benchLibbpfCommand } from "./bench-libbpf.js";
import { benchSoakCommand } from "./bench-soak.js";
import { print, table } from "./output.js";
import { count, counts } from "./values.js";

const SIZES = [10, 1_000, 10_000, 100_000, 1_000_000];

export function benchCommand(): Command {
  return new Command("bench")
    .description("measure this machine, each against its peers in one run")
    .addHelpText("after", "\nExample:\n  sudo xfrm-steer bench classify --case prefix4 --size 10000")
    .addCommand(classifyCommand())
    .addCommand(applyCommand())
    .addCommand(benchKernelCommand())
    .addCommand(benchEspCommand())
    .addCommand(benchLibbpfCommand())
    .addCommand(benchSoakCommand());
}

function applyCommand(): Command {
  return new Command("apply")
    .description(
      "ms from a file to the running program, in steps, against a batched update of a hash map; needs root",
    )
    .option("--size <n...>", "numbers of subnets and rules", counts)
    .option("--runs <n>", "runs, of which the median counts", count, 5)
    .option("--seed <n>", "seed of the rule sets", count, 1)
    .option("--json", "one JSON document on stdout")
    .addHelpText("after", "\nExample:\n  xfrm-steer bench apply --size 100000")
    .action((options: { size?: number[]; runs: number; seed: number; json?: boolean }) => {
      const result = benchApply({ ...options, sizes: options.size ?? SIZES, progress: say });
      clear();
      print(options.json, result, () =>
        table(
          ["case", "size", "subject", "median", "min", "max", "unit"],
          result.cases.map((entry) => [
            entry.case,
            entry.size,
            entry.subject,
            entry.median,
            entry.min,
            entry.max,
            entry.unit,
          ]),
        ),
      );
    });
}

function say(what: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${what} ...`);
}

function clear(): void {
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
}

function classifyCommand(): Command {
  return new Command("classify")
    .description("ns a packet's key costs, against the kernel's maps and plain searches; needs root")
    .addOption(
      new Option("--case <name...>", `rule sets: ${CASES.join(", ")}; all if left out`).choices(CASES),
    )
    .option("--size <n...>", "numbers of rules", counts)
    .option("--no-peers", "ours alone")
    .option("--runs <n>", "runs of each subject, of which the median counts", count, 7)
    .option("--seed <n>", "seed of rules and keys", count, 1)
    .option("--json", "one JSON document on stdout")
    .addHelpText("after", "\nExample:\n  xfrm-steer bench classify --case prefix4 acl --size 10000")
    .action(
      (options: {
        case?: Case[];
        size?: number[];
        runs: number;
        seed: number;
        peers: boolean;
        json?: boolean;
      }) => {
        const cases = options.case ?? CASES;
        const results = cases.map((name) =>
          benchClassify({
            cases: [name],
            sizes: (options.size ?? SIZES).filter((size) => size <= LARGEST[name]),
            runs: options.runs,
            seed: options.seed,
            peers: options.peers,
            progress: say,
          }),
        );
        clear();
        const all = { ...(results[0] as BenchResult), cases: results.flatMap((result) => result.cases) };
        print(options.json, all, () => asTable(all.cases));
      },
    );
}

/** As JSON, and how many times a peer's added cost ours goes into. */
function asTable(cases: readonly BenchCase[]): string {
  const ours = new Map(
    cases
      .filter(({ subject }) => subject === "xfrm-steer")
      .map((entry) => [`${entry.case} ${entry.size}`, entry]),
  );
  return table(
    ["case", "size", "subject", "median", "added", "x added", "bytes/rule", "build ms", "unit"],
    cases.map((entry) => {
      const own = Number(ours.get(`${entry.case} ${entry.size}`)?.extra.added ?? Number.NaN);
      const added = Number(entry.extra.added ?? Number.NaN);
      return [
        entry.case,
        entry.size,
        entry.subject,
        entry.median,
        added,
        own > 0 ? Math.round((added / own) * 10) / 10 : "",
        entry.extra.bytes_per_rule ?? "",
        entry.extra.build_ms ?? "",
        entry.unit,
      ];
    }),
  );
}
