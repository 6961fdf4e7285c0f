import {
  type Address,
  addressBits,
  contains,
  formatAddress,
  formatPrefix,
  parseAddress,
} from "../config/address.js";
import type { Diagnostic } from "../config/diagnostics.js";
import type { Connection, Family, FlowSubnets, Policy, Prefix } from "../config/policy.js";
import { allocatePrefixes, mergeEqual, type PrefixColumns, putPrefix, sortPrefixes } from "./prefix-set.js";
import { buildPrefixTrie, type PrefixTrie } from "./prefix-table.js";
import { Table } from "./table.js";

/**
 * Which plaintext the program on the underlay's devices refuses (bpf/underlay_ingress.bpf.c): that whose source is of a
 * connection, unless packets of that source may well come without the tunnel.
 */

/** Owners in the program's tables: enum source. */
const REFUSED = 0;
const EXEMPT = 1;

const FAMILIES: readonly Family[] = [4, 6];

/** UDP ports of IKE (RFC 7296 section 2) and of ESP in UDP (RFC 3948). */
const IKE_PORTS = [500, 4500];

/** A connection without this check, in one family. */
export interface Exemption {
  readonly connection: Connection;
  readonly family: Family;
  /** What it owns. */
  readonly reason: string;
}

/** Other ends of a connection's SAs, as far as they are known. */
export type PeersOf = (connection: Connection) => readonly Address[];

/** What the policy says of them: the kernel's SAs are not in it. */
export const configuredPeers: PeersOf = ({ esp }) => {
  const remote = esp === null ? null : parseAddress(esp.remote);
  return remote === null ? [] : [remote];
};

/**
 * Connections that own everything, and so what the underlay's own hosts send, and those that own the other end of their own
 * tunnel or transport, which has traffic beside that.
 */
export function exemptions(policy: Policy, peersOf: PeersOf = configuredPeers): Exemption[] {
  const { connections, flows } = policy;
  const peers = connections.map(peersOf);
  const bulk = { 4: bulkWithPeer(flows.subnets4, 4, peers), 6: bulkWithPeer(flows.subnets6, 6, peers) };
  return connections.flatMap((connection, index) =>
    FAMILIES.flatMap((family) => {
      const { subnets } = connection;
      const reason = coversAll(subnets, family)
        ? `all of IPv${family}`
        : (withPeer(subnets, peers[index] as readonly Address[]).get(family) ?? bulk[family].get(index));
      return reason === undefined ? [] : [{ connection, family, reason }];
    }),
  );
}

/** Connections that `check` names, each in a line of its own. */
const NAMED = 3;

/** Notes of `check` about the connections without this check, and why; the last line counts those that are not named. */
export function underlayNotes(policy: Policy): Diagnostic[] {
  if (!asksForGuard(policy)) return [];
  const all = exemptions(policy);
  const more = all.length - NAMED;
  return all.slice(0, NAMED).map(({ connection, reason }, index) => ({
    ...connection.location,
    severity: "note",
    message:
      `plaintext from the underlay with a source of ${connection.name} is not refused: it owns ${reason}` +
      (index === NAMED - 1 && more > 0 ? `; the same holds for ${more} more` : ""),
    hint: "own less, if sources are to be checked where they come in",
  }));
}

/** Whether a policy asks for it. */
export function asksForGuard(policy: Policy): boolean {
  return policy.interface.guard;
}

const owning = (prefix: Prefix, peer: Address) =>
  `${formatPrefix(prefix)}, and its own peer ${formatAddress(peer)} is in that`;

/** Why a connection is exempt for its own peer's sake, by family. */
function withPeer(subnets: readonly Prefix[], peers: readonly Address[]): Map<Family, string> {
  return new Map(
    peers.flatMap((peer) => {
      const subnet = subnets.find((prefix) => contains(prefix, peer));
      return subnet === undefined ? [] : [[peer.family, owning(subnet, peer)] as const];
    }),
  );
}

/** The same for the subnets of bulk files, by the connection's index. */
function bulkWithPeer(
  { words, length, connection }: FlowSubnets,
  family: Family,
  peers: readonly (readonly Address[])[],
): Map<number, string> {
  const found = new Map<number, string>();
  const each = family === 4 ? 1 : 4;
  connection.forEach((index, row) => {
    for (const peer of peers[index] ?? []) {
      if (peer.family !== family || found.has(index)) continue;
      const own = {
        family,
        words: [...words.subarray(row * each, (row + 1) * each)],
        length: length[row] ?? 0,
      };
      if (contains(own, peer)) found.set(index, owning(own, peer));
    }
  });
  return found;
}

