import type {
  Connection,
  Family,
  Flows,
  Match,
  MatchField,
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
const FRAGMENTS = ["none", "first", "later"] as const;

/** A match on few fields, mostly; any of them may be negated. */
export function randomMatch(random: Random): Match {
  const family = random.pick([4, 6] as const);
  const some = <T>(oneIn: number, make: () => T): T[] =>
    random.chance(oneIn) ? random.list(random.chance(4) ? 2 : 1, make) : [];
  const prefixes = (oneIn: number) =>
    random.chance(oneIn) ? [] : random.list(random.chance(5) ? 3 : 1, () => randomPrefix(random, family));
  const proto = random.chance(3) ? [] : [random.pick([...PORTED, 1, 58, 50])];
  const ported = proto.some((number) => PORTED.includes(number));
  const icmp = proto.some((number) => number === 1 || number === 58);
  const match = {
    src: prefixes(3),
    dst: prefixes(4),
    proto: random.chance(12) ? [6, 17, 1] : proto,
    sport: ported ? some(4, () => ports(random)) : [],
    dport: ported ? some(2, () => ports(random)) : [],
    icmpType: icmp ? some(2, () => ({ from: 0, to: random.below(140) })) : [],
    dscp: some(8, () => random.pick([0, 10, 46])),
    ecn: some(12, () => random.below(4)),
    mark: some(8, () => randomMark(random)),
    iif: some(10, () => random.pick(["lo", "other", "group:0", "group:9"])),
    length: some(10, () => ({ from: random.below(80), to: 80 + random.below(80) })),
    fragment: some(10, () => random.pick(FRAGMENTS)),
  };
  const named = (Object.keys(match) as MatchField[]).filter((field) => match[field].length > 0);
  const not = named.filter(() => random.chance(9));
  // Two negated IPv6 hosts are 128 * 128 combinations: compiled, but slow to test in numbers.
  return { ...match, not: not.includes("src") ? not.filter((field) => field !== "dst") : not };
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
    if (random.chance(8)) {
      const members = connections.filter(() => random.chance(4));
      if (members.length > 0)
        return {
          kind: "group",
          members: members.map(({ name }) => ({ connection: name, weight: 1 + random.below(5) })),
        };
    }
    const link = random.chance(8) ? "other" : null;
    return { kind: "connection", connection: random.pick(connections).name, link };
  };
  const set = () => ({
    mark: random.chance(8) ? { value: 0x1100, mask: random.pick([0xff00, 0xffffffff]) } : null,
    dscp: random.chance(8) ? random.below(64) : null,
  });
  return {
    version: 1,
    backend: "auto",
    interface: { name: "ipsec0", mtu: "auto", addresses: [], guard: true, routes: false },
    connections,
    rules: random.list(
      rules,
      (i): Rule => ({ name: `r${i}`, match: randomMatch(random), to: target(), set: set(), location }),
    ),
    flows: randomFlows(random, subnets, connections.length),
    default: random.pick(["drop", "pass"] as const),
  };
}

/** Gives each flow that another one equals a source of its own. */
function tellApart(
  { src, dst, proto, ports }: Pick<Flows["exact4"], "src" | "dst" | "proto" | "ports">,
  count: number,
): void {
  const words = src.length / count;
  const taken = new Set<string>();
  for (let i = 0; i < count; i++) {
    const at = i * words;
    const key = () => [src.subarray(at, at + words), dst.subarray(at, at + words), proto[i], ports[i]].join();
    while (taken.has(key())) src[at + words - 1] = (src[at + words - 1] as number) + 1;
    taken.add(key());
  }
}

/** Bulk subnets (some of them the connections' own) and exact flows between addresses that packets have. */
function randomFlows(random: Random, count: number, connections: number): Flows {
  const origins = () => ({ file: new Uint8Array(count), line: new Uint32Array(count) });
  const owners = () => Uint32Array.from(random.list(count, () => random.below(connections)));
  const subnets = (family: Family) => {
    const prefixes = random.list(count, () => randomPrefix(random, family));
    return {
      words: Uint32Array.from(prefixes.flatMap(({ words }) => words)),
      length: Uint8Array.from(prefixes, ({ length }) => length),
      connection: owners(),
      ...origins(),
    };
  };
  const exact = (family: Family) => {
    const proto = Uint8Array.from(random.list(count, () => random.pick([6, 17, 1, 50])));
    const ports = (number: number) => (number === 6 || number === 17 ? random.below(100) * 0x10001 : 0);
    const addresses = () => Uint32Array.from(random.list(count, () => randomWords(random, family)).flat());
    const flows = { src: addresses(), dst: addresses(), proto, ports: Uint32Array.from(proto, ports) };
    tellApart(flows, count);
    return {
      ...flows,
      connection: owners(),
      ...origins(),
    };
  };
  return { files: [], subnets4: subnets(4), subnets6: subnets(6), exact4: exact(4), exact6: exact(6) };
}
