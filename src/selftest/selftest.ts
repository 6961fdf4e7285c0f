import { release } from "node:os";
import { join } from "node:path";
import { KtapWriter } from "./ktap.js";
import { KtapJoiner } from "./ktap-joiner.js";
import { KtapParser } from "./ktap-parser.js";
import { loadScenarioFile, selectScenarios } from "./load.js";
import { EXIT_FAIL, EXIT_PASS, EXIT_SKIP, exitCode, type Report, reportOf } from "./report.js";
import { runScenarios } from "./run.js";
import type { Scenario } from "./scenario.js";
import { scenarios as builtIn } from "./scenarios/index.js";
import { divide, machinesFor } from "./vm/divide.js";
import { VmError } from "./vm/errors.js";
import { baseArchive } from "./vm/initramfs.js";
import { findKernel, type Kernel } from "./vm/kernel.js";
import { resumed } from "./vm/resume.js";
import { runScenariosInVm } from "./vm/run-scenarios.js";

export interface SelftestOptions {
  /** Files of the user's own scenarios, run instead of the built-in ones. */
  files?: readonly string[];
  /** Part of a scenario's name, or a pattern with "*". */
  filter?: string;
  /** Names of scenarios that are not run. */
  except?: readonly string[];
  /** Only prints the names. */
  list?: boolean;
  /** Prints a {@link Report} at the end instead of KTAP. */
  json?: boolean;
  /** Runs in a VM rather than in this kernel. */
  vm?: boolean;
  /** The VM's kernel: "6.1", "6.12", "7.2" or a path; default 6.12. Implies `vm`. */
  kernel?: string;
  /** Where captures of failed scenarios go, and from a VM its kernel log and console. */
  captures?: string;
  /** Ends the VM after so long; default 1 800 000 ms. */
  limitMs?: number;
  /** Standard output: KTAP as it comes, or the JSON document. */
  write: (text: string) => void;
  /** What takes long, in words, for a terminal. */
  progress?: (message: string) => void;
}

export const DEFAULT_KERNEL = "6.12";

/**
 * Runs selftest scenarios and reports them.
 * @returns 0 passed (some may be skipped), 1 failed, 4 nothing could be run here.
 * @throws ScenarioFileError for a file or filter that cannot be used.
 */
export async function selftest(options: SelftestOptions): Promise<number> {
  const files = options.files ?? [];
  const all = files.length > 0 ? (await Promise.all(files.map(loadScenarioFile))).flat() : builtIn;
  const except = new Set(options.except);
  const inVm = options.vm || options.kernel !== undefined;
  const selected = selectScenarios(all, options.filter).filter(
    ({ name, host = false }) => !except.has(name) && !(inVm && host),
  );
  if (options.list) {
    const names = selected.map(({ name }) => name);
    options.write(options.json ? `${JSON.stringify(names)}\n` : names.map((name) => `${name}\n`).join(""));
    return EXIT_PASS;
  }
  try {
    const report = await (inVm ? inGuest(selected, options) : inHost(selected, options));
    if (options.json) options.write(`${JSON.stringify(report, null, 2)}\n`);
    return exitCode(report);
  } catch (error) {
    if (!(error instanceof NothingRuns)) throw error;
    if (options.json) options.write(`${JSON.stringify(skippedReport(selected, error.message), null, 2)}\n`);
    else KtapWriter.skipAll(options.write, error.message);
    return EXIT_SKIP;
  }
}

/** No scenario can be run here at all; the message says why. */
class NothingRuns extends Error {}

function skippedReport(selected: readonly Scenario[], why: string): Report {
  const tests = selected.map(({ name }) => ({ name, ok: true, skip: why, ms: 0, diagnostics: [] }));
  return { pass: true, kernel: release(), tests };
}

/** Feeds a parser with what is written, and passes it on where KTAP is what the user asked for. */
function follow(parser: KtapParser, options: SelftestOptions): (text: string) => void {
  return (text) => {
    parser.push(text);
    if (!options.json) options.write(text);
  };
}

async function inHost(selected: readonly Scenario[], options: SelftestOptions): Promise<Report> {
  if (process.getuid?.() !== 0) {
    throw new NothingRuns("scenarios make network namespaces: run as root, or in a VM with --vm");
  }
  const parser = new KtapParser();
  const interruption = new AbortController();
  const interrupt = () => interruption.abort();
  process.once("SIGINT", interrupt).once("SIGTERM", interrupt);
  try {
    const { signal } = interruption;
    await runScenarios(selected, { write: follow(parser, options), captures: options.captures, signal });
  } finally {
    process.off("SIGINT", interrupt).off("SIGTERM", interrupt);
  }
  return reportOf(parser, release(), interruption.signal.aborted ? "interrupted" : undefined);
}

async function inGuest(selected: readonly Scenario[], options: SelftestOptions): Promise<Report> {
  const { progress = () => {} } = options;
  const parser = new KtapParser();
  const write = follow(parser, options);
  const kernel = await findKernel(options.kernel ?? DEFAULT_KERNEL, { progress }).catch(asNothingRuns);
  const shares = divide(selected, machinesFor(selected.length));
  progress(`booting Linux ${kernel.release}${shares.length > 1 ? ` in ${shares.length} VMs` : ""}`);
  const broken = await onMachines(kernel, shares, write, options);
  const report = reportOf(parser, kernel.release, broken);
  const last = report.tests.at(-1);
  if (last && report.tests.length > parser.tests.length && !options.json) {
    // The stream broke off: what it could not say itself is said for it.
    options.write(`\n${last.diagnostics.map((line) => `# ${line}\n`).join("")}`);
    options.write(`not ok ${report.tests.length} ${last.name}\n`);
  }
  return report;
}

/** @returns why it did not come to its end, where it did not */
async function oneMachine(
  kernel: Kernel,
  scenarios: readonly Scenario[],
  write: (text: string) => void,
  { files = [], captures, limitMs }: SelftestOptions,
): Promise<string | undefined> {
  try {
    const { status, console: said } = await resumed(scenarios, write, (scenarios, write) =>
      runScenariosInVm({ kernel, scenarios, files, write, captures, limitMs }),
    );
    return status === EXIT_PASS
      ? undefined
      : `the runner in the VM ended with status ${status}:\n${said.trim()}`;
  } catch (error) {
    if (!(error instanceof VmError) || error.kind === "unavailable") return asNothingRuns(error);
    return error.message;
  }
}

/** Machines side by side, whose reports become one. The first one's logs keep their place, vm-2 has the second's. */
async function onMachines(
  kernel: Kernel,
  shares: readonly Scenario[][],
  write: (text: string) => void,
  options: SelftestOptions,
): Promise<string | undefined> {
  if (shares.length > 1) await baseArchive(kernel).catch(asNothingRuns); // once, not by each of them
  const joiner = new KtapJoiner(write, shares.flat().length);
  const ends = await Promise.all(
    shares.map((share, index) => {
      const { captures } = options;
      const own =
        captures === undefined || index === 0 ? {} : { captures: join(captures, `vm-${index + 1}`) };
      return oneMachine(kernel, share, joiner.stream(), { ...options, ...own });
    }),
  );
  joiner.end();
  const broken = ends.filter((end) => end !== undefined);
  return broken.length > 0 ? broken.join("\n") : undefined;
}

function asNothingRuns(error: unknown): never {
  if (error instanceof VmError && error.kind === "unavailable") throw new NothingRuns(error.message);
  throw error;
}

export { EXIT_FAIL, EXIT_PASS, EXIT_SKIP };
