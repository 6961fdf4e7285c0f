import { Connection as ConnectionEntry, Owner, RxReason, Slot, TxReason } from "../bpf/tables.bpf.js";
import type { Diagnostic } from "../config/diagnostics.js";
import type { Family, Location, Match, Policy, Rule } from "../config/policy.js";
import { ICMP_OF } from "../config/protocols.js";
import { type Devices, locating } from "./alternatives.js";
import { Distinct } from "./distinct.js";
import { CompileError } from "./error.js";
import { buildFlowTable, type FlowTable } from "./flow-table.js";
import { buildForest, CrowdedRows, type Forest } from "./forest.js";
import { allocatePrefixes, mergeEqual, putPrefix, sortPrefixes } from "./prefix-set.js";
import { buildPrefixTrie, type PrefixTrie } from "./prefix-table.js";
import { namesIcmp, quoteTells } from "./quote.js";
import { expandRules, type Rows, TooManyRows } from "./rows.js";
import { actionsAlike, matchWords, sameWords } from "./same-rules.js";
import { SharedLists } from "./shared-lists.js";
import { subnetsOf } from "./subnets.js";
import { EntrySize, memberWords, Table, type TableName } from "./table.js";
import { buildTargets, VERDICT } from "./targets.js";

/** Trees over the rules of one family, and which fields of rule_extra any of them uses. */
type RuleTrees = Forest & { readonly extra: number };

/** A compiled policy: flat tables and load-time constants, ready for any backend that runs the classifier. */
export interface Generation {
  /** Table contents, little endian; most are a power of two of entries long. */
  readonly tables: Readonly<Record<TableName, Uint8Array>>;
  readonly ruleTrees4: RuleTrees;
  readonly ruleTrees6: RuleTrees;
  /** Over the rules that name ICMP, once more: they come first for ICMP errors. */
  readonly icmpTrees4: RuleTrees;
  readonly icmpTrees6: RuleTrees;
  readonly subnets4: PrefixTrie;
  readonly subnets6: PrefixTrie;
  readonly ifIds: PrefixTrie;
  /** Steps of a binary search in the longest list of the shared table; 0: there is none. */
  readonly sharedSteps: number;
  readonly flowTable4: FlowTable;
  readonly flowTable6: FlowTable;
  /** Bits of enum action in bpf/tables.h. */
  readonly actions: number;
  /** Whether rules ask only for what a packet that an ICMP error quotes shows. */
  readonly quotesTell: boolean;
  readonly defaultVerdict: number;
  /** Some connections are held: the program drops their packets. */
  readonly hasHeld: boolean;
  /** What the rules match, to tell whether those of the next policy match the same: see matchWords(). */
  readonly matches: Uint32Array | null;
  /** By index: what counters are reported under. */
  readonly rules: readonly string[];
  readonly connections: readonly string[];
}

export type { Devices };

/** A policy and what came of it. */
export interface Compiled {
  readonly policy: Policy;
  readonly generation: Generation;
}

const { INDEX_NONE } = Slot;
const { OWNER_SHARED } = Owner;
const CONNECTION = memberWords(ConnectionEntry);
const NONE_HELD: ReadonlySet<number> = new Set();

/**
 * Compiles a policy. Pure: the same policy and device numbers give the same bytes.
 *
 * @param before what was compiled last: where its rules match or do the same, their tables are taken over as they are
 * @param held if_ids whose connections' packets are dropped in both directions, and counted
 * @throws CompileError; what `devices` throws, with the place of what names the device
 */
export function compile(
  policy: Policy,
  devices: Devices,
  before?: Compiled,
  held: ReadonlySet<number> = NONE_HELD,
): Generation {
  demandFew("rules", policy.rules, INDEX_NONE - 1);
  demandFew("connections", policy.connections, OWNER_SHARED - 1);
  const tables = Object.fromEntries(TABLES.map((name) => [name, new Table(name)])) as Tables;
  const matches = matchWords(policy.rules, before?.generation.matches?.length);
  const kept = before && sameWords(matches, before.generation.matches) ? before.generation : null;
  const acting = before && actionsAlike(policy, before.policy) ? before.generation : null;
  const forests = kept ?? buildForests(policy, devices, tables);

  const connections = policy.connections.map(({ name }) => name);
  const shared = new SharedLists(tables.shared, connections);
  const subnets = (family: Family) =>
    buildPrefixTrie(
      mergeEqual(
        sortPrefixes(subnetsOf(policy.connections, policy.flows[`subnets${family}`], family)),
        (owners) => shared.add(owners),
      ),
      tables[`trie${family}`],
      `trie${family}`,
    );
  const subnets4 = subnets(4);
  const subnets6 = subnets(6);
  const ids = allocatePrefixes(4, policy.connections.length);
  policy.connections.forEach(({ ifId }, index) => {
    putPrefix(ids, index, { family: 4, words: [ifId], length: 32 }, index);
  });
  const ifIds = buildPrefixTrie(sortPrefixes(ids), tables.trie_ids, "trie_ids");

  const { exact4, exact6 } = policy.flows;
  const flowTable4 = buildFlowTable(exact4, 4, tables.flows4, tables.pilots4);
  const flowTable6 = buildFlowTable(exact6, 6, tables.flows6, tables.pilots6);
  const actions = acting?.actions ?? buildTargets(policy, devices, tables);
  tables.connections.reserve(policy.connections.length);
  const { words } = tables.connections;
  policy.connections.forEach((connection, index) => {
    const { ifId, link, rxMark } = connection;
    const at = index * CONNECTION.size;
    words[at + CONNECTION.if_id] = held.has(ifId) ? 0 : ifId;
    words[at + CONNECTION.link] =
      link === null ? 0 : locating(devices, "connection", connection).ifindexOf(link);
    words[at + CONNECTION.rx_mark] = rxMark ? (rxMark.value & rxMark.mask) >>> 0 : 0;
    words[at + CONNECTION.rx_mark_mask] = rxMark?.mask ?? 0;
  });

  return {
    tables: Object.fromEntries(
      TABLES.map((name) => [
        name,
        (RULE_TABLES.has(name) ? kept : ACTION_TABLES.has(name) ? acting : null)?.tables[name] ??
          tables[name].finish(!EXACT_SIZE.has(name)),
      ]),
    ) as Generation["tables"],
    ruleTrees4: forests.ruleTrees4,
    ruleTrees6: forests.ruleTrees6,
    icmpTrees4: forests.icmpTrees4,
    icmpTrees6: forests.icmpTrees6,
    subnets4,
    subnets6,
    ifIds,
    sharedSteps: shared.steps,
    flowTable4,
    flowTable6,
    actions,
    quotesTell: kept?.quotesTell ?? policy.rules.every(({ match }) => quoteTells(match)),
    defaultVerdict: VERDICT[policy.default],
    hasHeld: policy.connections.some(({ ifId }) => held.has(ifId)),
    matches,
    rules: policy.rules.map(({ name }) => name),
    connections,
  };
}

