import { execFileSync } from "node:child_process";

/**
 * Runs an ES module's text in a process of its own, from the project's folder, and gives what it wrote. For what
 * concerns a whole process: its rights, its libraries, its descriptors, or a crash.
 */
export function runModule(
  text: string,
  env: NodeJS.ProcessEnv = {},
  command: readonly string[] = [],
  nodeArguments: readonly string[] = [],
): string {
  const node = [process.execPath, ...nodeArguments, "--input-type=module", "--eval", text];
  const [program = "", ...args] = [...command, ...node];
  return execFileSync(program, args, {
    encoding: "utf8",
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  }).trim();
}
