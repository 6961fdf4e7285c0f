import { contains, formatPrefix, overlaps, parseAddress } from "../config/address.js";
import { coversMatch } from "../config/cover.js";
import type { Diagnostic } from "../config/diagnostics.js";
import { sidePrefixes } from "../config/families.js";
import { ANY_MATCH } from "../config/match.js";
import type { Connection, EspConfig, Policy, Rule } from "../config/policy.js";
import { PrefixMap } from "../config/prefix-map.js";
import { targetConnections } from "../config/target.js";
import { splitFragments } from "./fragments.js";
import type { PacketKey } from "./packet.js";
import { matches } from "./reference.js";
import { unansweredRules } from "./replies.js";

/**
 * What is legal in a policy and hardly meant: beside the warnings that reading it gives (rules that can never match,
 * subnets inside each other, groups of one), those that need the whole of it.
 */
export function lint(policy: Policy): Diagnostic[] {
  return [
    ...swallowedTunnels(policy),
    ...shadowedSubnets(policy),
    ...unusedConnections(policy),
    ...unansweredRules(policy),
    ...splitFragments(policy),
  ];
}

function warning(at: Rule | Connection, message: string, hint: string): Diagnostic {
  return { ...at.location, severity: "warning", message, hint };
}

/** Rules and subnets that would send a tunnel's own outer packets into the tunnel: a loop, if routing brings them here. */
function* swallowedTunnels({ connections, rules }: Policy): Generator<Diagnostic> {
  const byTarget = rulesByTarget(rules);
  const decidedBefore = (end: number, key: PacketKey) =>
    rules.some(({ match }, index) => index < end && matches(match, key));
  for (const connection of connections) {
    if (connection.esp === null) continue;
    const { remote } = connection.esp;
    const packets = outerPackets(connection.esp);
    for (const index of byTarget.get(connection.name) ?? []) {
      const rule = rules[index] as Rule;
      const found = packets.find(({ key }) => matches(rule.match, key) && !decidedBefore(index, key));
      if (found === undefined) continue;
      yield warning(
        rule,
        `rule ${rule.name} also matches the ${found.what} packets of its own tunnel to ${remote}`,
        `put a rule with match: {dst: ${yamlAddress(remote)}} and another target in front of it, or narrow its match`,
      );
    }
    const other = parseAddress(remote);
    // In transport mode the two are the same address: with a link the outer packet takes another route. Not so over IPv6,
    // where a packet with a source address may leave by another interface than its flowi6_oif.
    if (connection.esp.mode === "transport" && connection.link !== null && other?.family === 4) continue;
    const subnet = connection.subnets.find((prefix) => other !== null && contains(prefix, other));
    if (subnet === undefined || packets.every(({ key }) => decidedBefore(rules.length, key))) continue;
    yield warning(
      connection,
      `${formatPrefix(subnet)} of ${connection.name} contains the other end of its own tunnel, ${remote}`,
      "narrow the subnet, or add a rule that takes the tunnel's packets",
    );
  }
}

/** Indexes of the rules that lead to each connection, in their order. */
function rulesByTarget(rules: readonly Rule[]): Map<string, number[]> {
  const byTarget = new Map<string, number[]>();
  for (const [index, { to }] of rules.entries())
    for (const name of targetConnections(to)) {
      const list = byTarget.get(name);
      if (list === undefined) byTarget.set(name, [index]);
      else list.push(index);
    }
  return byTarget;
}

interface OuterPacket {
  readonly what: "ESP" | "IKE";
  readonly key: PacketKey;
}

/** ESP in UDP on the connection's ports (RFC 3948), plain ESP, and IKE (RFC 7296 section 2). */
function outerPackets({ local, remote, localPort, remotePort }: EspConfig): OuterPacket[] {
  const src = parseAddress(local);
  const dst = parseAddress(remote);
  if (src === null || dst === null || src.family !== dst.family) return [];
  const key = (proto: number, sport: number | null, dport: number | null): PacketKey => ({
    family: src.family,
    src: src.words,
    dst: dst.words,
    proto,
    sport,
    dport,
    icmpType: null,
    dscp: 0,
    ecn: 0,
    fragment: "none",
    mark: 0,
    iif: null,
    iifGroup: null,
    length: 1400,
    quoted: null,
  });
  return [
    { what: "ESP", key: key(17, localPort, remotePort) },
    { what: "ESP", key: key(50, null, null) },
    { what: "IKE", key: key(17, 500, 500) },
  ];
}

function yamlAddress(address: string): string {
  return address.includes(":") ? `"${address}"` : address;
}

/** Subnets all of whose packets a rule takes elsewhere, while no rule in front of it leads any of them here. */
function* shadowedSubnets({ connections, rules }: Policy): Generator<Diagnostic> {
  // By dst: the first rule that asks for nothing else. Only such a rule can take a whole subnet.
  const takers = new PrefixMap<number>();
  for (const [index, { match }] of rules.entries()) {
    if (match.not.includes("dst") || !coversMatch({ ...match, dst: [] }, ANY_MATCH)) continue;
    for (const prefix of sidePrefixes(match, "dst"))
      if (takers.get(prefix) === undefined) takers.set(prefix, index);
  }
  const byTarget = rulesByTarget(rules);
  for (const connection of connections)
    for (const prefix of connection.subnets) {
      const taker = Math.min(...takers.covering(prefix));
      const rule = rules[taker];
      if (rule === undefined || targetConnections(rule.to).includes(connection.name)) continue;
      const leadsHere = (index: number) =>
        index < taker &&
        sidePrefixes((rules[index] as Rule).match, "dst").some((dst) => overlaps(dst, prefix));
      if ((byTarget.get(connection.name) ?? []).some(leadsHere)) continue;
      yield warning(
        connection,
        `no packet goes to ${formatPrefix(prefix)} of ${connection.name} by its subnet: rule ${rule.name} takes them all`,
        `put a rule with to: ${connection.name} in front of ${rule.name} if that is not meant`,
      );
    }
}

/** Connections whose if_id no packet can get, and from which none is admitted. */
function* unusedConnections({ connections, rules, flows }: Policy): Generator<Diagnostic> {
  const used = new Set(rules.flatMap(({ to }) => targetConnections(to)));
  const byFlow = new Uint8Array(connections.length);
  for (const { connection } of [flows.subnets4, flows.subnets6, flows.exact4, flows.exact6])
    for (const index of connection) byFlow[index] = 1;
  for (const [index, connection] of connections.entries()) {
    if (used.has(connection.name) || connection.subnets.length > 0 || byFlow[index]) continue;
    yield warning(
      connection,
      `if_id ${connection.ifId} of ${connection.name} is never used: no rule, subnet or flow leads there`,
      `give ${connection.name} subnets or a rule, or remove it`,
    );
  }
}
