import type { Family, Match, MatchField } from "../config/policy.js";
import { ICMP_OF } from "../config/protocols.js";
import type { PacketKey } from "./packet.js";

/**
 * ICMP errors belong to the flow of the packet that they quote (RFC 4301 section 6); bpf/quote.h says what follows from that
 * and derives the same.
 */

/** Whether a rule names ICMP of the family: it applies to ICMP errors themselves, and comes before what they quote. */
export function namesIcmp(match: Match, family: Family): boolean {
  return !match.not.includes("proto") && match.proto.includes(ICMP_OF[family]);
}

/** Fields of which a quoted packet does not show what they were when it was sent. */
const HIDDEN: readonly MatchField[] = ["mark", "iif", "dscp", "ecn", "length"];

/** Whether a packet that is quoted shows all that a rule asks for. */
export function quoteTells(match: Match): boolean {
  return HIDDEN.every((field) => match[field].length === 0);
}

/** Echo requests and replies, which are each other's other direction (RFC 792, RFC 4443 section 4). */
const ECHO = { 4: [8, 0], 6: [128, 129] } as const;

/**
 * What decides about an ICMP error that no exact flow and no rule takes for itself: a packet of the quoted flow's other
 * direction, with the error's own mark, input interface, DSCP, ECN and length. The error itself where its quote cannot be
 * read, or is of a packet that was not sent by whom the error is for.
 */
export function followed(error: PacketKey): PacketKey {
  const { quoted } = error;
  if (quoted === null || quoted.src.some((word, i) => word !== error.dst[i])) return error;
  const { src, dst, sport, dport, proto, fragment, icmpType, family } = quoted;
  const [request, reply] = ECHO[family];
  const answering = icmpType === request ? reply : icmpType === reply ? request : icmpType;
  return {
    ...error,
    ...{ src: dst, dst: src, sport: dport, dport: sport },
    ...{ proto, fragment, icmpType: answering, quoted: null },
  };
}