function demandFew(what: string, all: readonly { readonly location: Location }[], most: number): void {
  const first = all[most];
  if (first !== undefined)
    throw new CompileError([errorAt(first, `${all.length} ${what}`, `write at most ${most}`)], []);
}

function errorAt({ location }: { readonly location: Location }, message: string, hint: string): Diagnostic {
  return { ...location, severity: "error", message, hint };
}

type Tables = Record<TableName, Table>;

/** Trees over the rules of both families. */
function buildForests(policy: Policy, devices: Devices, tables: Tables) {
  const { slots } = tables;
  const ranges = new Distinct(tables.ranges);
  const forests = (family: Family) => {
    const [rules, extra] = family === 4 ? [tables.rules4, tables.extra4] : [tables.rules6, tables.extra6];
    const forest = (rows: Rows) => ({
      ...namingRules(policy, rows, () => buildForest(rows, slots, rules, extra, ranges)),
      extra: rows.usesExtra,
    });
    const all = namingRule(policy, () => expandRules(policy, family, devices));
    const trees = forest(all);
    const icmp = namingRule(policy, () => expandRules(policy, family, devices, icmpOnly(family)));
    // One walk serves both, and takes rule_extra to be there for all rows or none.
    const icmpTrees = forest({ ...icmp, usesExtra: all.usesExtra });
    // The walk indexes both tables with the same mask.
    if (extra.length > 0) extra.reserve(rules.length - extra.length);
    return { trees, icmpTrees };
  };
  const [of4, of6] = [forests(4), forests(6)];
  return {
    ...{ ruleTrees4: of4.trees, ruleTrees6: of6.trees },
    ...{ icmpTrees4: of4.icmpTrees, icmpTrees6: of6.icmpTrees },
  };
}

/** What a rule asks of ICMP packets of the family if it names ICMP, else null. */
const icmpOnly =
  (family: Family) =>
  (match: Match): Match | null =>
    namesIcmp(match, family) ? { ...match, proto: [ICMP_OF[family]] } : null;

const RULE_TABLES: ReadonlySet<TableName> = new Set([
  "slots",
  "rules4",
  "rules6",
  "ranges",
  "extra4",
  "extra6",
]);
const ACTION_TABLES: ReadonlySet<TableName> = new Set(["rule_targets", "targets", "groups"]);

/** Tables whose every index is compared with their size rather than masked. */
const EXACT_SIZE: ReadonlySet<TableName> = new Set([
  "trie4",
  "trie6",
  "trie_ids",
  "flows4",
  "flows6",
  "pilots4",
  "pilots6",
]);

const TABLES = Object.keys(EntrySize) as TableName[];

function namingRule<T>(policy: Policy, expand: () => T): T {
  try {
    return expand();
  } catch (error) {
    if (!(error instanceof TooManyRows)) throw error;
    const rule = policy.rules[error.rule] as Rule;
    throw new CompileError([errorAt(rule, `rule ${rule.name}: ${error.message}`, "split it")], [rule.name]);
  }
}

/** Turns row numbers in a builder's error into the names of rules. */
function namingRules<T>(policy: Policy, rows: Rows, build: () => T): T {
  try {
    return build();
  } catch (error) {
    if (!(error instanceof CrowdedRows)) throw error;
    const indexes = new Set(Array.from(error.rows, (row) => rows.rule[row] as number));
    const rules = [...indexes].map((index) => policy.rules[index] as Rule);
    const names = rules.map(({ name }) => name);
    const some = `${names.slice(0, 3).join(", ")}${names.length > 3 ? ` and ${names.length - 3} more` : ""}`;
    const what = `rules ${some} overlap too many others that match the same packets in every field`;
    throw new CompileError([errorAt(rules[0] as Rule, what, "merge or remove some of them")], names);
  }
}

/** Number of transmit and receive counters of a generation. */
export function counterCounts(generation: Generation): { tx: number; rx: number } {
  const connections = generation.connections.length;
  return {
    tx: generation.rules.length + connections + TxReason.TX_REASONS,
    rx: 2 * connections + RxReason.RX_REASONS,
  };
}
