import type { Policy } from "../config/policy.js";
import { benchPolicy, type Case, familyOf } from "./cases.js";
import { crossingKeys, type Keys, matchingKeys } from "./keys.js";
import { type BenchCase, type BenchResult, machine, median, summarise } from "./measure.js";
import { Subject, type SubjectName } from "./subjects.js";

export interface ClassifyOptions {
  readonly cases: readonly Case[];
  readonly sizes: readonly number[];
  readonly runs: number;
  readonly seed: number;
  /** Without the others: ours alone. */
  readonly peers: boolean;
  /** Told what is being measured. */
  readonly progress?: (what: string) => void;
}

const KEYS = 2 ** 20;
/** Peers that are slow look up fewer keys: about as many as take so long, ns. */
const RUN_NS = 60e6;
const FEWEST = 2 ** 13;
const LINEAR_LARGEST = 10_000;

const RULE_PEERS: readonly SubjectName[] = ["tss", "linear"];
const PEERS: Readonly<Record<Case, readonly SubjectName[]>> = {
  prefix4: ["lpm_trie", "hash"],
  prefix6: ["lpm_trie"],
  flows: ["hash"],
  srcdst: RULE_PEERS,
  acl: RULE_PEERS,
  fw: RULE_PEERS,
  ipc: RULE_PEERS,
  mark: [],
  iif: [],
};

/** Measures each case at each size: ns a key for every subject, interleaved, with keys that match and adversarial ones. */
export function benchClassify(options: ClassifyOptions): BenchResult {
  const cases = options.cases.flatMap((name) =>
    options.sizes.flatMap((size) => {
      options.progress?.(`${name} ${size}`);
      return measureCase(name, size, options);
    }),
  );
  return { bench: "classify", machine: machine(), cases };
}

function measureCase(
  name: Case,
  size: number,
  { runs, seed, peers: withPeers }: ClassifyOptions,
): BenchCase[] {
  const policy = benchPolicy(name, size, seed);
  const single = benchPolicy(name, 1, seed);
  const keys = {
    matching: matchingKeys(name, policy, KEYS, seed),
    crossing: crossingKeys(name, policy, KEYS, seed),
    single: matchingKeys(name, single, KEYS, seed),
  };
  const peers = withPeers ? PEERS[name].filter((peer) => peer !== "linear" || size <= LINEAR_LARGEST) : [];
  const subjects: Subject[] = [];
  try {
    const load = (subject: SubjectName, rules: Policy, given: Keys) => {
      const loaded = new Subject(subject, rules, familyOf(name), given);
      subjects.push(loaded);
      if (subject !== "xfrm-steer") {
        loaded.passes = FEWEST;
        loaded.passes = Math.max(FEWEST, Math.min(KEYS, Math.floor(RUN_NS / loaded.run().ns)));
      }
      return loaded;
    };
    const pairs = (["xfrm-steer", ...peers] as const).map((subject) => ({
      full: load(subject, policy, keys.matching),
      base: load(subject, single, keys.single),
    }));
    const result = (suffix: string) => {
      const samples = interleave(
        pairs.flatMap(({ full, base }) => [full, base]),
        runs,
      );
      return pairs.map(({ full, base }): BenchCase => {
        const own = samples.get(full) as number[];
        const added = median(own) - median(samples.get(base) as number[]);
        return {
          case: `${name}${suffix}`,
          size,
          subject: full.name,
          unit: "ns/key",
          ...summarise(own),
          extra: {
            added: Math.round(added * 100) / 100,
            bytes: full.bytes,
            bytes_per_rule: Math.round((full.bytes / size) * 10) / 10,
            build_ms: Math.round(full.buildMs),
          },
        };
      });
    };
    const matching = result("");
    for (const { full } of pairs) full.setKeys(keys.crossing, policy);
    return [...matching, ...result("-adversarial")];
  } finally {
    for (const subject of subjects) subject.close();
  }
}

/**
 * Samples of each subject, one after the other in every round, so that the machine's moods hit all alike. Each runs
 * twice and the second time counts: the first one brings its tables back into the caches, from which the others' keys
 * have driven them.
 */
function interleave(subjects: readonly Subject[], runs: number): Map<Subject, number[]> {
  const samples = new Map(subjects.map((subject) => [subject, [] as number[]]));
  for (let round = 0; round < runs; round++)
    for (const subject of subjects) {
      subject.run();
      samples.get(subject)?.push(subject.run().ns);
    }
  return samples;
}
