import { basename } from "node:path";
import { formatAddress, formatPrefix } from "../config/address.js";
import { SET_NOTHING } from "../config/match.js";
import type { Match, MatchField, Policy, Range, Rule, SetFields } from "../config/policy.js";
import { dscpName, ecnName, protocolName } from "../config/protocols.js";
import { formatTarget } from "../config/target.js";
import { formatFlow } from "./flow.js";
import { BUCKETS, flowBucket } from "./flow-hash.js";
import { dstAddress, isErrorType, type Malformed, type PacketKey, srcAddress } from "./packet.js";
import { namesIcmp } from "./quote.js";
import {
  type Decision,
  decide,
  decidingPacket,
  fieldMatches,
  longestSubnet,
  MATCH_FIELDS,
} from "./reference.js";
import { unansweredPacket } from "./replies.js";

/** One rule on the way to the decision. */
export interface Step {
  readonly rule: string;
  /** In the policy's list. */
  readonly index: number;
  /** Where the rule is written; lines start at 1. */
  readonly file: string;
  readonly line: number;
  readonly matched: boolean;
  /** Asked about an ICMP error itself, before what it quotes: only rules that name ICMP are. */
  readonly ofError: boolean;
  /** For each field that did not match: what it wants and what the packet has. */
  readonly reasons: readonly string[];
}

export interface Explanation {
  /** The packet in words; null when it is malformed. */
  readonly flow: string | null;
  /** Of an ICMP error that no flow and no rule takes for itself: the quoted flow's other direction, as which it is decided. */
  readonly follows: string | null;
  /** File of the policy's program, which comes first: the rest holds for what it leaves to the rules. */
  readonly program: string | null;
  readonly decision: Decision;
  /** Name of the deciding rule, or null. */
  readonly rule: string | null;
  /** Where the packet goes, or null when it goes into no connection. */
  readonly connection: { readonly name: string; readonly ifId: number; readonly link: string | null } | null;
  /** What the rule changes of the packet on its way. */
  readonly set: SetFields;
  /** Why the packet goes there, in one sentence. */
  readonly summary: string;
  /** That replies to it would be dropped, and why, in one sentence; null where they would be admitted. */
  readonly unanswered: string | null;
  /** The rules up to the one that matched, or all. */
  readonly steps: readonly Step[];
}

/** Says what becomes of a packet on transmit, and why each rule in front of the deciding one did not match. */
export function explain(policy: Policy, packet: PacketKey | Malformed): Explanation {
  const decision = decide(policy, packet);
  const asked = "malformed" in packet ? packet : decidingPacket(policy, packet);
  const follows = asked === packet || "malformed" in asked ? null : formatFlow(asked);
  const { action } = decision;
  const target = action.kind === "connection" ? policy.connections[action.connection] : undefined;
  const connection =
    target === undefined || action.kind !== "connection"
      ? null
      : { name: target.name, ifId: target.ifId, link: action.link };
  const rule = decision.by === "rule" ? (policy.rules[decision.rule]?.name ?? null) : null;
  const set = decision.by === "rule" ? (policy.rules[decision.rule]?.set ?? SET_NOTHING) : SET_NOTHING;
  return {
    flow: "malformed" in packet ? null : formatFlow(packet),
    follows,
    program: policy.program?.file ?? null,
    decision,
    rule,
    connection,
    set,
    summary: `${becomes(decision, connection)}${changed(set)}: ${because(policy, asked, decision, rule)}`,
    // Nobody answers an error.
    unanswered: isError(packet) ? null : unansweredPacket(policy, packet, decision),
    steps: "malformed" in packet || "malformed" in asked ? [] : steps(policy, packet, asked, decision),
  };
}

/** The explanation for a terminal, one line a rule. */
export function formatExplanation(explanation: Explanation): string {
  const { flow, follows, program, summary, unanswered, steps } = explanation;
  const severalFiles = new Set(steps.map(({ file }) => file)).size > 1;
  const lineOf = ({ rule, file, line, matched, ofError, reasons }: Step) => {
    const outcome = `${matched ? "matches" : "does not match"}${ofError ? " the ICMP error itself" : ""}`;
    const why = matched ? "" : `: ${reasons.join("; ")}`;
    return `  rule ${rule} (${severalFiles ? `${file}:` : "line "}${line}) ${outcome}${why}`;
  };
  const lines = [
    ...steps.filter(({ ofError }) => ofError).map(lineOf),
    ...(follows === null ? [] : [`  it follows what it quotes, the other way: ${follows}`]),
    ...steps.filter(({ ofError }) => !ofError).map(lineOf),
  ];
  const first =
    program === null
      ? []
      : [`  program ${basename(program)} comes first; the rest holds for what it leaves to the rules`];
  return [
    ...(flow === null ? [] : [flow]),
    ...first,
    ...lines,
    summary,
    ...(unanswered === null ? [] : [unanswered]),
  ].join("\n");
}

/** @param asked what is decided in the packet's place, where it is an ICMP error */
function steps(policy: Policy, packet: PacketKey, asked: PacketKey, decision: Decision): Step[] {
  if (decision.by === "flow") return []; // it comes before the rules
  const last = decision.by === "rule" ? decision.rule : policy.rules.length - 1;
  const naming = isError(packet)
    ? policy.rules.flatMap(({ match }, index) => (namesIcmp(match, packet.family) ? [index] : []))
    : [];
  const taken = decision.by === "rule" && asked === packet && naming.includes(decision.rule);
  return [
    ...naming.filter((index) => !taken || index <= last).map((index) => stepOf(policy, index, packet, true)),
    ...(taken ? [] : [...policy.rules.keys()])
      .filter((index) => index <= last)
      .map((index) => stepOf(policy, index, asked, false)),
  ];
}