/** Whether prefixes are all of a family together, as 0.0.0.0/1 and 128.0.0.0/1 are. */
function coversAll(prefixes: readonly Prefix[], family: Family): boolean {
  const own = prefixes.filter((prefix) => prefix.family === family);
  // Those that overlap count twice: it can only be all of it where this is 1.
  if (own.reduce((sum, { length }) => sum + 2 ** -length, 0) < 1) return false;
  const byLength = Array.from({ length: addressBits(family) + 1 }, () => new Set<string>());
  for (const { words, length } of own) byLength[length]?.add(bitsOf(words, length));
  for (let length = addressBits(family); length > 0; length--)
    for (const bits of byLength[length] ?? [])
      if (bits.endsWith("0") && byLength[length]?.has(`${bits.slice(0, -1)}1`))
        byLength[length - 1]?.add(bits.slice(0, -1));
  return byLength[0]?.has("") ?? false;
}

function bitsOf(words: readonly number[], length: number): string {
  return words
    .map((word) => word.toString(2).padStart(32, "0"))
    .join("")
    .slice(0, length);
}

/** Tables and constants of the program. */
export interface UnderlayTables {
  readonly trie4: Uint8Array;
  readonly trie6: Uint8Array;
  readonly subnets4: PrefixTrie;
  readonly subnets6: PrefixTrie;
  /** A bit for each UDP port whose datagrams pass. */
  readonly openPorts: Uint8Array;
}

/** @returns null where there is nothing to refuse. @throws CompileError where there are too many prefixes */
export function compileUnderlay(policy: Policy, exempt: readonly Exemption[]): UnderlayTables | null {
  const sources = { 4: sourcesOf(policy, exempt, 4), 6: sourcesOf(policy, exempt, 6) };
  if (!FAMILIES.some((family) => hasRefused(sources[family]))) return null;
  const table = (family: Family) => {
    const name = `trie${family}` as const;
    const words = new Table(name);
    // Of one that is shared, EXEMPT comes last: what one of them may get in the clear, passes.
    const set = mergeEqual(sortPrefixes(sources[family]), (owners) => Math.max(...owners));
    const trie = buildPrefixTrie(set, words, name);
    return { trie, bytes: words.finish(false) };
  };
  const [four, six] = [table(4), table(6)];
  return {
    trie4: four.bytes,
    trie6: six.bytes,
    subnets4: four.trie,
    subnets6: six.trie,
    openPorts: openPorts(policy),
  };
}

function hasRefused({ owner }: PrefixColumns): boolean {
  return owner.includes(REFUSED);
}

/** All that connections own in one family. */
function sourcesOf(
  { connections, flows }: Policy,
  exempt: readonly Exemption[],
  family: Family,
): PrefixColumns {
  const free = new Set(
    exempt.filter((each) => each.family === family).map(({ connection }) => connection.name),
  );
  const ownerOf = ({ name }: Connection) => (free.has(name) ? EXEMPT : REFUSED);
  const bulk = flows[`subnets${family}`];
  let count = bulk.length.length;
  for (const { subnets } of connections) for (const prefix of subnets) if (prefix.family === family) count++;
  const columns = allocatePrefixes(family, count);
  columns.words.set(bulk.words);
  columns.length.set(bulk.length);
  bulk.connection.forEach((index, at) => {
    columns.owner[at] = ownerOf(connections[index] as Connection);
  });
  let at = bulk.length.length;
  for (const connection of connections)
    for (const prefix of connection.subnets)
      if (prefix.family === family) putPrefix(columns, at++, prefix, ownerOf(connection));
  return columns;
}

function openPorts({ connections }: Policy): Uint8Array {
  const bits = new Uint8Array(65536 / 8);
  const own = connections.flatMap(({ esp }) => (esp?.encapsulation === "udp" ? [esp.localPort] : []));
  for (const port of [...IKE_PORTS, ...own])
    bits[port >> 3] = (bits[port >> 3] as number) | (1 << (port & 7));
  return bits;
}
