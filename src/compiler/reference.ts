import { type Address, contains } from "../config/address.js";
import type { Match, Policy, Prefix, Range } from "../config/policy.js";
import { dstAddress, type Malformed, type PacketKey, srcAddress } from "./packet.js";

/**
 * The rules' meaning, written out as plainly as it goes: one rule after the other, one prefix after the other. The
 * compiled tables and the BPF programs are tested against this.
 */

/** What becomes of a packet. */
export type Action =
  | { readonly kind: "connection"; readonly connection: number }
  | { readonly kind: "drop" }
  | { readonly kind: "pass" };

/** What becomes of a packet, and by what. Rules and connections are indexes into the policy. */
export type Decision =
  | { readonly by: "rule"; readonly rule: number; readonly action: Action }
  | { readonly by: "subnet"; readonly prefix: Prefix; readonly action: Action }
  | { readonly by: "default"; readonly action: Action }
  | { readonly by: "malformed"; readonly reason: string; readonly action: Action };

export type MatchField = keyof Match;

/** In the order of the format's description. */
export const MATCH_FIELDS: readonly MatchField[] = [
  "src",
  "dst",
  "proto",
  "sport",
  "dport",
  "dscp",
  "mark",
  "iif",
];

/** Decides on transmit: the first rule that matches, else the longest subnet around dst, else the default. */
export function decide(policy: Policy, packet: PacketKey | Malformed): Decision {
  if ("malformed" in packet) return { by: "malformed", reason: packet.malformed, action: { kind: "drop" } };
  for (const [index, rule] of policy.rules.entries()) {
    if (!matches(rule.match, packet)) continue;
    const { to } = rule;
    if (to.kind !== "connection") return { by: "rule", rule: index, action: to };
    const connection = policy.connections.findIndex(({ name }) => name === to.connection);
    return { by: "rule", rule: index, action: { kind: "connection", connection } };
  }
  const longest = longestSubnet(policy, dstAddress(packet));
  const [owner] = longest?.connections ?? [];
  // A prefix of several connections decides nothing; a shorter one around it does not step in.
  if (longest !== null && owner !== undefined && longest.connections.length === 1) {
    return { by: "subnet", prefix: longest.prefix, action: { kind: "connection", connection: owner } };
  }
  return { by: "default", action: { kind: policy.default } };
}

/** Whether a decrypted packet of this connection may have its source address: the longest subnet around it is the connection's. */
export function sourceAllowed(policy: Policy, connection: number, packet: PacketKey | Malformed): boolean {
  if ("malformed" in packet) return false;
  return longestSubnet(policy, srcAddress(packet))?.connections.includes(connection) ?? false;
}

/** The longest subnet that contains an address, and the indexes of the connections that have it; null without any. */
export function longestSubnet(
  policy: Policy,
  address: Address,
): { prefix: Prefix; connections: number[] } | null {
  let longest: { prefix: Prefix; connections: number[] } | null = null;
  for (const [index, { subnets }] of policy.connections.entries()) {
    for (const prefix of subnets) {
      if (!contains(prefix, address)) continue;
      if (longest === null || prefix.length > longest.prefix.length)
        longest = { prefix, connections: [index] };
      else if (prefix.length === longest.prefix.length && !longest.connections.includes(index))
        longest.connections.push(index);
    }
  }
  return longest;
}

export function matches(match: Match, packet: PacketKey): boolean {
  return MATCH_FIELDS.every((field) => fieldMatches(field, match, packet));
}

/** Whether one field of a match admits a packet; a field that the match leaves open admits all. */
export function fieldMatches(field: MatchField, match: Match, packet: PacketKey): boolean {
  switch (field) {
    case "src":
      return match.src.length === 0 || match.src.some((prefix) => contains(prefix, srcAddress(packet)));
    case "dst":
      return match.dst.length === 0 || match.dst.some((prefix) => contains(prefix, dstAddress(packet)));
    case "proto":
      return match.proto === null || match.proto === packet.proto;
    case "sport":
      return portMatches(match.sport, packet.sport);
    case "dport":
      return portMatches(match.dport, packet.dport);
    case "dscp":
      return match.dscp === null || match.dscp === packet.dscp;
    case "mark":
      return match.mark === null || (packet.mark & match.mark.mask) >>> 0 === match.mark.value;
    case "iif":
      return match.iif === null || match.iif === packet.iif;
  }
}

function portMatches(ranges: readonly Range[], port: number | null): boolean {
  if (ranges.length === 0) return true;
  return port !== null && ranges.some(({ from, to }) => from <= port && port <= to);
}
