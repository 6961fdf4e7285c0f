import type { Status } from "../../backends/backend.js";
import { type Connection, type Match, type Policy, type Prefix, parsePolicy } from "../../config/index.js";
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

/** An IPv4 prefix of a policy. */
export function prefix4(address: string, length = 32): Prefix {
  const bytes = Buffer.from(address.split(".").map(Number));
  return { family: 4, words: [bytes.readUInt32BE(0)], length };
}

export interface LargePolicy {
  /** Of the interface, with its prefix length. */
  address: string;
  connections: readonly Pick<Connection, "name" | "ifId" | "subnets">[];
  /** What `match` leaves out matches any. */
  rules?: readonly { name: string; to: string; match: Partial<Match> }[];
}

/** As hubPolicy(), for thousands of lines: to read them as YAML takes minutes under emulation. */
export function largePolicy({ address, connections, rules = [] }: LargePolicy): Policy {
  const { policy: one } = parsePolicy(
    hubPolicy({
      addresses: [address],
      connections: { any: "{if_id: 1, subnets: [192.0.2.0/24]}" },
      rules: ["{name: any, match: {}, to: any}"],
    }),
    "scenario",
  );
  const [connection, rule] = [one?.connections[0], one?.rules[0]];
  if (!one || !connection || !rule) throw new Error("the pattern of a large policy is not valid any more");
  return {
    ...one,
    connections: connections.map((each) => ({ ...connection, ...each })),
    rules: rules.map(({ name, to, match }) => ({
      ...{ ...rule, name, match: { ...rule.match, ...match } },
      to: { kind: "connection", connection: to, link: null },
    })),
  };
}
