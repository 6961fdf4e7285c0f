import { Command } from "commander";
import { benchLibbpf, LIBBPF_CASES } from "../bench/libbpf.js";
import { machine } from "../bench/measure.js";
import { demandRoot } from "./backend.js";
import { BenchReport, extra, FIRST_COLUMNS, VALUE_COLUMNS } from "./bench-report.js";

export function benchLibbpfCommand(): Command {
  return new Command("libbpf")
    .description("libbpf-ts against the same work in C, in one run; needs root and a C compiler")
    .option("--json", "one JSON document on stdout")
    .addHelpText("after", "\nExample:\n  sudo xfrm-steer bench libbpf")
    .action(async ({ json }: { json?: boolean }) => {
      demandRoot("bench libbpf");
      const report = new BenchReport({
        bench: "libbpf",
        machine,
        json,
        columns: [...FIRST_COLUMNS, ...VALUE_COLUMNS, extra("of C", 6, "ratio")],
        planned: LIBBPF_CASES,
        partOf: (row) => row.case,
      });
      await benchLibbpf({ onRow: report.row, onCase: (name) => console.error(name) });
      report.end();
    });
}
