import { NO_FLOWS } from "../config/flows.js";
import { ANY_MATCH } from "../config/match.js";
import type { Connection, ExactFlows, Family, FlowSubnets, Match, Policy } from "../config/policy.js";
import { classBenchRules, prefix4 } from "./classbench.js";
import { SeededRandom } from "./random.js";

export const CASES = ["prefix4", "prefix6", "srcdst", "flows", "acl", "fw", "ipc", "mark", "iif"] as const;
export type Case = (typeof CASES)[number];

/** Largest size of each case. */
export const LARGEST: Readonly<Record<Case, number>> = {
  prefix4: 1_000_000,
  prefix6: 1_000_000,
  srcdst: 100_000,
  flows: 1_000_000,
  acl: 100_000,
  fw: 100_000,
  ipc: 100_000,
  mark: 10_000,
  iif: 10_000,
};

const CONNECTIONS = 1000;
const LOCATION = { file: "bench", line: 1, column: 1 };

/** A policy of one case; keys of family `familyOf(name)` go with it. */
export function benchPolicy(name: Case, size: number, seed: number): Policy {
  const random = new SeededRandom(seed ^ size);
  switch (name) {
    case "prefix4":
      return policyOf([], { subnets4: randomSubnets4(size, random) });
    case "prefix6":
      return policyOf([], { subnets6: randomSubnets6(size, random) });
    case "flows":
      return policyOf([], { exact4: randomFlows(size, random) });
    case "srcdst":
      return policyOf(
        unique(size, () => ({
          ...ANY_MATCH,
          src: [prefix4(random.word(), 8 + random.below(25))],
          dst: [prefix4(random.word(), 8 + random.below(25))],
        })),
      );
    case "mark":
      return policyOf(
        unique(size, () => ({ ...ANY_MATCH, mark: [{ value: random.word(), mask: 0xffffffff }] })),
      );
    case "iif":
      return policyOf(Array.from({ length: size }, (_, i) => ({ ...ANY_MATCH, iif: [`dev${i + 1}`] })));
    default:
      return policyOf(classBenchRules(name, size, random));
  }
}

export function familyOf(name: Case): Family {
  return name === "prefix6" ? 6 : 4;
}

/** Devices of the case `iif`: devN has number N. */
export const BENCH_DEVICES = {
  ifindexOf: (name: string) => Number(name.slice(3)),
  ifindexesOfGroup: () => [],
};

function policyOf(matches: readonly Match[], flows: Partial<Policy["flows"]> = {}): Policy {
  const connections = Array.from(
    { length: CONNECTIONS },
    (_, i): Connection => ({
      name: `c${i}`,
      ifId: i + 1,
      link: null,
      subnets: [],
      rxMark: null,
      esp: null,
      location: LOCATION,
    }),
  );
  return {
    version: 1,
    backend: "auto",
    interface: { name: "bench0", mtu: "auto", addresses: [], guard: false, routes: false },
    connections,
    rules: matches.map((match, i) => ({
      name: `r${i}`,
      match,
      to: { kind: "connection", connection: `c${i % CONNECTIONS}`, link: null },
      set: { mark: null, dscp: null },
      location: LOCATION,
    })),
    flows: { ...NO_FLOWS, ...flows },
    default: "drop",
  };
}

function unique(size: number, make: () => Match): Match[] {
  const seen = new Set<string>();
  const all: Match[] = [];
  while (all.length < size) {
    const match = make();
    const key = JSON.stringify(match);
    if (!seen.has(key)) all.push(match);
    seen.add(key);
  }
  return all;
}

function owners(size: number): Pick<FlowSubnets, "connection" | "file" | "line"> {
  return {
    connection: Uint32Array.from({ length: size }, (_, i) => i % CONNECTIONS),
    file: new Uint8Array(size),
    line: new Uint32Array(size),
  };
}

/** Random /24s, none twice. */
function randomSubnets4(size: number, random: SeededRandom): FlowSubnets {
  const taken = new Uint8Array(2 ** 24);
  const words = new Uint32Array(size);
  for (let i = 0; i < size; ) {
    const network = random.word() >>> 8;
    if (taken[network]) continue;
    taken[network] = 1;
    words[i++] = (network << 8) >>> 0;
  }
  return { words, length: new Uint8Array(size).fill(24), ...owners(size) };
}

/** Random prefixes of /48 to /64 in 2000::/3; so few of so many that none is there twice. */
function randomSubnets6(size: number, random: SeededRandom): FlowSubnets {
  const words = new Uint32Array(4 * size);
  const length = new Uint8Array(size);
  for (let i = 0; i < size; i++) {
    const bits = 48 + random.below(17);
    length[i] = bits;
    words[4 * i] = (0x20000000 | (random.word() >>> 3)) >>> 0;
    words[4 * i + 1] = (random.word() & (-1 << (64 - bits))) >>> 0;
  }
  return { words, length, ...owners(size) };
}

function randomFlows(size: number, random: SeededRandom): ExactFlows {
  const words = () => Uint32Array.from({ length: size }, () => random.word());
  return {
    src: words(),
    dst: words(),
    proto: Uint8Array.from({ length: size }, () => (random.below(2) ? 6 : 17)),
    ports: words(),
    ...owners(size),
  };
}
