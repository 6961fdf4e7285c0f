import { CASES, type EspCaseName, type PathCaseName, type Sample } from "./esp-cases.js";
import { benchSas } from "./esp-sas.js";
import { type EspSubject, type EspSubjectName, startSubject } from "./esp-subjects.js";
import { type BenchCase, type BenchResult, machine, median, summarise } from "./measure.js";

export { ESP_CASES, type EspCaseName } from "./esp-cases.js";
export { ESP_SUBJECTS, type EspSubjectName } from "./esp-subjects.js";

export interface EspBenchOptions {
  readonly cases: readonly EspCaseName[];
  readonly subjects: readonly EspSubjectName[];
  /** How often each case is measured on each subject; the subjects take turns. */
  readonly runs: number;
  /** How long each measurement lasts: 1 or more, whole (iperf3 takes 0 for no end). */
  readonly seconds: number;
  /** Given each row when it is done. */
  readonly onRow?: (row: BenchCase) => void;
  /** Told what is being measured, and which subject is left out for what reason. */
  readonly progress?: (what: string) => void;
}

/**
 * Measures what goes through the userspace ESP data path between two namespaces of this machine, beside the bare link
 * underneath. Needs root, iperf3 and ping. A subject that cannot be built here is left out.
 */
export async function benchEsp(options: EspBenchOptions): Promise<BenchResult> {
  if (!Number.isInteger(options.seconds) || options.seconds < 1) {
    throw new RangeError(`${options.seconds} seconds a measurement: give a whole number, 1 or more`);
  }
  const subjects: EspSubject[] = [];
  try {
    const needed = options.cases.some((name) => name !== "sas") ? options.subjects : [];
    for (const name of needed) {
      try {
        subjects.push(await startSubject(name));
      } catch (error) {
        options.progress?.(`without ${name}: ${(error as Error).message}`);
      }
    }
    const cases: BenchCase[] = [];
    for (const name of options.cases) {
      const rows = name === "sas" ? await measureSas(options) : await measureCase(name, subjects, options);
      for (const row of rows) options.onRow?.(row);
      cases.push(...rows);
    }
    return { bench: "esp", machine: machine(), cases };
  } finally {
    for (const subject of subjects) await subject.stop();
  }
}

/** Of our own subjects whose SAs no device has. */
async function measureSas(options: EspBenchOptions): Promise<BenchCase[]> {
  const cases: BenchCase[] = [];
  for (const subject of options.subjects) {
    const crypto = subject.replace("xfrm-steer/", "");
    if (crypto !== "ipsec-mb" && crypto !== "openssl") continue;
    try {
      cases.push(...(await benchSas(crypto, options)));
    } catch (error) {
      options.progress?.(`without sas of ${subject}: ${(error as Error).message}`);
    }
  }
  return cases;
}

async function measureCase(
  name: PathCaseName,
  subjects: readonly EspSubject[],
  { runs, seconds, progress }: EspBenchOptions,
): Promise<BenchCase[]> {
  const { unit, size, measure } = CASES[name];
  const samples = subjects.map((): Sample[] => []);
  // Code that is compiled while it runs, page and route caches: nobody's first second counts.
  for (const subject of subjects) {
    progress?.(`${name} warm-up ${subject.name}`);
    await measure(subject, 1);
  }
  for (let i = 0; i < runs; i++) {
    for (const [index, subject] of subjects.entries()) {
      progress?.(`${name} ${i + 1}/${runs} ${subject.name}`);
      samples[index]?.push(await measure(subject, seconds));
    }
  }
  return subjects.map((subject, index) => {
    const taken = samples[index] ?? [];
    const names = Object.keys(taken[0]?.extra ?? {});
    const extra = names.map((key) => [key, median(taken.map((sample) => sample.extra[key] ?? 0))] as const);
    return {
      case: name,
      size,
      subject: subject.name,
      unit,
      ...summarise(taken.map(({ value }) => value)),
      extra: Object.fromEntries(extra),
    };
  });
}
