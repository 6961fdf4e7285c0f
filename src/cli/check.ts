import { Command } from "commander";
import { compile } from "../compiler/compile.js";
import { formatDiagnostic } from "../config/index.js";
import { ExitCode } from "./exit.js";
import { print } from "./output.js";
import { loadFile } from "./policy-file.js";

/** Compiling needs device numbers; checking must not depend on which devices this machine has. */
const ANY_DEVICE = { ifindexOf: () => 1, ifindexesOfGroup: () => [1] };

export function checkCommand(): Command {
  return new Command("check")
    .description("validate policies; diagnostics as file:line:column, exit 2 on an error")
    .argument("<file...>", "steer.yaml files")
    .option("--keys", "open the keys too: they must be there, private, and of the right length")
    .option("--json", "one JSON document on stdout")
    .addHelpText("after", "\nExample:\n  xfrm-steer check /etc/xfrm-steer/steer.yaml --keys")
    .action((files: string[], options: { keys?: boolean; json?: boolean }) => {
      const results = files.map((file) => {
        const { policy, diagnostics } = loadFile(file, { keys: options.keys ?? false });
        if (policy !== null) compile(policy, ANY_DEVICE);
        return {
          file,
          ok: policy !== null,
          connections: policy?.connections.length ?? 0,
          rules: policy?.rules.length ?? 0,
          diagnostics,
        };
      });
      print(options.json, results, () =>
        results
          .flatMap(({ file, ok, connections, rules, diagnostics }) => [
            ...diagnostics.map(formatDiagnostic),
            ...(ok ? [`${file}: ok, ${connections} connections, ${rules} rules`] : []),
          ])
          .join("\n"),
      );
      if (results.some(({ ok }) => !ok)) process.exitCode = ExitCode.usage;
    });
}
