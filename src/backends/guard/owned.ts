import { allocatePrefixes, type PrefixColumns, putPrefix } from "../../compiler/prefix-set.js";
import { covers, parsePrefix } from "../../config/address.js";
import type { Family, Policy, Prefix } from "../../config/policy.js";
import { distinct, without } from "./aggregate.js";

/** Prefixes that a policy's connections own, by their subnets and by flow files' rows: sorted, each once. */
export function ownedPrefixes({ connections, flows }: Policy, family: Family): PrefixColumns {
  const written = connections.flatMap(({ subnets }) => subnets.filter((prefix) => prefix.family === family));
  const rows = family === 4 ? flows.subnets4 : flows.subnets6;
  const columns = allocatePrefixes(family, written.length + rows.length.length);
  for (const [at, prefix] of written.entries()) putPrefix(columns, at, prefix, 0);
  columns.words.set(rows.words, written.length * columns.wordsEach);
  columns.length.set(rows.length, written.length);
  return distinct(columns);
}

/**
 * Addresses that no route of ours is for. Multicast goes by the device that its sender names, link-local and loopback
 * addresses stay on their link (RFC 3927, RFC 4291 section 2.5.6).
 */
const NEVER = [
  "224.0.0.0/4",
  "255.255.255.255/32",
  "169.254.0.0/16",
  "127.0.0.0/8",
  "ff00::/8",
  "fe80::/10",
  "::1/128",
].map(prefix);
const MULTICAST4 = prefix("224.0.0.0/4");

/** A prefix without what no route of ours is for; the default route is left whole. */
export function routable(of: Prefix): Prefix[] {
  if (NEVER.some((never) => covers(never, of))) return [];
  // IPv6 has its multicast in the table local, and the other ranges are in longer prefixes of others.
  return of.length > 0 && covers(of, MULTICAST4) ? without(of, MULTICAST4) : [of];
}

function prefix(text: string): Prefix {
  const result = parsePrefix(text);
  if (!("prefix" in result)) throw new Error(`${text}: ${result.message}`);
  return result.prefix;
}
