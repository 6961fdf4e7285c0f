import { cpus, release } from "node:os";

/** One line of a bench's result; units say what the numbers are. */
export interface BenchCase {
  readonly case: string;
  readonly size: number;
  readonly subject: string;
  readonly unit: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly runs: number;
  readonly extra: Readonly<Record<string, number | string>>;
}

export interface BenchResult {
  readonly bench: string;
  readonly machine: {
    readonly cpu: string;
    readonly cpus: number;
    readonly kernel: string;
    readonly node: string;
  };
  readonly cases: readonly BenchCase[];
}

export function machine(): BenchResult["machine"] {
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cpus: cpus().length,
    kernel: release(),
    node: process.versions.node,
  };
}

export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

/** Rounded to two decimals: more is noise. */
export function summarise(samples: readonly number[]): Pick<BenchCase, "median" | "min" | "max" | "runs"> {
  const round = (x: number) => Math.round(x * 100) / 100;
  return {
    median: round(median(samples)),
    min: round(Math.min(...samples)),
    max: round(Math.max(...samples)),
    runs: samples.length,
  };
}
