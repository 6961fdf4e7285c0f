import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { attachTc, BpfMap, type BpfObject, MapType, type TcLink } from "libbpf-ts";
import { loadRules } from "../backends/classifier.js";
import { type Compiled, compile } from "../compiler/compile.js";
import { loadPolicy } from "../config/index.js";
import type { Policy } from "../config/policy.js";
import { hostDevices } from "../sys/devices.js";
import { ipJson } from "../sys/ip.js";
import { openTun } from "../sys/tun.js";
import { BENCH_DEVICES, benchPolicy } from "./cases.js";
import { type BenchCase, type BenchResult, machine, summarise } from "./measure.js";

export interface ApplyOptions {
  readonly sizes: readonly number[];
  readonly runs: number;
  readonly seed: number;
  /** Given each row when it is done. */
  readonly onRow?: (row: BenchCase) => void;
  readonly progress?: (what: string) => void;
}

/** A TUN device that carries no traffic, to attach generations to; it goes when closed. */
interface Hook {
  /** Puts the object's program in place of the one before. */
  swap(object: BpfObject): void;
  close(): void;
}

function openHook(): Hook {
  const tun = openTun("xsbench%d");
  const [device] = ipJson<{ ifindex: number }>("link", "show", "dev", tun.name);
  let link: TcLink | null = null;
  return {
    swap: (object) => {
      const program = object.program("tun_egress");
      if (link) link.update(program);
      else link = attachTc({ ifindex: device?.ifindex ?? 0, direction: "egress", program });
    },
    close: () => {
      link?.close();
      tun.close();
    },
  };
}

/**
 * From a file with bulk subnets to the running program, in steps, against a batched update of as many entries of a hash
 * map; and a change of one connection against all of that anew.
 */
export async function benchApply(options: ApplyOptions): Promise<BenchResult> {
  const { sizes, runs, seed } = options;
  const hook = openHook();
  try {
    const cases: BenchCase[] = [];
    for (const size of sizes) {
      await turn(); // for signals
      options.progress?.(`subnets ${size}`);
      const rows = [
        ...subnets(size, runs, seed, hook),
        ...(size <= RULES_LARGEST ? oneChange(size, runs, seed, hook) : []),
      ];
      for (const row of rows) options.onRow?.(row);
      cases.push(...rows);
    }
    return { bench: "apply", machine: machine(), cases };
  } finally {
    hook.close();
  }
}

const RULES_LARGEST = 100_000;

function subnets(size: number, runs: number, seed: number, hook: Hook): BenchCase[] {
  const folder = mkdtempSync(join(tmpdir(), "xfrm-steer-bench-"));
  try {
    const file = writePolicy(folder, size, seed);
    const total: number[] = [];
    const steps = {
      parse: [] as number[],
      compile: [] as number[],
      load: [] as number[],
      swap: [] as number[],
    };
    const batch: number[] = [];
    let bytes = 0;
    let before: BpfObject | null = null;
    for (let run = 0; run < runs; run++) {
      const times = [performance.now()];
      const lap = () => times.push(performance.now());
      const { policy, diagnostics } = loadPolicy(file);
      if (policy === null) throw new Error(`the bench's own policy is wrong: ${diagnostics[0]?.message}`);
      lap();
      const generation = compile(policy, hostDevices());
      lap();
      const object = loadRules("tun", generation);
      lap();
      hook.swap(object);
      lap();
      before?.close();
      before = object;
      bytes = Object.values(generation.tables).reduce((sum, { length }) => sum + length, 0);
      Object.values(steps).forEach((samples, i) => {
        samples.push((times[i + 1] as number) - (times[i] as number));
      });
      total.push((times[4] as number) - (times[0] as number));
      batch.push(hashBatch(size));
    }
    before?.close();
    const result = (subject: string, samples: number[], extra: BenchCase["extra"] = {}): BenchCase => ({
      case: "subnets",
      size,
      subject,
      unit: "ms",
      ...summarise(samples),
      extra,
    });
    return [
      result("xfrm-steer", total, {
        bytes,
        bytes_per_rule: Math.round((bytes / size) * 10) / 10,
        resident_mb: Math.round(process.memoryUsage().rss / 2 ** 20),
      }),
      ...Object.entries(steps).map(([step, samples]) => result(`xfrm-steer/${step}`, samples)),
      result("hash", batch),
    ];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A policy with `size` subnets in a bulk file; returns its path. */
function writePolicy(folder: string, size: number, seed: number): string {
  const { connections, flows } = benchPolicy("prefix4", size, seed);
  const { words, connection } = flows.subnets4;
  const lines = ["dst,connection"];
  for (let i = 0; i < size; i++) {
    const address = words[i] as number;
    lines.push(`${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.0/24,c${connection[i]}`);
  }
  writeFileSync(join(folder, "flows.csv"), `${lines.join("\n")}\n`);
  const file = join(folder, "steer.yaml");
  const entries = connections.map(({ name, ifId }) => `  ${name}: {if_id: ${ifId}}`);
  writeFileSync(file, `version: 1\nconnections:\n${entries.join("\n")}\nflows: flows.csv\n`);
  return file;
}

/** ms for BPF_MAP_UPDATE_BATCH of `size` entries into an empty hash map, the map's creation with it. */
function hashBatch(size: number): number {
  const keys = Uint32Array.from({ length: size }, (_, i) => Math.imul(i, 0x9e3779b1) >>> 0);
  const started = performance.now();
  const map = BpfMap.create({
    name: "bench_hash",
    type: MapType.hash,
    keySize: 4,
    valueSize: 4,
    maxEntries: size,
    flags: 0,
  });
  try {
    map.updateBatch(keys, keys);
    return performance.now() - started;
  } finally {
    map.close();
  }
}

/** Of a rule set like an access list: compiling, loading and swapping all, and after a change of one connection. */
function oneChange(size: number, runs: number, seed: number, hook: Hook): BenchCase[] {
  const policy = benchPolicy("acl", size, seed);
  const full: number[] = [];
  const change: number[] = [];
  const timed = (next: Policy, before?: Compiled & { object: BpfObject }) => {
    const started = performance.now();
    const generation = compile(next, BENCH_DEVICES, before);
    const object = loadRules("tun", generation, before ? { before } : {});
    hook.swap(object);
    return { ms: performance.now() - started, policy: next, generation, object };
  };
  for (let run = 0; run < runs; run++) {
    const first = timed(policy);
    full.push(first.ms);
    const connections = policy.connections.map((entry, i) =>
      i === 7 ? { ...entry, ifId: 70_000 + run } : entry,
    );
    // As after reading the file again: no rule is the same object as before.
    const changed = { ...policy, connections, rules: benchPolicy("acl", size, seed).rules };
    const second = timed(changed, first);
    change.push(second.ms);
    first.object.close();
    second.object.close();
  }
  return [
    { case: "rules", size, subject: "xfrm-steer", unit: "ms", ...summarise(full), extra: {} },
    { case: "one-connection", size, subject: "xfrm-steer", unit: "ms", ...summarise(change), extra: {} },
  ];
}
