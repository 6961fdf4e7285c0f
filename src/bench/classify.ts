import { setImmediate as turn } from "node:timers/promises";
import type { Policy } from "../config/policy.js";
import { benchPolicy, type Case, familyOf, LARGEST } from "./cases.js";
import { crossingKeys, type Keys, matchingKeys } from "./keys.js";
import { type BenchCase, type BenchResult, machine, median, summarise } from "./measure.js";
import { Subject, type SubjectName } from "./subjects.js";
import { hasNftables, VethPeer, type VethSubject } from "./veth.js";
import { longestWalks } from "./walks.js";

export interface ClassifyOptions {
  readonly cases: readonly Case[];
  readonly sizes: readonly number[];
  readonly runs: number;
  readonly seed: number;
  /** Without the others: ours alone. */
  readonly peers: boolean;
  /** Given each row when it is done. */
  readonly onRow?: (row: BenchCase) => void;
  /** Told what is being measured. */
  readonly progress?: (what: string) => void;
}

const KEYS = 2 ** 20;
/** Peers that are slow look up fewer keys: about as many as take so long, ns. */
const RUN_NS = 60e6;
const FEWEST = 2 ** 13;
const LINEAR_LARGEST = 10_000;

/** Packets through a veth pair in a run; loading more elements takes nftables minutes and gigabytes. */
const VETH_PACKETS = 2 ** 16;
const VETH_LARGEST = 100_000;
/** What nftables' maps can say: its sets know no order in which rules that overlap would match. */
const VETH_CASES: ReadonlySet<Case> = new Set(["prefix4", "flows"]);

const RULE_PEERS: readonly SubjectName[] = ["tss", "linear"];
const PEERS: Readonly<Record<Case, readonly SubjectName[]>> = {
  prefix4: ["lpm_trie", "hash", "stride_16_8_8"],
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
export async function benchClassify(options: ClassifyOptions): Promise<BenchResult> {
  const cases: BenchCase[] = [];
  for (const name of options.cases)
    for (const size of options.sizes.filter((each) => each <= LARGEST[name])) {
      await turn(); // for signals
      options.progress?.(`${name} ${size}`);
      const isBeside = options.peers && VETH_CASES.has(name) && size <= VETH_LARGEST && hasNftables();
      const rows = [
        ...measureCase(name, size, options),
        ...(isBeside ? measureVeth(name, size, options) : []),
      ];
      for (const row of rows) options.onRow?.(row);
      cases.push(...rows);
    }
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
    const generation = pairs[0]?.full.generation;
    const costly =
      generation && policy.rules.length > 0 ? longestWalks(generation, keys.crossing) : keys.crossing;
    for (const { full } of pairs) full.setKeys(costly);
    return [...matching, ...result("-adversarial")];
  } finally {
    for (const subject of subjects) subject.close();
  }
}

/** Ours and nftables with the packets on their way through a veth pair: ns a packet. */
function measureVeth(name: Case, size: number, { runs, seed }: ClassifyOptions): BenchCase[] {
  const peers: VethPeer[] = [];
  try {
    const load = (subject: VethSubject, rules: number) => {
      const policy = benchPolicy(name, rules, seed);
      const peer = new VethPeer(subject, policy, matchingKeys(name, policy, VETH_PACKETS, seed));
      peers.push(peer);
      return { peer, samples: [] as number[] };
    };
    const pairs = (["xfrm-steer", "nftables"] as const).map((subject) => ({
      subject,
      full: load(subject, size),
      base: load(subject, 1),
    }));
    for (let round = 0; round < runs; round++)
      for (const { full, base } of pairs)
        for (const { peer, samples } of [full, base]) samples.push(peer.run(VETH_PACKETS));
    return pairs.map(({ subject, full, base }) => ({
      case: `${name}-veth`,
      size,
      subject,
      unit: "ns/packet",
      ...summarise(full.samples),
      extra: { added: median(full.samples) - median(base.samples), build_ms: Math.round(full.peer.buildMs) },
    }));
  } finally {
    for (const peer of peers) peer.close();
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