function isError(packet: PacketKey | Malformed): boolean {
  if ("malformed" in packet) return false;
  return isErrorType(packet.family, packet.icmpType) && packet.fragment === "none";
}

function stepOf({ rules }: Policy, index: number, packet: PacketKey, ofError: boolean): Step {
  const { name, match, location } = rules[index] as Rule;
  const failing = MATCH_FIELDS.filter((field) => !fieldMatches(field, match, packet));
  return {
    rule: name,
    index,
    file: location.file,
    line: location.line,
    matched: failing.length === 0,
    ofError,
    reasons: failing.map(
      (field) => `wants ${keyOf(field)} ${formatField(field, match)}, the packet has ${found(field, packet)}`,
    ),
  };
}

/** The field's key in a steer.yaml. */
export function keyOf(field: MatchField): string {
  return field === "icmpType" ? "icmp_type" : field;
}

function becomes({ action }: Decision, connection: Explanation["connection"]): string {
  if (action.kind === "drop")
    return action.held === undefined ? "dropped" : "dropped while its if_id is held";
  if (action.kind === "pass") return "passed on without a connection";
  if (connection === null) return "dropped";
  const link = connection.link === null ? "" : `, link ${connection.link}`;
  return `goes to connection ${connection.name} (if_id ${connection.ifId}${link})`;
}

function changed(set: SetFields): string {
  return set.mark === null && set.dscp === null ? "" : `, with ${formatSet(set)} set`;
}

export function formatSet({ mark, dscp }: SetFields): string {
  const parts = [
    ...(mark === null ? [] : [`mark ${hex(mark.value)}/${hex(mark.mask)}`]),
    ...(dscp === null ? [] : [`dscp ${dscpName(dscp)}`]),
  ];
  return parts.length === 0 ? "nothing" : parts.join(" and ");
}

function because(
  policy: Policy,
  packet: PacketKey | Malformed,
  decision: Decision,
  rule: string | null,
): string {
  switch (decision.by) {
    case "malformed":
      return `the packet is malformed (${decision.reason})`;
    case "flow":
      return `the exact flow in ${flowOrigin(policy, packet, decision.row)} decides`;
    case "rule":
      return `rule ${rule} decides${chosenIn(policy, packet, decision.rule)}`;
    case "subnet":
      return `no rule matches, and ${formatPrefix(decision.prefix)} is the longest subnet around its destination`;
    case "default": {
      const shared = "malformed" in packet ? null : longestSubnet(policy, dstAddress(packet));
      if (shared === null)
        return `no rule matches and no connection has its destination, so default: ${policy.default} decides`;
      const names = shared.connections.map((index) => policy.connections[index]?.name).join(" and ");
      return `no rule matches, and ${formatPrefix(shared.prefix)} is a subnet of ${names}, so default: ${policy.default} decides`;
    }
  }
}

/** For a group: the bucket that the flow's hash picked. */
function chosenIn({ rules }: Policy, packet: PacketKey | Malformed, rule: number): string {
  const to = rules[rule]?.to;
  if (to?.kind !== "group" || "malformed" in packet) return "";
  return `, and the flow's hash picks bucket ${flowBucket(packet)} of ${BUCKETS} in the group ${formatTarget(to)}`;
}

/** File and line of a packet's exact flow. */
function flowOrigin({ flows }: Policy, packet: PacketKey | Malformed, row: number): string {
  if ("malformed" in packet) return "no file";
  const { file, line } = flows[`exact${packet.family}`];
  return `${flows.files[file[row] ?? 0]}:${line[row]}`;
}

/** What a match asks of one field, in words. */
export function formatField(field: MatchField, match: Match): string {
  if (match[field].length === 0) return "any";
  const values = valuesOf(field, match).join(" or ");
  return match.not.includes(field) ? `not ${values}` : values;
}

function valuesOf(field: MatchField, match: Match): readonly string[] {
  switch (field) {
    case "src":
    case "dst":
      return match[field].map(formatPrefix);
    case "sport":
    case "dport":
    case "icmpType":
    case "length":
      return match[field].map(formatRange);
    case "proto":
      return match.proto.map(protocolName);
    case "dscp":
      return match.dscp.map(dscpName);
    case "ecn":
      return match.ecn.map(ecnName);
    case "mark":
      return match.mark.map(({ value, mask }) => `${hex(value)}/${hex(mask)}`);
    case "iif":
    case "fragment":
      return match[field];
  }
}

function found(field: MatchField, packet: PacketKey): string {
  switch (field) {
    case "src":
      return formatAddress(srcAddress(packet));
    case "dst":
      return formatAddress(dstAddress(packet));
    case "sport":
    case "dport":
      return packet[field] === null ? "no ports" : String(packet[field]);
    case "icmpType":
      return packet.icmpType === null ? "none" : String(packet.icmpType);
    case "ecn":
      return ecnName(packet.ecn);
    case "length":
      return `${packet.length} bytes`;
    case "fragment":
      return packet.fragment;
    case "proto":
      return packet.proto === null ? "none that can be read" : protocolName(packet.proto);
    case "dscp":
      return dscpName(packet.dscp);
    case "mark":
      return hex(packet.mark);
    case "iif":
      return deviceOf(packet);
  }
}

function deviceOf({ iif, iifGroup }: PacketKey): string {
  if (iif === null) return "none, as it was made here";
  return iifGroup === null ? iif : `${iif} (${iifGroup})`;
}

function formatRange({ from, to }: Range): string {
  return from === to ? String(from) : `${from}-${to}`;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
