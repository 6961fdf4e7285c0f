import type { Status } from "../../backends/backend.js";
import { NO_FLOWS } from "../../config/flows.js";
import { ANY_MATCH } from "../../config/match.js";
import type { Connection, Match, Policy, Prefix, Rule } from "../../config/policy.js";
import type { Namespace } from "../namespace.js";
import type { ScenarioContext } from "../scenario.js";
import { connectEsp, type EspConnection } from "../xfrm.js";
import { addUplink, addXfrm } from "./hub.js";

/** The features that every scenario of the kernel-bpf backend needs. */
export const BPF_NEEDS = ["esp", "xfrm-external", "bpf-kfunc"] as const;

export interface Peer {
  readonly ns: Namespace;
  readonly outer: { readonly hub: string; readonly peer: string };
  readonly connection: EspConnection;
}

/**
 * Makes the namespace peerINDEX and connects it to the hub by uplink INDEX: if_id INDEX on the hub, 10 + INDEX on the
 * peer, whose own xfrm interface, ipsec0, has the addresses. SPI 0x100 * INDEX leads to the peer, the next one back.
 */
export async function addPeer(
  t: ScenarioContext,
  hub: Namespace,
  index: number,
  addresses: readonly string[],
  options: { family?: 4 | 6; offload?: string } = {},
): Promise<Peer> {
  const ns = t.ns(`peer${index}`);
  const outer = await addUplink(t, hub, ns, index);
  await addXfrm(ns, "ipsec0", 10 + index, ...addresses);
  const { family = 4, offload } = options;
  const connection: EspConnection = {
    a: { ns: hub, address: outer.hub, ifId: index, ...(offload === undefined ? {} : { offload }) },
    b: { ns, address: outer.peer, ifId: 10 + index },
    family,
    spi: 0x100 * index,
    reqid: index,
  };
  await connectEsp(connection);
  return { ns, outer, connection };
}

export interface HubPolicy {
  addresses?: readonly string[];
  /** Bytes; default what the encapsulation leaves. */
  mtu?: number;
  /** Each as a YAML flow mapping. */
  connections: Readonly<Record<string, string>>;
  /** Each as a YAML flow mapping. */
  rules?: readonly string[];
}

/** A steer.yaml for the kernel-bpf backend. */
export function hubPolicy({ addresses = [], mtu, connections, rules = [] }: HubPolicy): string {
  return [
    "version: 1",
    "backend: kernel-bpf",
    `interface: {name: ipsec0, mtu: ${mtu ?? "auto"}, addresses: ${JSON.stringify(addresses)}}`,
    "connections:",
    ...Object.entries(connections).map(([name, connection]) => `  ${name}: ${connection}`),
    "rules:",
    ...rules.map((rule) => `  - ${rule}`),
  ]
    .filter((line) => line !== "rules:" || rules.length > 0)
    .join("\n");
}

/** Packets of each connection, as the classifier counted them. */
export function packetsByConnection(status: Status) {
  return Object.fromEntries(
    status.connections.map(({ name, sent, received, badSource }) => [
      name,
      { sent: sent.packets, received: received.packets, badSource: badSource.packets },
    ]),
  );
}

/** Where a policy that is made here rather than read says it comes from. */
const LOCATION = { file: "scenario", line: 1, column: 1 };

/** An IPv4 prefix of a policy. */
export function prefix4(address: string, length = 32): Prefix {
  const bytes = Buffer.from(address.split(".").map(Number));
  return { family: 4, words: [bytes.readUInt32BE(0)], length };
}

/** A connection of a policy. */
export function connection(name: string, ifId: number, subnets: readonly Prefix[]): Connection {
  return { ...{ name, ifId, subnets }, link: null, rxMark: null, esp: null, location: LOCATION };
}

/** A rule of a policy; what `match` leaves out matches any. */
export function ruleTo(connectionName: string, name: string, match: Partial<Match>): Rule {
  return {
    name,
    match: { ...ANY_MATCH, ...match },
    to: { kind: "connection", connection: connectionName, link: null },
    set: { mark: null, dscp: null },
    location: LOCATION,
  };
}

/** A policy for the kernel-bpf backend: reading thousands of lines of YAML takes minutes under emulation. */
export function largePolicy(
  address: Prefix,
  connections: readonly Connection[],
  rules: readonly Rule[] = [],
): Policy {
  return {
    version: 1,
    backend: "kernel-bpf",
    interface: { name: "ipsec0", mtu: "auto", addresses: [address] },
    ...{ connections, rules, flows: NO_FLOWS, default: "drop" },
  };
}
