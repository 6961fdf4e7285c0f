import { spawnSync } from "node:child_process";

/** iproute2 refused; the message has its own words. */
export class IpError extends Error {
  override readonly name = "IpError";
  readonly args: readonly string[];
  readonly said: string;

  constructor(args: readonly string[], said: string) {
    super(`ip ${args.join(" ")}: ${said}`);
    this.args = args;
    this.said = said;
  }
}

/**
 * Runs iproute2's `ip` in the calling thread's network namespace and returns what it prints.
 *
 * @throws IpError
 */
export function ip(...args: string[]): string {
  return run(args);
}

/** As `ip`, many commands in one process, one a line, with options such as -6 for all; stops at the first that fails, and names it. */
export function ipBatch(lines: readonly string[], options: readonly string[] = []): void {
  if (lines.length === 0) return;
  try {
    run([...options, "-batch", "-"], lines.join("\n"));
  } catch (error) {
    if (!(error instanceof IpError)) throw error;
    const [ending, number] = error.said.match(/Command failed -:(\d+)/) ?? [""];
    const line = lines[Number(number) - 1];
    throw line === undefined ? error : new IpError(line.split(" "), error.said.replace(ending, "").trim());
  }
}

/** As `ipBatch`, but goes on behind a command that fails, and says nothing of it: for what may be gone already. */
export function ipBatchForced(lines: readonly string[], options: readonly string[] = []): void {
  if (lines.length === 0) return;
  try {
    run([...options, "-force", "-batch", "-"], lines.join("\n"));
  } catch (error) {
    if (!(error instanceof IpError)) throw error;
  }
}

/** `ip -json ...`, parsed; an empty answer is an empty list. */
export function ipJson<T extends object>(...args: string[]): T[] {
  const text = run(["-json", ...args]);
  const list = text.trim() === "" ? [] : (JSON.parse(text) as T[]);
  // Of what a filter such as `group` leaves out, iproute2 prints an empty object.
  return list.filter((entry) => Object.keys(entry).length > 0);
}

function run(args: readonly string[], input = ""): string {
  const { status, signal, stdout, stderr, error } = spawnSync("ip", args, {
    encoding: "utf8",
    input,
    maxBuffer: Number.POSITIVE_INFINITY, // thousands of routes or SAs are longer than the default of a megabyte
    // Made here and not once: a key in a variable becomes no string that outlives the variable.
    env: { ...process.env, PATH: `${process.env.PATH ?? ""}:/usr/sbin:/sbin`, LC_ALL: "C" },
  });
  // Where it ends before it has read all of a list, there is an error too; what it said is why.
  const said = stderr?.trim() || (signal ? `it was ended by ${signal}` : "");
  if (error && said === "") throw new IpError(args, `${error.message}; install iproute2`);
  if (error || status !== 0) throw new IpError(args, said || `exit ${status}`);
  return stdout;
}
