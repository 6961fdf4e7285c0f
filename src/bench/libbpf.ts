import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { compile } from "bpf-linker";
import { BpfObject, Btf, codec, modelOf, RingBuffer } from "libbpf-ts";
import { bpfObjectPath, packageRoot } from "../sys/paths.js";
import { type BenchCase, type BenchResult, machine, median } from "./measure.js";

interface Work {
  readonly case: (typeof LIBBPF_CASES)[number];
  readonly unit: string;
  readonly size: number;
  /** The object, and the work on it; gives the ns it took. */
  readonly object: string;
  readonly ours: (path: string, size: number) => number;
}

/** ns that a piece of work takes. */
function timed(work: () => void): number {
  const started = process.hrtime.bigint();
  work();
  return Number(process.hrtime.bigint() - started);
}

const CHUNK = 4096;

function onTable(
  work: (table: ReturnType<BpfObject["map"]>, keys: BigUint64Array, values: BigUint64Array) => void,
) {
  return (path: string, size: number, isFilled: boolean): number => {
    using object = BpfObject.open(path);
    const table = object.load().map("table");
    const keys = new BigUint64Array(size).map((_, i) => BigInt(i));
    if (isFilled) table.updateBatch(keys, keys);
    return timed(() => work(table, keys, keys));
  };
}

const update = onTable((table, keys, values) => {
  // One view a key, made before: what is measured is the call.
  for (let i = 0; i < keys.length; i++) table.update(keys.subarray(i, i + 1), values.subarray(i, i + 1));
});
const lookup = onTable((table, keys) => {
  const into = new BigUint64Array(1);
  for (let i = 0; i < keys.length; i++) table.lookup(keys.subarray(i, i + 1), into);
});
const updateBatch = onTable((table, keys, values) => {
  table.updateBatch(keys, values);
});
const lookupBatch = onTable((table) => {
  let sum = 0n;
  for (const { values, count } of table.lookupBatches(CHUNK)) {
    const words = new BigUint64Array(values.buffer, values.byteOffset, count);
    for (let i = 0; i < count; i++) sum += words[i] as bigint;
  }
  return sum;
});

/** Drains a ring that holds all events already: the reader's rate, without the program's. */
function ring(path: string, size: number): number {
  using object = BpfObject.open(path);
  object.load();
  const btf = Btf.parse(readFileSync(path));
  const event = codec<{ number: bigint; length: number; mark: number }>(
    modelOf(
      btf,
      btf.types.findIndex((type) => type.name === "event"),
    ),
  );
  using ring = new RingBuffer(object.map("events"), event);
  object.program("emit").testRun({ data: new Uint8Array(64), repeat: size / 1000 });
  let lengths = 0;
  let count = 0;
  const took = timed(() => {
    count = ring.drain(({ length }) => {
      lengths += length;
    });
  });
  if (count !== size || lengths !== size * 64) throw new Error(`${count} events of ${size}`);
  return took;
}

function load(path: string, size: number): number {
  return timed(() => {
    for (let i = 0; i < size; i++) {
      using object = BpfObject.open(path);
      object.load();
    }
  });
}

/** In order. */
export const LIBBPF_CASES = ["update", "lookup", "update batch", "lookup batch", "ring", "load"] as const;

export interface LibbpfBenchOptions {
  /** Runs of each case and subject, one after the other in turn; 9 if left out. */
  runs?: number;
  /** Given each row when it is done. */
  onRow?: (row: BenchCase) => void;
  /** Called with a case's name before it starts. */
  onCase?: (name: string) => void;
}

/**
 * Measures libbpf-ts against the same work in C on the same libbpf, built here with `cc` (needs gcc or clang, and
 * libbpf-dev), in one run, the two in turn. Needs root.
 * @throws Error where cc is missing; the errors of bpf-linker and libbpf-ts
 */
export async function benchLibbpf({
  runs = 9,
  onRow,
  onCase,
}: LibbpfBenchOptions = {}): Promise<BenchResult> {
  const folder = mkdtempSync(join(tmpdir(), "bench-libbpf-"));
  try {
    const source = (name: string): string => join(packageRoot, "src", "bench", name);
    const peer = join(folder, "peer");
    execFileSync("cc", ["-O2", "-o", peer, source("libbpf-peer.c"), "-lbpf"], { stdio: "pipe" });
    const { object } = await compile(source("libbpf-peer.bpf.c"), { output: join(folder, "peer.bpf.o") });
    const works: Work[] = [
      { case: "update", unit: "operations/s", size: 100_000, object, ours: (p, n) => update(p, n, false) },
      { case: "lookup", unit: "operations/s", size: 100_000, object, ours: (p, n) => lookup(p, n, true) },
      {
        case: "update batch",
        unit: "entries/s",
        size: 200_000,
        object,
        ours: (p, n) => updateBatch(p, n, false),
      },
      {
        case: "lookup batch",
        unit: "entries/s",
        size: 200_000,
        object,
        ours: (p, n) => lookupBatch(p, n, true),
      },
      { case: "ring", unit: "events/s", size: 500_000, object, ours: ring },
      { case: "load", unit: "loads/s", size: 20, object: bpfObjectPath("steer_test"), ours: load },
    ];
    const cases: BenchCase[] = [];
    for (const work of works) {
      await turn(); // for signals
      onCase?.(work.case);
      const rows = measure(work, peer, runs);
      for (const row of rows) onRow?.(row);
      cases.push(...rows);
    }
    return { bench: "libbpf", machine: machine(), cases };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function measure(work: Work, peer: string, runs: number): BenchCase[] {
  const rates = { ours: [] as number[], theirs: [] as number[] };
  const rate = (ns: number): number => (work.size * 1e9) / ns;
  work.ours(work.object, work.size); // the JIT's turn
  for (let run = 0; run < runs; run++) {
    rates.ours.push(rate(work.ours(work.object, work.size)));
    rates.theirs.push(rate(Number(execFileSync(peer, [work.object, work.case, String(work.size)]))));
  }
  const result = (subject: string, values: readonly number[], extra: BenchCase["extra"]): BenchCase => ({
    case: work.case,
    size: work.size,
    subject,
    unit: work.unit,
    median: median(values),
    min: Math.min(...values),
    max: Math.max(...values),
    runs,
    extra,
  });
  const ratio = median(rates.ours) / median(rates.theirs);
  return [result("libbpf-ts", rates.ours, { ratio }), result("libbpf in C", rates.theirs, {})];
}
