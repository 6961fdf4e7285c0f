import { readFileSync } from "node:fs";
import { join } from "node:path";
import protobuf, { type Type } from "protobufjs";
import type { Limits } from "../../esp/lifetime.js";
import { packageRoot } from "../../sys/paths.js";
import type { WireProgram } from "./program.js";

/**
 * Messages of schemas/steering.proto as plain objects, the way protobufjs hands them out: absent messages are null,
 * absent optional fields and members of a oneof are left out, enumerations are their names.
 */

export interface WireLocation {
  file: number;
  line: number;
  column: number;
}

export interface WirePrefix {
  address: Uint8Array;
  length: number;
}

export interface WireMasked {
  value: number;
  mask: number;
}

export interface WireRange {
  from: number;
  to: number;
}

export interface WireSa {
  spi: number;
  file?: string;
  env?: string;
  location: WireLocation | null;
}

export interface WireEsp {
  local: string;
  remote: string;
  localPort: number;
  remotePort: number;
  suite: string;
  out: WireSa | null;
  in: WireSa | null;
  replayWindow: number;
  mode: string;
  inner: { local: string; remote: string } | null;
  encapsulation: string;
  alsoIn: WireSa[];
  esn: boolean;
  padTo: number;
  soft: Limits | null;
  hard: Limits | null;
  offload: { device: string; type: string; required: boolean } | null;
}

export interface WireConnection {
  name: string;
  ifId: number;
  link?: string;
  subnets: WirePrefix[];
  rxMark: WireMasked | null;
  esp: WireEsp | null;
  location: WireLocation | null;
}

export interface WireMatch {
  src: WirePrefix[];
  dst: WirePrefix[];
  proto: number[];
  sport: WireRange[];
  dport: WireRange[];
  icmpType: WireRange[];
  dscp: number[];
  ecn: number[];
  mark: WireMasked[];
  iif: string[];
  length: WireRange[];
  fragment: string[];
  not: string[];
}

export interface WireRule {
  name: string;
  match: WireMatch | null;
  connection?: { connection: string; link?: string };
  group?: { members: { connection: string; weight: number }[] };
  action?: string;
  setMark: WireMasked | null;
  setDscp?: number;
  location: WireLocation | null;
}

export type WireColumns = Record<string, Uint8Array>;

export interface WireFlows {
  files: string[];
  subnets4: WireColumns | null;
  subnets6: WireColumns | null;
  exact4: WireColumns | null;
  exact6: WireColumns | null;
}

export interface WirePolicy {
  version: number;
  backend: string;
  interface: {
    name: string;
    mtu?: number;
    addresses: WirePrefix[];
    guard?: boolean;
    routes: boolean;
  } | null;
  connections: WireConnection[];
  rules: WireRule[];
  flows: WireFlows | null;
  default: string;
  files: string[];
  program: WireProgram | null;
}

export interface WireBundle {
  magic: string;
  format: number;
  policy: Uint8Array;
  sha256: Uint8Array;
}

const types = new Map<string, Type>();

function typeOf(name: string): Type {
  if (types.size === 0) {
    const text = readFileSync(join(packageRoot, "schemas", "steering.proto"), "utf8");
    const { root } = protobuf.parse(text);
    for (const each of ["Bundle", "Policy"]) types.set(each, root.lookupType(`xfrm_steer.v1.${each}`));
  }
  return types.get(name) as Type;
}

export interface Messages {
  Bundle: WireBundle;
  Policy: WirePolicy;
}

export function encodeMessage<M extends keyof Messages>(name: M, value: Messages[M]): Uint8Array {
  const type = typeOf(name);
  return type.encode(type.fromObject(value)).finish();
}

/** @throws Error where the bytes are no such message */
export function decodeMessage<M extends keyof Messages>(name: M, bytes: Uint8Array): Messages[M] {
  const type = typeOf(name);
  return type.toObject(type.decode(bytes), { defaults: true, enums: String }) as Messages[M];
}
