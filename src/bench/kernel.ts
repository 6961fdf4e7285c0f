import { serialize } from "node:v8";
import { compile } from "../compiler/compile.js";
import { DEFAULT_KERNEL, findKernel, guestFile, runVm } from "../selftest/index.js";
import type { GuestPlan, GuestReport } from "./kernel-guest.js";
import { subnetPolicy } from "./kernel-policy.js";
import type { BenchCase, BenchResult } from "./measure.js";

/** The bench broke off in the VM; the message has the guest's words. */
export class BenchError extends Error {
  override readonly name = "BenchError";
}

export const KERNEL_CASES = ["steer", "path"] as const;
export type KernelCase = (typeof KERNEL_CASES)[number];

export interface KernelBenchOptions {
  readonly cases: readonly KernelCase[];
  /** As `selftest --kernel`. */
  readonly kernel?: string | undefined;
  /** Numbers of subnets and routes. */
  readonly sizes: readonly number[];
  /** Numbers of interfaces, one a connection; those of `sizes` up to 10,000 if left out. */
  readonly interfaces?: readonly number[] | undefined;
  /** Runs of each subject on the whole way. */
  readonly runs: number;
  /** Given each row when it is done: those of ours when the peers that they are compared with are. */
  readonly onRow?: (row: BenchCase) => void;
  /** Given the VM, before the first row. */
  readonly onMachine?: (machine: BenchResult["machine"]) => void;
  /** Called with what it does. */
  readonly progress?: (what: string) => void;
}

/** Interfaces cost memory and time: no more than this. */
const MOST_INTERFACES = 10_000;
const LIMIT_MS = 30 * 60_000;
/** Adding a million routes says nothing for a while. */
const SILENCE_MS = 10 * 60_000;

/**
 * Instructions a packet, counted by a VM whose clock ticks once an instruction (-icount): the same in every run, but for
 * the guest's own timer interrupts.
 *
 * @throws VmError where no VM can be had; BenchError
 */
export async function benchKernel(options: KernelBenchOptions): Promise<BenchResult> {
  const { sizes, runs, progress = () => {} } = options;
  const started = performance.now();
  const kernel = await findKernel(options.kernel ?? DEFAULT_KERNEL, { progress });
  const plan: GuestPlan = {
    cases: options.cases,
    sizes: [...sizes].sort((a, b) => a - b),
    interfaces: [...(options.interfaces ?? sizes.filter((size) => size <= MOST_INTERFACES))].sort(
      (a, b) => a - b,
    ),
    runs,
  };
  const generations = plan.sizes.map((size) => {
    progress(`compiling ${size} subnets`);
    const generation = compile(subnetPolicy(size), { ifindexOf: () => 0, ifindexesOfGroup: () => [] });
    return guestFile(`xfrm-steer/bench/${size}.generation`, serialize(generation));
  });
  const cases: BenchCase[] = [];
  let machine: BenchResult["machine"] | undefined;
  let rest = "";
  const take = (line: string) => {
    const report = JSON.parse(line) as GuestReport;
    if ("progress" in report) {
      progress(`${Math.round((performance.now() - started) / 1000)} s: ${report.progress}`);
    } else if ("machine" in report) {
      machine = report.machine;
      options.onMachine?.(machine);
    } else {
      cases.push(report);
      if (report.subject === "xfrm-steer" && report.case === "path") waiting.push(report);
      else options.onRow?.(compared(report, cases));
      if (report.subject === "lwt") release(({ size }) => size === report.size);
    }
  };
  /** Rows of ours, until LWT was measured at their size. */
  let waiting: BenchCase[] = [];
  const release = (ready: (row: BenchCase) => boolean) => {
    for (const row of waiting.filter(ready)) options.onRow?.(compared(row, cases));
    waiting = waiting.filter((row) => !ready(row));
  };
  const large = Math.max(...sizes) > 100_000;
  const { status, console: said } = await runVm({
    kernel,
    command: ["node", "/xfrm-steer/dist/src/bench/kernel-guest.js", "/xfrm-steer/bench/plan.json"],
    files: [guestFile("xfrm-steer/bench/plan.json", Buffer.from(JSON.stringify(plan))), ...generations],
    memoryMb: large ? 6144 : 1024,
    instructionClock: true,
    limitMs: LIMIT_MS,
    silenceMs: SILENCE_MS,
    onOutput: (chunk) => {
      const lines = (rest + chunk.toString("utf8")).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) if (line.trim() !== "") take(line);
    },
  });
  if (status !== 0 || !machine)
    throw new BenchError(`the bench in the VM ended with status ${status}:\n${said.trim().slice(-2000)}`);
  release(() => true);
  return { bench: "kernel", machine, cases: cases.map((entry) => compared(entry, cases)) };
}

/** With what a reader wants to know first: ours against `fixed`, and against LWT at the same size. */
function compared(entry: BenchCase, all: readonly BenchCase[]): BenchCase {
  if (entry.subject !== "xfrm-steer") return entry;
  const other = (subject: string, size: number) =>
    all.find((each) => each.case === entry.case && each.subject === subject && each.size === size);
  const fixed = other("fixed", 0);
  const lwt = other("lwt", entry.size);
  return {
    ...entry,
    extra: {
      ...entry.extra,
      ...(fixed ? { above_fixed: Math.round((entry.median - fixed.median) * 10) / 10 } : {}),
      ...(lwt ? { to_lwt: Math.round((entry.median / lwt.median) * 10_000) / 10_000 } : {}),
    },
  };
}
