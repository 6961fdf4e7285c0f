import { Command, Option } from "commander";
import { benchApply } from "../bench/apply.js";
import { CASES, type Case, LARGEST } from "../bench/cases.js";
import { benchClassify } from "../bench/classify.js";
import { machine } from "../bench/measure.js";
import { benchEspCommand } from "./bench-esp.js";
import { benchKernelCommand } from "./bench-kernel.js";
import { benchLibbpfCommand } from "./bench-libbpf.js";
import { BenchReport, type Column, extra, FIRST_COLUMNS, VALUE_COLUMNS } from "./bench-report.js";
import { benchSoakCommand } from "./bench-soak.js";
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
    .action(async (options: { size?: number[]; runs: number; seed: number; json?: boolean }) => {
      const sizes = options.size ?? SIZES;
      const report = new BenchReport({
        bench: "apply",
        machine,
        json: options.json,
        columns: [...FIRST_COLUMNS, ...VALUE_COLUMNS],
        planned: sizes.map(String),
        partOf: ({ size }) => String(size),
      });
      await benchApply({ ...options, sizes, onRow: report.row, progress: say });
      report.end();
    });
}

function say(what: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${what} ...`);
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
      async (options: {
        case?: Case[];
        size?: number[];
        runs: number;
        seed: number;
        peers: boolean;
        json?: boolean;
      }) => {
        const { case: cases = CASES, size: sizes = SIZES } = options;
        const report = new BenchReport({
          bench: "classify",
          machine,
          json: options.json,
          columns: CLASSIFY_COLUMNS,
          planned: cases.flatMap((name) =>
            sizes.filter((size) => size <= LARGEST[name]).map((size) => `${name} ${size}`),
          ),
          partOf: (row) => `${row.case.split("-")[0]} ${row.size}`,
        });
        await benchClassify({ ...options, cases, sizes, onRow: report.row, progress: say });
        report.end();
      },
    );
}

/** With what a key costs above a table of one entry, and how many times ours goes into a peer's. */
const CLASSIFY_COLUMNS: readonly Column[] = [
  ...FIRST_COLUMNS,
  { title: "median", width: 9, cell: ({ median }) => median },
  extra("added", 9, "added"),
  {
    title: "x added",
    width: 8,
    cell: (row, all) => {
      const own = all.find(
        (each) => each.subject === "xfrm-steer" && each.case === row.case && each.size === row.size,
      );
      const [base, added] = [Number(own?.extra.added), Number(row.extra.added)];
      return base > 0 ? Math.round((added / base) * 10) / 10 : "";
    },
  },
  extra("bytes/rule", 10, "bytes_per_rule"),
  extra("build ms", 8, "build_ms"),
  { title: "unit", width: 9, text: true, cell: ({ unit }) => unit },
];
