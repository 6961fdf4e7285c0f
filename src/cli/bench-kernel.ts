import { Command, Option } from "commander";
import { benchKernel, KERNEL_CASES, type KernelCase } from "../bench/kernel.js";
import type { BenchCase } from "../bench/measure.js";
import { DEFAULT_KERNEL } from "../selftest/index.js";
import { print, table } from "./output.js";
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
      const progress = (what: string) => console.error(what);
      const result = await benchKernel({ cases, kernel, sizes: size, interfaces, runs, progress });
      print(json, result, () => asTable(result.cases));
    });
}

function asTable(cases: readonly BenchCase[]): string {
  return table(
    [
      "case",
      "subject",
      "size",
      "instructions",
      "min",
      "max",
      "above fixed",
      "x lwt",
      "make one",
      "bytes of one",
    ],
    cases.map(({ case: name, subject, size, median, min, max, extra }) => [
      ...[name, subject, size, median, min, max],
      ...[
        extra.above_fixed ?? "",
        extra.to_lwt ?? "",
        extra.create_instructions ?? "",
        extra.memory_bytes ?? "",
      ],
    ]),
  );
}
