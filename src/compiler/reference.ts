import { type Address, contains } from "../config/address.js";
import type { FlowSubnets, Match, MatchField, Policy, Prefix, Range, Rule } from "../config/policy.js";
import { PORT_PROTOCOLS } from "../config/protocols.js";
import { flowBucket, groupBuckets } from "./flow-hash.js";
import { dstAddress, isErrorType, type Malformed, type PacketKey, srcAddress } from "./packet.js";
import { followed, namesIcmp, quoteTells } from "./quote.js";

/**
 * The rules' meaning, written out as plainly as it goes: one rule after the other, one prefix after the other. The
 * compiled tables and the BPF programs are tested against this.
 */

/** What becomes of a packet. */
export type Action =
  /** Index of the connection, and the underlay device that is asked for: the rule's, else the connection's, else none. */
  | { readonly kind: "connection"; readonly connection: number; readonly link: string | null }
  /** `held`: index of the connection that it would go to, were that not held. */
  | { readonly kind: "drop"; readonly held?: number }
  | { readonly kind: "pass" };

/** What becomes of a packet, and by what. Rules and connections are indexes into the policy. */
export type Decision =
  /** `row` is an index into the exact flows of the packet's family. */
  | { readonly by: "flow"; readonly row: number; readonly action: Action }
  | { readonly by: "rule"; readonly rule: number; readonly action: Action }
  | { readonly by: "subnet"; readonly prefix: Prefix; readonly action: Action }
  | { readonly by: "default"; readonly action: Action }
  | { readonly by: "malformed"; readonly reason: string; readonly action: Action };

/** In the order of the format's description. */
export const MATCH_FIELDS: readonly MatchField[] = [
  "src",
  "dst",
  "proto",
  "sport",
  "dport",
  "icmpType",
  "dscp",
  "ecn",
  "mark",
  "iif",
  "length",
  "fragment",
];

/**
 * Decides on transmit: an exact flow, else the first rule that matches, else the longest subnet around dst, else the default.
 * About an ICMP error, an exact flow of it and rules that name ICMP decide first; else as about a packet of the quoted flow's other
 * direction. What would go to one of the `held` if_ids is dropped.
 */
export function decide(
  policy: Policy,
  packet: PacketKey | Malformed,
  held: ReadonlySet<number> = NONE_HELD,
): Decision {
  const decision = decideOpen(policy, packet);
  const { action } = decision;
  if (action.kind !== "connection") return decision;
  const { connection } = action;
  if (!held.has(policy.connections[connection]?.ifId ?? 0)) return decision;
  return { ...decision, action: { kind: "drop", held: connection } };
}

const NONE_HELD: ReadonlySet<number> = new Set();

function decideOpen(policy: Policy, packet: PacketKey | Malformed): Decision {
  if ("malformed" in packet) return { by: "malformed", reason: packet.malformed, action: { kind: "drop" } };
  const naming = icmpRule(policy, packet);
  if (exactFlow(policy, packet) === null && naming !== null) {
    const rule = policy.rules[naming] as Rule;
    return { by: "rule", rule: naming, action: actionOf(policy, rule, packet) };
  }
  return decideAs(policy, decidingPacket(policy, packet));
}

/** The packet that flows, rules and subnets are asked about: the packet itself, or what an ICMP error is followed as. */
export function decidingPacket(policy: Policy, packet: PacketKey): PacketKey {
  const itself = exactFlow(policy, packet) !== null || icmpRule(policy, packet) !== null;
  return itself ? packet : followed(packet);
}

/** Index of the first rule that takes an ICMP error for itself, or null. */
function icmpRule({ rules }: Policy, packet: PacketKey): number | null {
  if (!isErrorType(packet.family, packet.icmpType) || packet.fragment !== "none") return null;
  const index = rules.findIndex(({ match }) => namesIcmp(match, packet.family) && matches(match, packet));
  return index < 0 ? null : index;
}

function decideAs(policy: Policy, packet: PacketKey): Decision {
  const row = exactFlow(policy, packet);
  if (row !== null) {
    const { connection } = policy.flows[`exact${packet.family}`];
    return { by: "flow", row, action: into(policy, connection[row] as number) };
  }
  for (const [index, rule] of policy.rules.entries())
    if (matches(rule.match, packet))
      return { by: "rule", rule: index, action: actionOf(policy, rule, packet) };
  const longest = longestSubnet(policy, dstAddress(packet));
  const [owner] = longest?.connections ?? [];
  // A prefix of several connections decides nothing; a shorter one around it does not step in.
  if (longest !== null && owner !== undefined && longest.connections.length === 1) {
    return { by: "subnet", prefix: longest.prefix, action: into(policy, owner) };
  }
  return { by: "default", action: { kind: policy.default } };
}

/**
 * Whether a decrypted packet of this connection may have its source address: the longest subnet around it is the connection's,
 * and its if_id is none of those `held`.
 */
export function sourceAllowed(
  policy: Policy,
  connection: number,
  packet: PacketKey | Malformed,
  held: ReadonlySet<number> = NONE_HELD,
): boolean {
  if ("malformed" in packet || held.has(policy.connections[connection]?.ifId ?? 0)) return false;
  return longestSubnet(policy, srcAddress(packet))?.connections.includes(connection) ?? false;
}

/**
 * Whether a decrypted packet of this connection is let in: its source is one that the connection may have. An ICMP error may
 * come from elsewhere where it quotes a packet that the connection may have been sent, and may not come at all where that was
 * another's. Nothing is let in of an if_id that is `held`.
 */
