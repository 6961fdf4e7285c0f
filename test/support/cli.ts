import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { packageRoot } from "../../src/sys/paths.js";

export const CLI = join(packageRoot, "bin", "xfrm-steer.js");

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `xfrm-steer` to its end. */
export function xfrmSteer(...args: string[]): Promise<Ran> {
  return execute(process.execPath, [CLI, ...args]);
}

/** Runs any program to its end. */
export async function execute(program: string, args: readonly string[]): Promise<Ran> {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], cwd: packageRoot });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    stdout += chunk;
  });
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    stderr += chunk;
  });
  const [code] = (await once(child, "close")) as [number | null];
  return { code, stdout, stderr };
}
