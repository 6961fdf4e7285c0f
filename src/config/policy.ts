/**
 * The policy: what a steer.yaml means once it is parsed and checked.
 *
 * Addresses are kept as 32-bit words in host byte order, most significant word first: one word for IPv4, four for
 * IPv6. Lists that are empty mean "any".
 */

import type { Lifetime } from "../esp/lifetime.js";
import type { OffloadRequest } from "../esp/offload/provider.js";
import type { Encapsulation, Mode } from "../esp/packet.js";
import type { SuiteName } from "../esp/suite.js";

export type Family = 4 | 6;

/** An address prefix (CIDR). Bits behind `length` are zero. */
export interface Prefix {
  readonly family: Family;
  /** 1 word (IPv4) or 4 words (IPv6), host byte order. */
  readonly words: readonly number[];
  readonly length: number;
}

/** An interface address with its prefix length, e.g. 10.0.0.1/24: host bits are kept. */
export type InterfaceAddress = Prefix;

/** Inclusive at both ends. */
export interface Range {
  readonly from: number;
  readonly to: number;
}

/** Matches when (x & mask) == value. */
export interface Masked {
  readonly value: number;
  readonly mask: number;
}

/** Where in a file something was written. Lines and columns start at 1. */
export interface Location {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** Whether a packet is whole, the first fragment of one (which has the upper-layer header), or a later one. */
export type FragmentState = "none" | "first" | "later";

/**
 * What a rule asks of a packet: all of its fields, of each field any of the listed values; an empty list asks nothing.
 *
 * A packet that lacks a field (ports of a later fragment, an unknown protocol, the ICMP type of what is not ICMP, the
 * input interface of what was made here) matches neither a list of values nor its negation.
 */
export interface Match {
  readonly src: readonly Prefix[];
  readonly dst: readonly Prefix[];
  /** IP protocol numbers; of IPv6, the upper-layer protocol behind the extension headers. */
  readonly proto: readonly number[];
  readonly sport: readonly Range[];
  readonly dport: readonly Range[];
  /** Type of an ICMP message over IPv4 or an ICMPv6 message over IPv6, 0 to 255. */
  readonly icmpType: readonly Range[];
  /** Six-bit differentiated services code points. */
  readonly dscp: readonly number[];
  /** Two-bit explicit congestion notification code points (RFC 3168). */
  readonly ecn: readonly number[];
  readonly mark: readonly Masked[];
  /**
   * Names of the interfaces on which a forwarded packet came in; `group:NAME` is every interface of a device group (a
   * name of iproute2's group file, or a number), as it is when the policy is applied.
   */
  readonly iif: readonly string[];
  /** Bytes from the start of the IP header to the end of the packet, 0 to 65575 (a 40-byte IPv6 header and its largest payload). */
  readonly length: readonly Range[];
  readonly fragment: readonly FragmentState[];
  /** Fields whose listed values must not match; each has at least one value. */
  readonly not: readonly MatchField[];
}

export type MatchField = Exclude<keyof Match, "not">;

/** Prefix of an `iif` that names a device group. */
export const DEVICE_GROUP = "group:";

/** A member of a weighted group: a connection, and its share of the flows relative to the others'. */
export interface GroupMember {
  readonly connection: string;
  /** 1 to 255. */
  readonly weight: number;
}

export type Target =
  /** `link` overrides the connection's; null leaves it. */
  | { readonly kind: "connection"; readonly connection: string; readonly link: string | null }
  /** One member by the flow's hash (src/compiler/flow-hash.ts); at least one member, each named once. */
  | { readonly kind: "group"; readonly members: readonly GroupMember[] }
  | { readonly kind: "drop" }
  | { readonly kind: "pass" };

/** What a rule changes of the packets that it decides about, before they go on; null changes nothing. */
export interface SetFields {
  /** skb mark: (mark & ~mask) | value. */
  readonly mark: Masked | null;
  /** Of the inner packet; ECN is kept, and the IPv4 header checksum follows. */
  readonly dscp: number | null;
}

export interface Rule {
  readonly name: string;
  readonly match: Match;
  readonly to: Target;
  readonly set: SetFields;
  readonly location: Location;
}

/** Where each row of a bulk file stood: an index into `Flows.files`, and its line from 1. */
export interface RowOrigins {
  readonly file: Uint8Array;
  readonly line: Uint32Array;
}

/**
 * Rows of bulk files that give a dst prefix alone: further subnets of a connection, in every respect like those of
 * `Connection.subnets` (the longest prefix decides on transmit; sources are admitted on receive). Row i of one family is
 * words[i * n .. i * n + n), n = 1 for IPv4 and 4 for IPv6; bits behind the length are zero. No prefix is there twice,
 * and none is a connection's subnet as well.
 */
export interface FlowSubnets extends RowOrigins {
  readonly words: Uint32Array;
  readonly length: Uint8Array;
  /** Index into `Policy.connections`. */
  readonly connection: Uint32Array;
}

/**
 * Rows of bulk files that give one whole 5-tuple: src, dst (words as in `FlowSubnets`), proto, and the ports where proto
 * has ports (else 0). They decide before the rules do. A packet whose protocol has ports but that lacks them (a later
 * fragment) is none of these. No tuple is there twice.
 */
export interface ExactFlows extends RowOrigins {
  readonly src: Uint32Array;
  readonly dst: Uint32Array;
  readonly proto: Uint8Array;
  /** Source port << 16 | destination port. */
  readonly ports: Uint32Array;
  /** Index into `Policy.connections`. */
  readonly connection: Uint32Array;
}

/** Bulk flows as columns, by family; a million rows are some tens of megabytes and no object each. */
export interface Flows {
  /** Files in the order in which the policy names them. */
  readonly files: readonly string[];
  readonly subnets4: FlowSubnets;
  readonly subnets6: FlowSubnets;
  readonly exact4: ExactFlows;
  readonly exact6: ExactFlows;
}

/** Where a key is kept; the key itself is never part of a policy. */
export type KeySource =
  | { readonly kind: "file"; readonly path: string; readonly location: Location }
  | { readonly kind: "env"; readonly name: string; readonly location: Location };

/** One direction of a manually keyed ESP connection. */
export interface SaConfig {
  readonly spi: number;
  readonly key: KeySource;
}

/** Manual keying for the userspace backend; the kernel backends leave SAs to the IKE daemon. */
export interface EspConfig {
  readonly mode: Mode;
  /** BEET: addresses of the inner packets; else null. */
  readonly inner: { readonly local: string; readonly remote: string } | null;
  readonly encapsulation: Encapsulation;
  /** Outer addresses, as printed by the user (no prefix length). */
  readonly local: string;
  readonly remote: string;
  /** UDP ports of the encapsulation (RFC 3948). */
  readonly localPort: number;
  readonly remotePort: number;
  readonly suite: SuiteName;
  readonly out: SaConfig;
  readonly in: SaConfig;
  /** Inbound SAs that are valid besides, while a rekey is under way. */
  readonly alsoIn: readonly SaConfig[];
  /** Extended sequence numbers. */
  readonly esn: boolean;
  /** Anti-replay window in packets. */
  readonly replayWindow: number;
  /** Bytes that inner packets are padded to, 0 for none. */
  readonly padTo: number;
  readonly lifetime: Lifetime;
  /** Null: software does all of it. */
  readonly offload: OffloadRequest | null;
}

export interface Connection {
  readonly name: string;
  readonly ifId: number;
  /** Underlay device name, or null to let routing choose. */
  readonly link: string | null;
  readonly subnets: readonly Prefix[];
  /** Mark given to packets received on this connection. */
  readonly rxMark: Masked | null;
  readonly esp: EspConfig | null;
  readonly location: Location;
}

export type BackendName = "kernel-bpf" | "kernel-lwt" | "userspace";

export interface InterfaceConfig {
  readonly name: string;
  /** Bytes, or "auto" for what the encapsulation leaves of the underlay. */
  readonly mtu: number | "auto";
  readonly addresses: readonly InterfaceAddress[];
  /** Unreachable routes stand beneath what connections own: it does not leave in the clear when the interface is gone. */
  readonly guard: boolean;
  /** Routes of what connections own into the interface are made and kept. */
  readonly routes: boolean;
}

/** A steering program of the user's own, in front of the rules (bpf/xfrm_steer.h). */
export interface ProgramConfig {
  /** C source or BPF object. */
  readonly file: string;
  /** By the name of the `const volatile` variable; values as written, several for an array or struct. */
  readonly constants: Readonly<Record<string, readonly string[]>>;
  readonly maps: readonly ProgramMapEntry[];
  /** What src/program made of it; null until then. */
  readonly built: BuiltProgram | null;
}

/** One entry of a map of the program's, as written. */
export interface ProgramMapEntry {
  readonly map: string;
  readonly key: readonly string[];
  readonly value: readonly string[];
}

/** A program's object and what it is set to, all as base64: a generation can be made of it again without its file. */
export interface BuiltProgram {
  readonly object: string;
  readonly constants: readonly { readonly name: string; readonly bytes: string }[];
  readonly maps: readonly { readonly map: string; readonly key: string; readonly value: string }[];
}

export interface Policy {
  readonly version: 1;
  readonly backend: "auto" | BackendName;
  readonly interface: InterfaceConfig;
  /** In the order of the file; the index is the connection index of the compiled tables. */
  readonly connections: readonly Connection[];
  /** First match wins. The index is the rule index of the compiled tables. */
  readonly rules: readonly Rule[];
  /** Order of decision: exact flows, rules, subnets (of connections and of flows together), default. */
  readonly flows: Flows;
  /** For what neither a rule nor a connection's subnets decides. */
  readonly default: "drop" | "pass";
  /** Decides before all of these. A policy with a program may have no connections: then it admits every if_id. */
  readonly program?: ProgramConfig;
}
