import { TargetVerdict } from "../bpf/tables.bpf.js";
import type { GroupMember } from "../config/policy.js";
import type { PacketKey } from "./packet.js";

/**
 * The choice among a group's members. Every packet of a flow takes the same member, and when a member leaves, or comes
 * back, only its own flows move: a flow's hash picks one of BUCKETS buckets, and each bucket belongs to the member that
 * wins a weighted rendezvous for it (Thaler and Ravishankar 1998; Schindelhauer and Schomaker 2005 for the weights).
 * Names enter the rendezvous, not positions, so the order of the members does not matter.
 *
 * The hash is computed for every packet in BPF as here; the bucket tables are made here only.
 */

const { BUCKET_BITS } = TargetVerdict;
export const BUCKETS = 2 ** BUCKET_BITS;

/** Seed and multipliers: the golden ratio, and the first and last of MurmurHash3's fmix32. */
export const SEED = 0x9e3779b9;
const MIX = 0x85ebca6b;
const FINAL = 0xc2b2ae35;

/** proto in the hash of a packet whose headers do not tell it (PROTO_UNKNOWN in bpf/tables.h). */
const UNKNOWN = 256;

/**
 * Hash of a flow, 32 bits: over the family's src words, its dst words, ports (source << 16 | destination) and proto,
 * each by `h = (h ^ word) * MIX; h ^= h >>> 15`, then `h *= FINAL; h ^= h >>> 16`, all modulo 2^32. Fragments count
 * with ports 0, the first one too: all fragments of a packet have to take one way.
 */
export function flowHash({ src, dst, sport, dport, proto, fragment }: PacketKey): number {
  let h = SEED;
  for (const word of src) h = mix(h, word);
  for (const word of dst) h = mix(h, word);
  h = mix(h, fragment === "none" ? (((sport ?? 0) << 16) | (dport ?? 0)) >>> 0 : 0);
  h = mix(h, proto ?? UNKNOWN);
  return finish(h);
}

/** Bucket of a flow: the upper bits of its hash. */
export function flowBucket(packet: PacketKey): number {
  return flowHash(packet) >>> (32 - BUCKET_BITS);
}

/** The member, by index, that has each bucket. Equal groups give equal tables. */
export function groupBuckets(members: readonly GroupMember[]): Uint32Array {
  const seeds = members.map(({ connection }) => hashName(connection));
  return Uint32Array.from({ length: BUCKETS }, (_, bucket) => {
    let winner = 0;
    let lowest = Number.POSITIVE_INFINITY;
    for (const [index, { weight }] of members.entries()) {
      // Exponentially distributed with rate `weight`: the lowest of them is this member's with probability weight/total.
      const uniform = (finish(mix(seeds[index] as number, bucket)) + 0.5) / 2 ** 32;
      const score = -Math.log(uniform) / weight;
      if (score < lowest) {
        lowest = score;
        winner = index;
      }
    }
    return winner;
  });
}

function hashName(name: string): number {
  let h = SEED;
  for (const byte of Buffer.from(name)) h = mix(h, byte);
  return h;
}

export function mix(h: number, word: number): number {
  const product = Math.imul(h ^ word, MIX);
  return (product ^ (product >>> 15)) >>> 0;
}

export function finish(h: number): number {
  const product = Math.imul(h, FINAL);
  return (product ^ (product >>> 16)) >>> 0;
}
