import { Command } from "commander";
import { benchLibbpf } from "../bench/libbpf.js";
import { demandRoot } from "./backend.js";
import { print, table } from "./output.js";

export function benchLibbpfCommand(): Command {
  return new Command("libbpf")
    .description("libbpf-ts against the same work in C, in one run; needs root and a C compiler")
    .option("--json", "one JSON document on stdout")
    .addHelpText("after", "\nExample:\n  sudo xfrm-steer bench libbpf")
    .action(async ({ json }: { json?: boolean }) => {
      demandRoot("bench libbpf");
      const result = await benchLibbpf({ onCase: (name) => console.error(name) });
      print(json, result, () =>
        table(
          ["case", "subject", "median", "unit", "of C"],
          result.cases.map((each) => [
            each.case,
            each.subject,
            Math.round(each.median),
            each.unit,
            each.extra.ratio?.toFixed(2) ?? "",
          ]),
        ),
      );
    });
}
