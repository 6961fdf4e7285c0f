import type { Connection, Policy, Rule } from "../config/policy.js";
import { buildForest, type Forest } from "./forest.js";
import {
  INDEX_NONE,
  KeyWord,
  OWNER_SHARED,
  RX_REASONS,
  TARGET_VERDICT,
  type TableName,
  TX_REASONS,
  Verdict,
} from "./layout.js";
import { buildPrefixTree, type OwnedPrefix, type PrefixTree } from "./prefix-table.js";
import { expandRules, type Rows } from "./rows.js";
import { Table } from "./table.js";
import { EMPTY, InseparableRows } from "./tree.js";

/** A compiled policy: flat tables and load-time constants, ready for any backend that runs the classifier. */
export interface Generation {
  /** Table contents, each a power of two of entries long; little endian. */
  readonly tables: Readonly<Record<TableName, Uint8Array>>;
  readonly ruleTrees4: Forest & { readonly extra: boolean };
  readonly ruleTrees6: Forest & { readonly extra: boolean };
  readonly subnets4: PrefixTree;
  readonly subnets6: PrefixTree;
  readonly ifIds: PrefixTree;
  /** Members of the longest list in the shared table. */
  readonly sharedLongest: number;
  readonly defaultVerdict: number;
  /** By index: what counters are reported under. */
  readonly rules: readonly string[];
  readonly connections: readonly string[];
}

/** A rule set that the tables cannot hold; `rules` are the names of the rules that do not fit. */
export class CompileError extends Error {
  override readonly name = "CompileError";
  readonly rules: readonly string[];
  constructor(message: string, rules: readonly string[]) {
    super(message);
    this.rules = rules;
  }
}

/** Resolves names of network devices on the host that will run the program. */
export interface Devices {
  /** @throws where there is no such device */
  ifindexOf(name: string): number;
}

/**
 * Compiles a policy. Pure: the same policy and device numbers give the same bytes.
 *
 * @throws CompileError
 */
export function compile(policy: Policy, devices: Devices): Generation {
  if (policy.rules.length >= INDEX_NONE)
    throw new CompileError(`${policy.rules.length} rules; at most ${INDEX_NONE - 1} fit`, []);
  if (policy.connections.length >= OWNER_SHARED)
    throw new CompileError(`${policy.connections.length} connections; at most ${OWNER_SHARED - 1} fit`, []);
  const tables = Object.fromEntries(TABLES.map((name) => [name, new Table(name)])) as Record<
    TableName,
    Table
  >;
  const { slots } = tables;
  slots.set(slots.reserve(1), EMPTY[0], EMPTY[1]); // slot 0: root 0 is "no tree"

  const forest = (family: 4 | 6) => {
    const rows = expandRules(policy, family, devices.ifindexOf);
    const [rules, extra] = family === 4 ? [tables.rules4, tables.extra4] : [tables.rules6, tables.extra6];
    return {
      ...namingRules(policy, rows, () => buildForest(rows, slots, rules, extra)),
      extra: rows.usesExtra,
    };
  };
  const ruleTrees4 = forest(4);
  const ruleTrees6 = forest(6);
  // The walk indexes both tables with the same mask.
  for (const family of [4, 6] as const)
    if (tables[`extra${family}`].length > 0)
      tables[`extra${family}`].reserve(tables[`rules${family}`].length - tables[`extra${family}`].length);

  const { owned, sharedLongest } = ownPrefixes(policy.connections, tables.shared);
  const subnets = (family: 4 | 6) =>
    buildPrefixTree(
      owned.filter(({ prefix }) => prefix.family === family),
      family,
      KeyWord.dst,
      slots,
      family === 4 ? tables.prefixes4 : tables.prefixes6,
    );
  const subnets4 = subnets(4);
  const subnets6 = subnets(6);
  const ifIds = buildPrefixTree(
    policy.connections.map(({ ifId }, owner) => ({
      prefix: { family: 4, words: [ifId], length: 32 },
      owner,
    })),
    4,
    0,
    slots,
    tables.prefixes4,
  );

  tables.targets.reserve(policy.rules.length);
  const byName = new Map(policy.connections.map(({ name }, index) => [name, index]));
  policy.rules.forEach((rule, index) => {
    tables.targets.set(index, target(rule, byName));
  });
  tables.connections.reserve(policy.connections.length);
  policy.connections.forEach(({ ifId, link, rxMark }, index) => {
    const mark = rxMark ? [(rxMark.value & rxMark.mask) >>> 0, rxMark.mask] : [0, 0];
    tables.connections.set(index, ifId, link === null ? 0 : devices.ifindexOf(link), ...mark);
  });

  return {
    tables: Object.fromEntries(TABLES.map((name) => [name, tables[name].finish()])) as Generation["tables"],
    ruleTrees4,
    ruleTrees6,
    subnets4,
    subnets6,
    ifIds,
    sharedLongest,
    defaultVerdict: Verdict[policy.default],
    rules: policy.rules.map(({ name }) => name),
    connections: policy.connections.map(({ name }) => name),
  };
}

