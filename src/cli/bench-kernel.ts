import { Command, Option } from "commander";
import { benchKernel, KERNEL_CASES, type KernelCase } from "../bench/kernel.js";
import { machine } from "../bench/measure.js";
import { DEFAULT_KERNEL } from "../selftest/index.js";
import { BenchReport, type Column, extra, FIRST_COLUMNS } from "./bench-report.js";
import { count, counts } from "./values.js";

const SIZES = [1, 100, 10_000, 100_000, 1_000_000];

interface KernelFlags {
  case: readonly KernelCase[];
  kernel: string;
  size?: number[];
  interfaces?: number[];
  runs: number;
  json?: boolean;
}

export function benchKernelCommand(): Command {
  return new Command("kernel")
    .description(
      "instructions a packet in a real kernel (in a VM): the steering program alone, and the whole way",
    )
    .addOption(
      new Option("--case <name...>", "the program alone, the whole way; both if left out")
        .choices(KERNEL_CASES)
        .default(KERNEL_CASES, ""),
    )
    .option("--kernel <version>", '"6.12", "7.2" or the path of an unpacked kernel', DEFAULT_KERNEL)
    .option("--size <n...>", "numbers of subnets and routes", counts)
    .option(
      "--interfaces <n...>",
      "numbers of interfaces, one a connection; those of --size up to 10,000 if left out",
      counts,
    )
    .option("--runs <n>", "runs of each subject on the whole way, of which the median counts", count, 25)
    .option("--json", "one JSON document on stdout")
    .addHelpText("after", "\nExample:\n  xfrm-steer bench kernel --size 1 100 10000")
    .action(async ({ kernel, case: cases, size = SIZES, interfaces, runs, json }: KernelFlags) => {
      let guest = machine();
      const report = new BenchReport({
        bench: "kernel",
        machine: () => guest,
        json,
        columns: COLUMNS,
        planned: cases.flatMap((name) => size.map((each) => `${name} ${each}`)),
        partOf: (row) => `${row.case} ${row.size}`,
      });
      await benchKernel({
        ...{ cases, kernel, sizes: size, interfaces, runs },
        onMachine: (found) => {
          guest = found;
        },
        onRow: report.row,
        progress: (what) => console.error(what),
      });
      report.end();
    });
}

const COLUMNS: readonly Column[] = [
  ...FIRST_COLUMNS,
  { title: "instructions", width: 12, cell: ({ median }) => median },
  { title: "min", width: 9, cell: ({ min }) => min },
  { title: "max", width: 9, cell: ({ max }) => max },
  extra("above fixed", 11, "above_fixed"),
  extra("x lwt", 7, "to_lwt"),
  extra("make one", 9, "create_instructions"),
  extra("bytes of one", 12, "memory_bytes"),
];
