import { NO_FLOWS } from "../../src/config/flows.js";
import type {
  Connection,
  Family,
  Match,
  Policy,
  Prefix,
  Range,
  Rule,
  Target,
} from "../../src/config/policy.js";
import type { Random } from "./random.js";

/** Addresses are taken from a few neighbouring ranges, so that rules overlap and packets hit them. */
export function randomWords(random: Random, family: Family): number[] {
  if (family === 4) return [((10 << 24) | (random.below(4) << 22) | random.below(2 ** 10)) >>> 0];
  return [0xfd000000 + random.below(3), (random.below(4) << 29) >>> 0, random.below(2), random.below(8)];
}

export function randomPrefix(random: Random, family: Family): Prefix {
  const length =
    family === 4
      ? random.pick([0, 4, 8, 10, 16, 22, 24, 28, 31, 32])
      : random.pick([0, 8, 32, 35, 48, 63, 64, 65, 96, 126, 128]);
  const words = randomWords(random, family).map((word, i) => {
    const kept = Math.min(32, Math.max(0, length - 32 * i));
    return kept === 0 ? 0 : (word & (-1 << (32 - kept))) >>> 0;
  });
  return { family, words, length };
}

const ports = (random: Random): Range => {
  const from = random.chance(8) ? random.below(65536) : random.below(64);
  return {
    from,
    to: random.chance(2) ? from : Math.min(65535, from + random.below(random.chance(6) ? 65536 : 40)),
  };
};

const PORTED = [6, 17, 132];

export function randomMatch(random: Random): Match {
  const family = random.pick([4, 6] as const);
  const prefixes = (oneIn: number) =>
    random.chance(oneIn) ? [] : random.list(random.chance(5) ? 3 : 1, () => randomPrefix(random, family));
  const proto = random.chance(3) ? null : random.pick([...PORTED, 1, 58, 50]);
  const ported = proto !== null && PORTED.includes(proto);
  const ranges = (oneIn: number) =>
    ported && random.chance(oneIn) ? random.list(random.chance(4) ? 2 : 1, () => ports(random)) : [];
  return {
    src: prefixes(3),
    dst: prefixes(4),
    proto: proto === null ? [] : [proto],
    sport: ranges(4),
    dport: ranges(2),
    icmpType: [],
    dscp: random.chance(8) ? [random.pick([0, 10, 46])] : [],
    ecn: [],
    mark: random.chance(8) ? [randomMark(random)] : [],
    iif: random.chance(10) ? [random.pick(["lo", "other"])] : [],
    length: [],
    fragment: [],
    not: [],
  };
}

function randomMark(random: Random) {
  const mask = random.pick([0xff, 0xffffffff, 0xf0f, 1]);
  return { value: (random.below(4) & mask) >>> 0, mask };
}

/** A policy whose every rule and connection can be told from the others by what becomes of a packet. */
export function randomPolicy(random: Random, rules: number, subnets: number): Policy {
  const location = { file: "random", line: 1, column: 1 };
  const ids = new Set<number>();
  while (ids.size < 12) ids.add(1 + random.word());
  const connections = [...ids].map(
    (ifId, i): Connection => ({
      name: `c${i}`,
      ifId: ifId >>> 0 || 1,
      link: random.chance(3) ? "lo" : null,
      subnets: random.list(random.below(subnets), () => randomPrefix(random, random.pick([4, 6] as const))),
      rxMark: random.chance(2) ? { value: 0x66, mask: random.pick([0xff, 0xffffffff]) } : null,
      esp: null,
      location,
    }),
  );
  const target = (): Target => {
    if (random.chance(8)) return { kind: random.pick(["drop", "pass"] as const) };
    return { kind: "connection", connection: random.pick(connections).name, link: null };
  };
  return {
    version: 1,
    backend: "auto",
    interface: { name: "ipsec0", mtu: "auto", addresses: [] },
    connections,
    rules: random.list(
      rules,
      (i): Rule => ({
        name: `r${i}`,
        match: randomMatch(random),
        to: target(),
        set: { mark: null, dscp: null },
        location,
      }),
    ),
    flows: NO_FLOWS,
    default: random.pick(["drop", "pass"] as const),
  };
}
