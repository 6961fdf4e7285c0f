import { spawn } from "node:child_process";

/** What a finished command left: exit status (null when a signal ended it) and its whole output. */
export interface CommandResult {
  status: number | null;
  stdout: string;
  stderr: string;
}

export interface CommandOptions {
  /** Written to the command's standard input, which is then closed. */
  input?: string;
  cwd?: string;
  /** Ends the command with SIGKILL after so many milliseconds; default 120 000. */
  timeoutMs?: number;
}

/** A command that could not be started, or ended with a status other than 0. */
export class CommandError extends Error {
  readonly command: string;
  readonly result: CommandResult;

  constructor(command: string, result: CommandResult, cause?: unknown) {
    const said = (result.stderr || result.stdout).trim();
    const how = result.status === null ? "was ended by a signal or its time limit" : `exit ${result.status}`;
    super(`${command}: ${cause instanceof Error ? cause.message : how}${said ? `: ${said}` : ""}`, { cause });
    this.name = "CommandError";
    this.command = command;
    this.result = result;
  }
}

/**
 * Runs a command without a shell and collects its output; a status other than 0 is a result, not an error.
 * @throws CommandError when it cannot be started.
 */
export function tryCommand(
  file: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      cwd: options.cwd,
      env: { ...process.env, LC_ALL: "C", NO_COLOR: "1" },
      stdio: [options.input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
      timeout: options.timeoutMs ?? 120_000,
      killSignal: "SIGKILL",
    });
    const result: CommandResult = { status: null, stdout: "", stderr: "" };
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      result.stdout += text;
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      result.stderr += text;
    });
    child.on("error", (error) => reject(new CommandError([file, ...args].join(" "), result, error)));
    child.on("close", (status) => resolve({ ...result, status }));
    // A command may end without reading all of its input: its status tells more than EPIPE would.
    child.stdin?.on("error", () => {}).end(options.input);
  });
}

/**
 * As {@link tryCommand}, for commands that have to succeed.
 * @returns standard output.
 * @throws CommandError with the command, its status and what it wrote to stderr.
 */
export async function command(
  file: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const result = await tryCommand(file, args, options);
  if (result.status !== 0) throw new CommandError([file, ...args].join(" "), result);
  return result.stdout;
}
