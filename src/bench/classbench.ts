/**
 * Rule sets with the shape of real access lists (acl), firewalls (fw) and IP chains (ipc), made anew from a seed. The
 * shares below are rounded from the seed statistics published with ClassBench (Taylor and Turner, "ClassBench: A Packet
 * Classification Benchmark", IEEE/ACM Transactions on Networking 15(3), 2007, sections III and IV): prefix lengths of
 * the address pairs, port classes, protocols; addresses branch unevenly and are used again and again.
 */
import { ANY_MATCH } from "../config/match.js";
import type { Match, Prefix, Range } from "../config/policy.js";
import type { SeededRandom } from "./random.js";

export type Kind = "acl" | "fw" | "ipc";

type Weights<T> = readonly (readonly [T, number])[];

/** Port classes of the paper: wildcard, ephemeral, well-known, arbitrary range, exact match. */
type PortClass = "WC" | "HI" | "LO" | "AR" | "EM";

interface Profile {
  /** Lengths of source and destination, by share. */
  readonly lengths: Weights<readonly [src: readonly [number, number], dst: readonly [number, number]]>;
  readonly sport: Weights<PortClass>;
  readonly dport: Weights<PortClass>;
  readonly proto: Weights<number | null>;
  /** Networks that addresses come from, for each thousand rules. */
  readonly networks: number;
}

const HOST = [32, 32] as const;
const SUBNET = [20, 28] as const;
const SITE = [12, 20] as const;
const ANY = [0, 0] as const;

const PROFILES: Readonly<Record<Kind, Profile>> = {
  acl: {
    lengths: [
      [[SUBNET, HOST], 30],
      [[HOST, HOST], 20],
      [[SUBNET, SUBNET], 20],
      [[SITE, HOST], 14],
      [[ANY, HOST], 10],
      [[ANY, SUBNET], 4],
      [[SITE, SUBNET], 2],
    ],
    sport: [
      ["WC", 99],
      ["EM", 1],
    ],
    dport: [
      ["EM", 58],
      ["WC", 30],
      ["AR", 8],
      ["HI", 3],
      ["LO", 1],
    ],
    proto: [
      [6, 75],
      [17, 17],
      [1, 4],
      [null, 4],
    ],
    networks: 60,
  },
  fw: {
    lengths: [
      [[ANY, HOST], 26],
      [[HOST, ANY], 14],
      [[SUBNET, SUBNET], 16],
      [[HOST, HOST], 18],
      [[SUBNET, HOST], 12],
      [[ANY, SUBNET], 8],
      [[SITE, ANY], 5],
      [[ANY, ANY], 1],
    ],
    sport: [
      ["WC", 72],
      ["HI", 15],
      ["EM", 11],
      ["AR", 2],
    ],
    dport: [
      ["EM", 45],
      ["WC", 35],
      ["HI", 10],
      ["AR", 8],
      ["LO", 2],
    ],
    proto: [
      [6, 55],
      [17, 30],
      [1, 5],
      [47, 2],
      [null, 8],
    ],
    networks: 40,
  },
  ipc: {
    lengths: [
      [[HOST, HOST], 34],
      [[SUBNET, SUBNET], 24],
      [[SUBNET, HOST], 14],
      [[HOST, SUBNET], 12],
      [[ANY, HOST], 7],
      [[HOST, ANY], 5],
      [[SITE, SITE], 4],
    ],
    sport: [
      ["WC", 78],
      ["EM", 12],
      ["HI", 8],
      ["AR", 2],
    ],
    dport: [
      ["WC", 42],
      ["EM", 45],
      ["HI", 6],
      ["AR", 6],
      ["LO", 1],
    ],
    proto: [
      [6, 52],
      [17, 32],
      [1, 6],
      [null, 10],
    ],
    networks: 80,
  },
};

const SERVICES = [
  80, 443, 22, 25, 53, 21, 23, 110, 123, 135, 139, 161, 389, 445, 993, 1521, 3306, 3389, 5060, 8080,
];

/** `size` matches, none twice; the most specific come first, as people order them. */
export function classBenchRules(kind: Kind, size: number, random: SeededRandom): Match[] {
  const profile = PROFILES[kind];
  const pick = <T>(weights: Weights<T>) =>
    (weights[random.weighted(weights.map(([, weight]) => weight))] as readonly [T, number])[0];
  const networks = Math.max(4, Math.round((size / 1000) * profile.networks));
  const pool = () => Uint32Array.from({ length: networks }, () => random.word());
  const sources = pool();
  const destinations = pool();
  const address = (from: Uint32Array, [shortest, longest]: readonly [number, number]) => {
    const length = shortest + random.below(longest - shortest + 1);
    // Squaring favours the first networks; within one, low numbers are used most.
    const network = from[Math.floor(from.length * (random.word() / 2 ** 32) ** 2)] as number;
    const host = Math.floor(2 ** 12 * (random.word() / 2 ** 32) ** 2);
    return prefix4((network & ~0xfff) | host, length);
  };
  const seen = new Set<string>();
  const rules: Match[] = [];
  while (rules.length < size) {
    const [src, dst] = pick(profile.lengths);
    const proto = pick(profile.proto);
    const ported = proto === 6 || proto === 17;
    const match = {
      ...ANY_MATCH,
      src: src === ANY ? [] : [address(sources, src)],
      dst: dst === ANY ? [] : [address(destinations, dst)],
      proto: proto === null ? [] : [proto],
      sport: ported ? ports(pick(profile.sport), random) : [],
      dport: ported ? ports(pick(profile.dport), random) : [],
    };
    const key = JSON.stringify(match);
    if (seen.has(key)) continue;
    seen.add(key);
    rules.push(match);
  }
  const specificity = ({ src, dst }: Match) => (src[0]?.length ?? 0) + (dst[0]?.length ?? 0);
  return rules
    .map((match) => ({ match, order: specificity(match) + random.below(24) }))
    .sort((a, b) => b.order - a.order)
    .map(({ match }) => match);
}

function ports(kind: PortClass, random: SeededRandom): Range[] {
  switch (kind) {
    case "WC":
      return [];
    case "HI":
      return [{ from: 1024, to: 65535 }];
    case "LO":
      return [{ from: 0, to: 1023 }];
    case "EM": {
      const port = random.below(3)
        ? (SERVICES[random.below(SERVICES.length)] as number)
        : random.below(65536);
      return [{ from: port, to: port }];
    }
    case "AR": {
      const from = random.below(65000);
      return [{ from, to: Math.min(65535, from + 1 + random.below(1000)) }];
    }
  }
}

export function prefix4(address: number, length: number): Prefix {
  const mask = length === 0 ? 0 : -1 << (32 - length);
  return { family: 4, words: [(address & mask) >>> 0], length };
}