const TABLES: readonly TableName[] = [
  "slots",
  "rules4",
  "rules6",
  "extra4",
  "extra6",
  "prefixes4",
  "prefixes6",
  "shared",
  "targets",
  "connections",
];

/** What the tables cannot express yet. */
function refuseUnsupported({ name, match, to, set }: Rule): void {
  const fields = (["icmpType", "ecn", "length", "fragment", "not"] as const).filter(
    (field) => match[field].length > 0,
  );
  if (fields.length > 0)
    throw new CompileError(`rule ${name}: ${fields.join(" and ")} cannot be compiled yet`, [name]);
  if ((to.kind === "connection" && to.link !== null) || set.mark !== null || set.dscp !== null)
    throw new CompileError(`rule ${name}: link and set cannot be compiled yet`, [name]);
}

function target(rule: Rule, connections: ReadonlyMap<string, number>): number {
  const { to } = rule;
  refuseUnsupported(rule);
  if (to.kind === "group")
    throw new CompileError(`rule ${rule.name}: groups cannot be compiled yet`, [rule.name]);
  if (to.kind !== "connection") return Verdict[to.kind] << TARGET_VERDICT;
  const index = connections.get(to.connection);
  if (index === undefined)
    throw new CompileError(`rule ${rule.name}: no connection ${to.connection}`, [rule.name]);
  return (Verdict.steer << TARGET_VERDICT) | index;
}

/** Merges the connections' subnets: a prefix that several own gets a list in the shared table. */
function ownPrefixes(connections: readonly Connection[], shared: Table) {
  const owners = new Map<string, { prefix: OwnedPrefix["prefix"]; indexes: number[] }>();
  connections.forEach((connection, index) => {
    for (const prefix of connection.subnets) {
      const key = `${prefix.words.join(".")}/${prefix.length}`;
      const known = owners.get(key);
      if (!known) owners.set(key, { prefix, indexes: [index] });
      else if (!known.indexes.includes(index)) known.indexes.push(index);
    }
  });
  let sharedLongest = 0;
  const owned = [...owners.values()].map(({ prefix, indexes }): OwnedPrefix => {
    const [only] = indexes;
    if (indexes.length === 1 && only !== undefined) return { prefix, owner: only };
    const start = shared.reserve(1 + indexes.length);
    shared.set(start, indexes.length);
    indexes.forEach((index, i) => {
      shared.set(start + 1 + i, index);
    });
    sharedLongest = Math.max(sharedLongest, indexes.length);
    return { prefix, owner: OWNER_SHARED | start };
  });
  return { owned, sharedLongest };
}

/** Turns row numbers in a builder's error into the names of rules. */
function namingRules<T>(policy: Policy, rows: Rows, build: () => T): T {
  try {
    return build();
  } catch (error) {
    if (!(error instanceof InseparableRows)) throw error;
    const names = [...new Set(error.rows.map((row) => policy.rules[rows.rule[row] as number]?.name ?? "?"))];
    throw new CompileError(
      `rules ${names.slice(0, 3).join(", ")} and ${names.length - 3} more match the same packets in every field; ` +
        "merge or remove some of them",
      names,
    );
  }
}

/** Number of transmit and receive counters of a generation. */
export function counterCounts(generation: Generation): { tx: number; rx: number } {
  const connections = generation.connections.length;
  return { tx: generation.rules.length + connections + TX_REASONS, rx: 2 * connections + RX_REASONS };
}
