import { randomUUID } from "node:crypto";
import { renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { Command } from "commander";
import { encodeBundle } from "../compiler/bundle/index.js";
import { compile } from "../compiler/compile.js";
import { withBuiltProgram } from "../program/build.js";
import { ANY_DEVICE } from "./check.js";
import { CliError, ExitCode } from "./exit.js";
import { print, writing } from "./output.js";
import { demandPolicy } from "./policy-file.js";

/** The whole file or none of it. A file takes the place of what is there, which must not be a device: /dev/null is everybody's. */
function write(output: string, bundle: Uint8Array): void {
  const there = statSync(output, { throwIfNoEntry: false });
  if (there !== undefined && !there.isFile() && !there.isDirectory())
    throw new CliError(
      `${output} is no regular file, and a bundle would take its place; name a file`,
      ExitCode.usage,
    );
  writing(output, () => {
    // Of a name that nobody can have put a link under, in a folder where others may write.
    const unfinished = `${output}.${randomUUID()}`;
    try {
      writeFileSync(unfinished, bundle, { flag: "wx" });
      renameSync(unfinished, output);
    } catch (error) {
      rmSync(unfinished, { force: true });
      throw error;
    }
  });
}

export function compileCommand(): Command {
  return new Command("compile")
    .description("a policy with all its files as one bundle (protobuf), for `apply` on any machine")
    .argument("<file>", "steer.yaml")
    .requiredOption("-o, --output <bundle>", "the bundle to write")
    .option("--json", "one JSON document on stdout")
    .addHelpText("after", "\nExample:\n  xfrm-steer compile steer.yaml -o steer.bundle")
    .action(async (file: string, { output, json }: { output: string; json?: boolean }) => {
      const policy = demandPolicy(file);
      // What does not fit the tables is better found out here. The gateway may yet refuse a rule for a device group: its
      // members are not known here, and taken for one.
      const { tables } = compile(policy, ANY_DEVICE);
      // The object is the user's half alone, for either backend: apply links it with its own.
      const bundle = encodeBundle(await withBuiltProgram(policy));
      write(output, bundle);
      const tableBytes = Object.values(tables).reduce((sum, { length }) => sum + length, 0);
      print(json, { file, bundle: output, bytes: bundle.length, tableBytes }, () =>
        [`${output}: ${bundle.length} bytes`, `  compiles to ${tableBytes} bytes of tables`].join("\n"),
      );
    });
}