export function admitted(
  policy: Policy,
  connection: number,
  packet: PacketKey | Malformed,
  held: ReadonlySet<number> = NONE_HELD,
): boolean {
  if ("malformed" in packet || held.has(policy.connections[connection]?.ifId ?? 0)) return false;
  const owns = sourceAllowed(policy, connection, packet);
  const quote = judgeQuote(policy, connection, packet);
  return owns ? quote !== "others" : quote === "own";
}

function judgeQuote(policy: Policy, connection: number, packet: PacketKey): "own" | "others" | "none" {
  const { quoted, family, proto, icmpType, fragment, dst } = packet;
  // Behind so many extension headers, or behind one that is cut off, there could be an error.
  if (proto === null) return "others";
  if (!isErrorType(family, icmpType)) return "none";
  if (fragment !== "none") return "others";
  if (quoted === null) return "none";
  const { action } = decide(policy, quoted);
  if (action.kind !== "connection") return "none";
  if (action.connection === connection)
    return quoted.src.every((word, i) => word === dst[i]) ? "own" : "none";
  return policy.rules.every(({ match }) => quoteTells(match)) ? "others" : "none";
}

function into(policy: Policy, connection: number, link: string | null = null): Action {
  return { kind: "connection", connection, link: link ?? policy.connections[connection]?.link ?? null };
}

function actionOf(policy: Policy, { to }: Rule, packet: PacketKey): Action {
  const indexOf = (wanted: string) => policy.connections.findIndex(({ name }) => name === wanted);
  switch (to.kind) {
    case "connection":
      return into(policy, indexOf(to.connection), to.link);
    case "group": {
      const member = to.members[groupBuckets(to.members)[flowBucket(packet)] as number];
      return into(policy, indexOf(member?.connection ?? ""));
    }
    default:
      return to;
  }
}

/** Row of the exact flow that a packet belongs to, or null. */
function exactFlow(policy: Policy, packet: PacketKey): number | null {
  const { proto, sport, dport, family } = packet;
  if (proto === null || (PORT_PROTOCOLS.has(proto) && sport === null)) return null;
  const flows = policy.flows[`exact${family}`];
  const ports = (((sport ?? 0) << 16) | (dport ?? 0)) >>> 0;
  const size = packet.src.length;
  const same = (column: Uint32Array, row: number, words: readonly number[]) =>
    words.every((word, index) => column[row * size + index] === word);
  for (let row = 0; row < flows.proto.length; row++)
    if (
      flows.proto[row] === proto &&
      flows.ports[row] === ports &&
      same(flows.src, row, packet.src) &&
      same(flows.dst, row, packet.dst)
    )
      return row;
  return null;
}

/** The longest subnet that contains an address, and the indexes of the connections that have it; null without any. */
export function longestSubnet(
  policy: Policy,
  address: Address,
): { prefix: Prefix; connections: number[] } | null {
  let longest: { prefix: Prefix; connections: number[] } | null = null;
  const consider = (prefix: Prefix, connection: number) => {
    if (!contains(prefix, address)) return;
    if (longest === null || prefix.length > longest.prefix.length)
      longest = { prefix, connections: [connection] };
    else if (prefix.length === longest.prefix.length && !longest.connections.includes(connection))
      longest.connections.push(connection);
  };
  for (const [index, { subnets }] of policy.connections.entries())
    for (const prefix of subnets) consider(prefix, index);
  const flows = policy.flows[`subnets${address.family}`];
  for (let row = 0; row < flows.length.length; row++)
    consider(subnetAt(flows, row, address), flows.connection[row] as number);
  return longest;
}

function subnetAt(
  { words, length }: FlowSubnets,
  row: number,
  { family, words: { length: size } }: Address,
): Prefix {
  return {
    family,
    words: [...words.subarray(row * size, (row + 1) * size)],
    length: length[row] as number,
  };
}

export function matches(match: Match, packet: PacketKey): boolean {
  return MATCH_FIELDS.every((field) => fieldMatches(field, match, packet));
}

/**
 * Whether one field of a match admits a packet. A field that the match leaves open admits all; a packet that lacks the
 * field is admitted neither by values nor by their negation.
 */
export function fieldMatches(field: MatchField, match: Match, packet: PacketKey): boolean {
  if (match[field].length === 0) return true;
  const has = hasOneOf(field, match, packet);
  return has !== null && has !== match.not.includes(field);
}

/** Whether the packet's field has one of the listed values; null where the packet lacks the field. */
function hasOneOf(field: MatchField, match: Match, packet: PacketKey): boolean | null {
  switch (field) {
    case "src":
      return match.src.some((prefix) => contains(prefix, srcAddress(packet)));
    case "dst":
      return match.dst.some((prefix) => contains(prefix, dstAddress(packet)));
    case "proto":
      return packet.proto === null ? null : match.proto.includes(packet.proto);
    case "sport":
    case "dport":
    case "icmpType":
    case "length":
      return inRanges(match[field], packet[field]);
    case "dscp":
    case "ecn":
      return match[field].includes(packet[field]);
    case "mark":
      return match.mark.some(({ value, mask }) => (packet.mark & mask) >>> 0 === value);
    case "iif": {
      const { iif, iifGroup } = packet;
      if (iif === null) return null;
      return match.iif.some((name) => name === iif || name === iifGroup);
    }
    case "fragment":
      return match.fragment.includes(packet.fragment);
  }
}

function inRanges(ranges: readonly Range[], value: number | null): boolean | null {
  return value === null ? null : ranges.some(({ from, to }) => from <= value && value <= to);
}
