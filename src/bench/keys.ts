import { Fragment, More } from "../bpf/tables.bpf.js";
import type { Match, Policy, Prefix } from "../config/policy.js";
import { type Case, familyOf } from "./cases.js";
import { SeededRandom } from "./random.js";

/** Packed as bpf/bench_classify.bpf.c reads them: 8 words (IPv4) or 16 (IPv6) a key. */
export interface Keys {
  readonly count: number;
  readonly stride: 8 | 16;
  readonly words: Uint32Array;
}

/** Keys that match rules picked at random. */
export function matchingKeys(name: Case, policy: Policy, count: number, seed: number): Keys {
  return makeKeys(name, policy, count, seed, (random, total) => {
    const one = random.below(total);
    return [one, one];
  });
}

/**
 * Source of one rule and destination of another, so that nothing matches soon; of prefixes and flows, addresses one bit
 * beside those that match.
 */
export function crossingKeys(name: Case, policy: Policy, count: number, seed: number): Keys {
  const keys = makeKeys(name, policy, count, seed, (random, total) => [
    random.below(total),
    random.below(total),
  ]);
  if (policy.rules.length > 0) return keys;
  const random = new SeededRandom(seed + 1);
  const size = keys.stride === 8 ? 1 : 4;
  const bits = name === "prefix4" ? 24 : name === "prefix6" ? 64 : 32;
  for (let i = 0; i < count; i++) {
    const bit = bits - 1 - random.below(16);
    const at = i * keys.stride + size + (bit >>> 5);
    keys.words[at] = ((keys.words[at] as number) ^ (1 << (31 - (bit & 31)))) >>> 0;
  }
  return keys;
}

function makeKeys(
  name: Case,
  policy: Policy,
  count: number,
  seed: number,
  pick: (random: SeededRandom, total: number) => readonly [number, number],
): Keys {
  const random = new SeededRandom(seed);
  const wide = familyOf(name) === 6;
  const stride = wide ? 16 : 8;
  const words = new Uint32Array(count * stride);
  const { subnets4, subnets6, exact4 } = policy.flows;
  const subnets = wide ? subnets6 : subnets4;
  const total = policy.rules.length || subnets.length.length || exact4.proto.length;
  const size = wide ? 4 : 1;
  for (let i = 0; i < count; i++) {
    const [one, other] = pick(random, total);
    const at = i * stride;
    if (policy.rules.length > 0) {
      const [a, b] = [policy.rules[one]?.match, policy.rules[other]?.match] as [Match, Match];
      ruleKey(words, at, a, b, random);
    } else if (subnets.length.length > 0) {
      words[at] = random.word();
      const length = subnets.length[one] as number;
      for (let w = 0; w < size; w++) {
        const wild = wildBits(length, w);
        words[at + size + w] = ((subnets.words[one * size + w] as number) | (random.word() & wild)) >>> 0;
      }
      common(words, at + 2 * size, random.word(), 6, 0, 0);
    } else {
      words[at] = exact4.src[one] as number;
      words[at + 1] = exact4.dst[other] as number;
      common(words, at + 2, exact4.ports[one] as number, exact4.proto[one] as number, 0, 0);
    }
  }
  return { count, stride, words };
}

/** Addresses: source of `a`, destination of `b`; ports and the rest of `b`. IPv4. */
function ruleKey(words: Uint32Array, at: number, a: Match, b: Match, random: SeededRandom): void {
  const within = ([prefix]: readonly Prefix[]) =>
    prefix
      ? ((prefix.words[0] as number) | (random.word() & wildBits(prefix.length, 0))) >>> 0
      : random.word();
  const port = ([range]: Match["dport"]) =>
    range ? range.from + random.below(range.to - range.from + 1) : random.below(65536);
  words[at] = within(a.src);
  words[at + 1] = within(b.dst);
  const proto = b.proto[0] ?? 6;
  const ports = proto === 6 || proto === 17 ? ((port(b.sport) << 16) | port(b.dport)) >>> 0 : 0;
  const iif = b.iif[0] ? Number(b.iif[0].slice(3)) : 0;
  common(words, at + 2, ports, proto, b.mark[0]?.value ?? 0, iif);
}

function common(
  words: Uint32Array,
  at: number,
  ports: number,
  proto: number,
  mark: number,
  iif: number,
): void {
  words[at] = ports;
  words[at + 1] = proto;
  words[at + 2] = mark;
  words[at + 3] = iif;
  words[at + 4] =
    1000 | (More.ICMP_NONE << More.ICMP_SHIFT) | (Fragment.FRAGMENT_NONE << More.FRAGMENT_SHIFT);
  words[at + 5] = proto === 6 || proto === 17 ? 1 : 0;
}

function wildBits(length: number, word: number): number {
  const kept = Math.min(32, Math.max(0, length - 32 * word));
  return kept === 0 ? 0xffffffff : kept === 32 ? 0 : 2 ** (32 - kept) - 1;
}
