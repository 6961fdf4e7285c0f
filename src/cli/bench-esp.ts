import { Command, Option } from "commander";
import { benchEsp, ESP_CASES, ESP_SUBJECTS, type EspCaseName, type EspSubjectName } from "../bench/esp.js";
import { machine } from "../bench/measure.js";
import { demandRoot } from "./backend.js";
import { BenchReport, FIRST_COLUMNS, VALUE_COLUMNS } from "./bench-report.js";
import { count } from "./values.js";

interface EspFlags {
  case?: EspCaseName[];
  subject?: EspSubjectName[];
  device?: "sim";
  runs: number;
  seconds: number;
  json?: boolean;
}

const OURS = ESP_SUBJECTS.filter((name) => name.startsWith("xfrm-steer/"));

export function benchEspCommand(): Command {
  return new Command("esp")
    .description(
      "the userspace ESP data path between two namespaces, beside the bare link; needs root and iperf3",
    )
    .addOption(new Option("--case <name...>", "what to measure; all if left out").choices(ESP_CASES))
    .addOption(new Option("--subject <name...>", "whom to measure; all if left out").choices(ESP_SUBJECTS))
    .addOption(
      new Option(
        "--device <name>",
        "only the data path itself: with its SAs on a simulated device, and without",
      )
        .choices(["sim"])
        .conflicts("subject"),
    )
    .option("--runs <n>", "runs of each subject, of which the median counts", count, 5)
    .option("--seconds <n>", "length of each measurement", count, 3)
    .option("--json", "one JSON document on stdout")
    .addHelpText("after", "\nExample:\n  sudo xfrm-steer bench esp --case tcp1")
    .action(async (options: EspFlags) => {
      demandRoot("bench esp");
      const cases = options.case ?? ESP_CASES;
      const report = new BenchReport({
        bench: "esp",
        machine,
        json: options.json,
        columns: [...FIRST_COLUMNS, ...VALUE_COLUMNS],
        planned: cases,
        partOf: (row) => row.case,
      });
      await benchEsp({
        cases,
        subjects: options.subject ?? (options.device === undefined ? ESP_SUBJECTS : OURS),
        runs: options.runs,
        seconds: options.seconds,
        onRow: report.row,
        progress: (what) => console.error(what),
      });
      report.end();
    });
}
