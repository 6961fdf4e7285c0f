/**
 * The policy: what a steer.yaml means once it is parsed and checked.
 *
 * Addresses are kept as 32-bit words in host byte order, most significant word first: one word for IPv4, four for
 * IPv6. Lists that are empty mean "any".
 */

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

export interface Match {
  readonly src: readonly Prefix[];
  readonly dst: readonly Prefix[];
  /** IP protocol number, or null for any. */
  readonly proto: number | null;
  readonly sport: readonly Range[];
  readonly dport: readonly Range[];
  /** Six-bit differentiated services code point, or null for any. */
  readonly dscp: number | null;
  readonly mark: Masked | null;
  /** Name of the interface on which a forwarded packet came in, or null for any. */
  readonly iif: string | null;
}

export type Target =
  | { readonly kind: "connection"; readonly connection: string }
  | { readonly kind: "drop" }
  | { readonly kind: "pass" };

export interface Rule {
  readonly name: string;
  readonly match: Match;
  readonly to: Target;
  readonly location: Location;
}

/** Where a key is kept; the key itself is never part of a policy. */
export type KeySource =
  | { readonly kind: "file"; readonly path: string; readonly location: Location }
  | { readonly kind: "env"; readonly name: string; readonly location: Location };

export type Suite = "aes128-gcm" | "aes256-gcm";

/** One direction of a manually keyed ESP connection. */
export interface SaConfig {
  readonly spi: number;
  readonly key: KeySource;
}

/** Manual keying for the userspace backend; the kernel backends leave SAs to the IKE daemon. */
export interface EspConfig {
  /** Outer addresses, as printed by the user (no prefix length). */
  readonly local: string;
  readonly remote: string;
  /** UDP ports of the encapsulation (RFC 3948). */
  readonly localPort: number;
  readonly remotePort: number;
  readonly suite: Suite;
  readonly out: SaConfig;
  readonly in: SaConfig;
  /** Anti-replay window in packets. */
  readonly replayWindow: number;
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
  /** For what neither a rule nor a connection's subnets decides. */
  readonly default: "drop" | "pass";
  /** Decides before all of these. A policy with a program may have no connections: then it admits every if_id. */
  readonly program?: ProgramConfig;
}
