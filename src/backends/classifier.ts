import { BpfObject, type GlobalValue } from "libbpf-ts";
import { counterCounts, type Generation } from "../compiler/compile.js";
import { BLOCK_COUNTERS, EntrySize, type TableName } from "../compiler/layout.js";
import type { PrefixTrie } from "../compiler/prefix-table.js";

/** A generation and the object that runs it. */
export interface Loaded {
  readonly generation: Generation;
  readonly object: BpfObject;
  /** See ClassifierOptions. */
  readonly prefix?: string;
}

export interface ClassifierOptions {
  /** What runs now: its tables are shared where compile() took them over. */
  readonly before?: Loaded;
  /** Bytes in front of the IP header where the programs are attached: 0 on tun and xfrm devices. */
  readonly l3Offset?: number;
  /** Most flows that can be added to the running program (LiveFlows); 0, if left out, leaves their code out. */
  readonly liveFlows?: number;
  /** What the names of the classifier's constants and tables begin with in this object; "" if left out. */
  readonly prefix?: string;
  /** Called before the object is loaded, for what it has beside the classifier. */
  readonly prepare?: (object: BpfObject) => void;
}

/**
 * Loads an object that has the classifier as its deciding half, with a generation's tables and constants in place.
 * Nothing is attached yet. The caller closes the object.
 *
 * @throws VerifierError, MissingRightsError and the other errors of libbpf-ts
 */
export function loadClassifier(
  path: string,
  generation: Generation,
  options: ClassifierOptions = {},
): BpfObject {
  const object = BpfObject.open(path);
  try {
    const { prefix = "" } = options;
    const set = (name: string, value: GlobalValue) => object.rodata.set(prefix + name, value);
    setTables(object, generation, prefix);
    const counts = counterCounts(generation);
    object.map("tx_counters").setMaxEntries(Math.ceil(counts.tx / BLOCK_COUNTERS));
    object.map("rx_counters").setMaxEntries(Math.ceil(counts.rx / BLOCK_COUNTERS));
    set("shared_longest", generation.sharedLongest);
    set("uses_icmp", generation.usesIcmp ? 1 : 0);
    set("l3_offset", options.l3Offset ?? 0);
    if (options.liveFlows) {
      object.map(`${prefix}live_flows`).setMaxEntries(options.liveFlows);
      set("has_live_flows", 1);
    }
    const reused = options.before ? reuseTables(object, generation, options.before, prefix) : NONE;
    options.prepare?.(object);
    object.load();
    fillTables(object, generation, reused, prefix);
    return object;
  } catch (error) {
    object.close();
    throw error;
  }
}

/** Before load: sizes the tables of bpf/maps.h and sets the constants that go with them. */
export function setTables({ maps, rodata }: BpfObject, generation: Generation, prefix = ""): void {
  const set = (name: string, value: GlobalValue) => rodata.set(prefix + name, value);
  for (const [name, bytes] of entries(generation)) maps.get(prefix + name)?.setValueSize(bytes.length);
  const last = (name: TableName) => generation.tables[name].length / EntrySize[name] - 1;
  set("mask", Uint32Array.from(MASKED, last));
  for (const family of [4, 6] as const) {
    const { root, count, depth, leaf, extra } = generation[`ruleTrees${family}`];
    set(`rule_trees${family}`, Uint32Array.of(root, count, depth, leaf, extra));
  }
  set("subnets4", prefixTrie(generation.subnets4));
  set("subnets6", prefixTrie(generation.subnets6));
  set("if_ids", prefixTrie(generation.ifIds));
  set("n_rules", generation.rules.length);
  set("n_connections", generation.connections.length);
  set("flow_buckets4", generation.flowBuckets4);
  set("flow_buckets6", generation.flowBuckets6);
  set("actions", generation.actions);
  set("default_verdict", generation.defaultVerdict);
}

/** After load. Tables that the object does not use are not there; `reused` ones are full. */
export function fillTables(
  { maps }: BpfObject,
  generation: Generation,
  reused: ReadonlySet<TableName> = NONE,
  prefix = "",
): void {
  for (const [name, bytes] of entries(generation))
    if (!reused.has(name)) maps.get(prefix + name)?.update(0, bytes);
}

const NONE: ReadonlySet<TableName> = new Set();

/** Before load: takes over the maps of tables that have not changed. Nothing writes to them once they are filled. */
function reuseTables(
  object: BpfObject,
  generation: Generation,
  before: Loaded,
  prefix: string,
): Set<TableName> {
  const reused = new Set<TableName>();
  for (const [name, bytes] of entries(generation)) {
    if (bytes !== before.generation.tables[name]) continue;
    object.map(prefix + name).reuse(before.object.map((before.prefix ?? "") + name));
    reused.add(name);
  }
  return reused;
}

function entries(generation: Generation): [TableName, Uint8Array][] {
  return Object.entries(generation.tables) as [TableName, Uint8Array][];
}

/** Members of `mask` in bpf/classifier.bpf.c, in order. */
const MASKED: readonly TableName[] = [
  "slots",
  "rules4",
  "rules6",
  "nodes",
  "values",
  "prefixes4",
  "prefixes6",
  "shared",
  "targets",
  "groups",
  "connections",
];

/** struct prefix_trie in bpf/prefixes.h. */
function prefixTrie(trie: PrefixTrie): Uint32Array {
  const { root, skip, width, depth, list, outside, start } = trie;
  const [a = 0, b = 0, c = 0, d = 0] = start;
  return Uint32Array.of(root, skip, width, depth, list, outside, b, a, d, c);
}
