import { checkInterfaceName } from "./connections.js";
import { show, suggest } from "./diagnostics.js";
import { closest } from "./names.js";
import type { GroupMember, Target } from "./policy.js";
import type { RawPolicy } from "./schema.js";
import type { Partly } from "./shape.js";
import type { Path } from "./source.js";
import type { Context } from "./values.js";

type RawTarget = Partly<NonNullable<RawPolicy["rules"]>[number]["to"]>;

/** As many as the bucket table can serve with shares that still are about right (src/compiler/flow-hash.ts). */
const MAX_MEMBERS = 256;
const MAX_WEIGHT = 255;

/** A rule's target in words, for tables and messages. */
export function formatTarget(to: Target): string {
  switch (to.kind) {
    case "connection":
      return to.link === null ? to.connection : `${to.connection} (link ${to.link})`;
    case "group":
      return to.members.map(({ connection, weight }) => `${connection}:${weight}`).join(" ");
    default:
      return to.kind;
  }
}

/** Names of the connections that a target can lead to. */
export function targetConnections(to: Target): readonly string[] {
  if (to.kind === "connection") return [to.connection];
  return to.kind === "group" ? to.members.map(({ connection }) => connection) : [];
}

/** Reads what stands behind `to:`; null where it leads nowhere, which has been reported then. */
export function readTarget(
  raw: RawTarget,
  connections: ReadonlySet<string>,
  at: Path,
  context: Context,
): Target | null {
  if (raw === "drop" || raw === "pass") return { kind: raw };
  if (typeof raw === "string")
    return isKnown(raw, connections, ["drop", "pass"], at, context)
      ? { kind: "connection", connection: raw, link: null }
      : null;
  if ("group" in raw) return readGroup(raw.group, connections, [...at, "group"], context);
  const { connection, link } = raw as { connection?: string; link?: string };
  checkInterfaceName(link, [...at, "link"], context);
  if (connection === undefined || !isKnown(connection, connections, [], [...at, "connection"], context))
    return null;
  return { kind: "connection", connection, link: link ?? null };
}

function isKnown(
  name: string,
  connections: ReadonlySet<string>,
  others: readonly string[],
  at: Path,
  { source, report }: Context,
): boolean {
  if (connections.has(name)) return true;
  const near = closest(name, [...connections, ...others]);
  report.error(
    source.at(at),
    `there is no connection ${show(name)}`,
    near === null
      ? `write the name of a connection${others.length > 0 ? ", drop or pass" : ""}`
      : `did you mean ${near}?`,
    near === null ? undefined : suggest(name, near),
  );
  return false;
}

type RawGroup = Extract<RawTarget, { group?: unknown }>["group"];

function readGroup(
  raw: RawGroup,
  connections: ReadonlySet<string>,
  at: Path,
  context: Context,
): Target | null {
  const { source, report } = context;
  const members = new Map<string, GroupMember>();
  for (const [index, entry] of (raw ?? []).entries()) {
    if (entry === undefined) continue;
    const path = [...at, index];
    const pairs = typeof entry === "string" ? [[entry, 1] as const] : Object.entries(entry);
    const [pair] = pairs;
    if (pair === undefined || pairs.length !== 1) {
      report.error(
        source.at(path),
        `this member has ${pairs.length} names`,
        "write each as an entry of its own: [{branch-a: 3}, {branch-b: 1}]",
      );
      continue;
    }
    const [connection, weight] = pair;
    if (!isKnown(connection, connections, [], path, context) || weight === undefined) continue;
    if (weight < 1 || weight > MAX_WEIGHT) {
      report.error(
        source.at([...path, connection]),
        `weight ${weight} is out of range`,
        `weights go from 1 to ${MAX_WEIGHT}`,
      );
    } else if (members.has(connection)) {
      report.error(
        source.at(path),
        `${connection} is a member of this group twice`,
        "add up the weights in one entry",
      );
    } else members.set(connection, { connection, weight });
  }
  if (members.size > MAX_MEMBERS) {
    report.error(source.at(at), `the group has ${members.size} members`, `write at most ${MAX_MEMBERS}`);
  }
  const [only] = members.values();
  if (members.size === 1 && only !== undefined && raw?.length === 1) {
    report.warning(
      source.at(at),
      `${only.connection} is the only member of its group`,
      `write to: ${only.connection}, or add a member`,
    );
  }
  return members.size === 0 ? null : { kind: "group", members: [...members.values()] };
}

/** The one connection that a target leads to; null where it leads to none, or to a group. */
export function connectionOf(to: Target): string | null {
  return to.kind === "connection" ? to.connection : null;
}
