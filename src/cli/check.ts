import { Command } from "commander";
import { compile, type Devices } from "../compiler/compile.js";
import { CompileError } from "../compiler/error.js";
import { lint } from "../compiler/lint.js";
import { underlayNotes } from "../compiler/underlay.js";
import { type Diagnostic, formatDiagnostic, type Policy } from "../config/index.js";
import { ExitCode } from "./exit.js";
import { FixIts } from "./fix-it.js";
import { print } from "./output.js";
import { loadFile } from "./policy-file.js";

/** Compiling needs device numbers; checking must not depend on which devices this machine has. */
export const ANY_DEVICE: Devices = { ifindexOf: () => 1, ifindexesOfGroup: () => [1] };

export function checkCommand(): Command {
  return new Command("check")
    .description("validate policies; diagnostics as file:line:column, exit 2 on an error")
    .argument("<file...>", "steer.yaml files or bundles")
    .option("--keys", "open the keys too: they must be there, private, and of the right length")
    .option("--fix-it", "show the line as it should be, where that is plain; nothing is written")
    .option("--json", "one JSON document on stdout")
    .addHelpText("after", "\nExample:\n  xfrm-steer check /etc/xfrm-steer/steer.yaml --keys --fix-it")
    .action((files: string[], options: { keys?: boolean; fixIt?: boolean; json?: boolean }) => {
      const results = files.map((file) => {
        const { policy, diagnostics } = loadFile(file, { keys: options.keys ?? false });
        const misfits = policy === null ? [] : misfitsOf(policy, file);
        const { subnets4, subnets6, exact4, exact6 } = policy?.flows ?? {};
        const flows = [subnets4, subnets6, exact4, exact6];
        return {
          file,
          ok: policy !== null && misfits.length === 0,
          connections: policy?.connections.length ?? 0,
          rules: policy?.rules.length ?? 0,
          flows: flows.reduce((sum, rows) => sum + (rows?.line.length ?? 0), 0),
          diagnostics:
            policy === null
              ? diagnostics
              : [...diagnostics, ...misfits, ...lint(policy), ...underlayNotes(policy)],
        };
      });
      const fixIts = new FixIts();
      print(options.json, results, () =>
        results
          .flatMap(({ file, ok, connections, rules, flows, diagnostics }) => [
            ...diagnostics.flatMap((diagnostic) => [
              formatDiagnostic(diagnostic),
              ...(options.fixIt ? fixIts.of(diagnostic) : []),
            ]),
            ...(ok ? [`${file}: ok, ${connections} connections, ${rules} rules${countOf(flows)}`] : []),
          ])
          .join("\n"),
      );
      if (results.some(({ ok }) => !ok)) process.exitCode = ExitCode.usage;
    });
}

/** What of a policy the tables cannot hold. */
function misfitsOf(policy: Policy, file: string): readonly Diagnostic[] {
  try {
    compile(policy, ANY_DEVICE);
    return [];
  } catch (error) {
    if (!(error instanceof CompileError)) throw error;
    const { whole, diagnostics } = error;
    return whole === null ? diagnostics : [{ file, line: 1, column: 1, severity: "error", ...whole }];
  }
}

function countOf(flows: number): string {
  return flows === 0 ? "" : `, ${flows} flows`;
}
