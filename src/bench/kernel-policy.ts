import { type Policy, parsePolicy } from "../config/index.js";

/** Connections at most; larger policies give each more subnets. */
const CONNECTIONS = 1000;

/**
 * The /24 number `k` of the bench's subnets, as a 32-bit word: scattered over 1.0.0.0 to 126.255.255.0, no two equal,
 * and the same in every policy that has it. 5,000,011 is a prime that does not divide 126 * 2^16.
 */
export function subnet(k: number): number {
  return ((1 << 16) + ((k * 5_000_011) % (126 << 16))) * 256;
}

/** if_id of the connection that owns subnet `k`. */
export function ifIdOf(k: number): number {
  return 1 + (k % CONNECTIONS);
}

/** A policy of n subnets and nothing else, over at most 1,000 connections. */
export function subnetPolicy(n: number): Policy {
  const { policy } = parsePolicy(
    "version: 1\ninterface: {guard: false}\nconnections: {c1: {if_id: 1}}",
    "bench",
  );
  const [first] = policy?.connections ?? [];
  if (!policy || !first) throw new Error("the bench's own policy cannot be read");
  const connections = Array.from({ length: Math.min(n, CONNECTIONS) }, (_, index) => ({
    ...{ ...first, name: `c${index + 1}`, ifId: index + 1 },
    subnets: Array.from({ length: Math.ceil((n - index) / CONNECTIONS) }, (_, i) => ({
      ...{ family: 4 as const, words: [subnet(index + i * CONNECTIONS)], length: 24 },
    })),
  }));
  return { ...policy, connections };
}
