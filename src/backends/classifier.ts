import { BpfObject, codec, type TypeModel } from "libbpf-ts";
import { ClassifierObject, type ClassifierObjectTypes, type PrefixTrie } from "../bpf/classifier.bpf.js";
import { CounterBlockSize } from "../bpf/tables.bpf.js";
import { counterCounts, type Generation } from "../compiler/compile.js";
import type { PrefixTrie as CompiledTrie } from "../compiler/prefix-table.js";
import { EntrySize, type TableName } from "../compiler/table.js";
import { bpfObjectPath } from "../sys/paths.js";

/** A generation and the object that runs it. */
export interface Loaded {
  readonly generation: Generation;
  readonly object: BpfObject;
}

export interface ClassifierOptions {
  /** What runs now: its tables are shared where compile() took them over. */
  readonly before?: Loaded;
  /** Bytes in front of the IP header where the programs are attached: 0 on tun and xfrm devices. */
  readonly l3Offset?: number;
  /** Most flows that can be added to the running program (LiveFlows); 0, if left out, leaves their code out. */
  readonly liveFlows?: number;
  /** Of the carrier "tun": what the if_ids of its frames mean (bpf/tun_shim.h); 0 if left out. */
  readonly epoch?: number;
  /** What the names of the classifier's constants and maps begin with in this object; "" if left out. */
  readonly prefix?: string;
  /** Called before the object is loaded, for what it has beside the classifier. */
  readonly prepare?: (object: BpfObject) => void;
}

/** Which half carries decisions out: bpf/xfrm_*.bpf.c or bpf/tun_*.bpf.c. */
export type Carrier = "xfrm" | "tun";

/** Loads the object of classifier and carrying half that a generation needs: see loadClassifier(). */
export function loadRules(
  carrier: Carrier,
  generation: Generation,
  options: Omit<ClassifierOptions, "prefix" | "prepare"> = {},
): BpfObject {
  const size = onlySubnets(generation) && !options.liveFlows ? "_subnets" : "";
  return loadClassifier(bpfObjectPath(`steer_${carrier}${size}`), generation, options);
}

/** Whether a generation has neither rules nor exact flows. */
const onlySubnets = ({ ruleTrees4, ruleTrees6, flowTable4, flowTable6 }: Generation): boolean =>
  ruleTrees4.count + ruleTrees6.count + flowTable4.slots + flowTable6.slots === 0;

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
  const { prefix = "" } = options;
  const object = openClassifier(path, generation, prefix);
  try {
    const set = constantsOf(object, prefix);
    const counts = counterCounts(generation);
    object.map("tx_counters").setMaxEntries(Math.ceil(counts.tx / CounterBlockSize.BLOCK_COUNTERS));
    object.map("rx_counters").setMaxEntries(Math.ceil(counts.rx / CounterBlockSize.BLOCK_COUNTERS));
    set("shared_steps", generation.sharedSteps);
    set("l3_offset", options.l3Offset ?? 0);
    if (options.liveFlows) {
      object.map(`${prefix}live_flows`).setMaxEntries(options.liveFlows);
      set("has_live_flows", 1);
      set("only_subnets", 0);
    }
    if (options.before) reuseTables(object, generation, options.before);
    if (options.epoch !== undefined)
      for (const name of ["xfrm_steer_tx_epoch", "xfrm_steer_rx_epoch"])
        object.rodata.set(name, Uint32Array.of(options.epoch));
    options.prepare?.(object);
    object.load();
    return object;
  } catch (error) {
    object.close();
    throw error;
  }
}

/** The classifier's load-time constants. */
type Constants = ClassifierObjectTypes["rodata"];

/**
 * Sets constants of the classifier in any object that it is linked into, under the names that they have there. An object
 * for subnets alone lacks those that the rest asks for.
 */
function constantsOf({ rodata }: BpfObject, prefix: string) {
  return <Name extends keyof Constants>(name: Name, value: Constants[Name]): void => {
    if (!rodata.has(prefix + name)) return;
    rodata.set(prefix + name, codec(ClassifierObject.model.rodata[name] as TypeModel).encode(value));
  };
}

/** The section that a table of bpf/maps.h is, and its map's name. */
const sectionOf = (name: TableName): string => `.rodata.${name}`;

/** Opens an object that has the classifier in it, with a generation's tables and the constants that go with them. */
export function openClassifier(path: string, generation: Generation, prefix = ""): BpfObject {
  const sections = new Map(entries(generation).map(([name, bytes]) => [sectionOf(name), bytes]));
  const object = BpfObject.open(path, { sections });
  try {
    setConstants(object, generation, prefix);
    return object;
  } catch (error) {
    object.close();
    throw error;
  }
}

function setConstants(object: BpfObject, generation: Generation, prefix: string): void {
  const set = constantsOf(object, prefix);
  const last = (name: TableName) => generation.tables[name].length / EntrySize[name] - 1;
  set("mask", {
    slots: last("slots"),
    rules4: last("rules4"),
    rules6: last("rules6"),
    ranges: last("ranges"),
    shared: last("shared"),
    rule_targets: last("rule_targets"),
    targets: last("targets"),
    groups: last("groups"),
    connections: last("connections"),
  });
  for (const family of [4, 6] as const) {
    const [all, icmp] = [generation[`ruleTrees${family}`], generation[`icmpTrees${family}`]];
    // The same walk serves both.
    const bounds = { depth: Math.max(all.depth, icmp.depth), leaf: Math.max(all.leaf, icmp.leaf) };
    set(`rule_trees${family}`, { ...all, ...bounds });
    set(`icmp_trees${family}`, icmp);
  }
  set("quotes_tell", generation.quotesTell ? 1 : 0);
  set("subnets4", prefixTrie(generation.subnets4));
  set("subnets6", prefixTrie(generation.subnets6));
  set("if_ids", prefixTrie(generation.ifIds));
  set("n_rules", generation.rules.length);
  set("n_connections", generation.connections.length);
  set("has_held", generation.hasHeld ? 1 : 0);
  set("flow_table4", generation.flowTable4);
  set("flow_table6", generation.flowTable6);
  set("only_subnets", onlySubnets(generation) ? 1 : 0);
  set("actions", generation.actions);
  set("default_verdict", generation.defaultVerdict);
}

/** Before load: takes over the maps of tables that have not changed. */
function reuseTables(object: BpfObject, generation: Generation, before: Loaded): void {
  for (const [name, bytes] of entries(generation))
    if (bytes === before.generation.tables[name])
      object.map(sectionOf(name)).reuse(before.object.map(sectionOf(name)));
}

function entries(generation: Generation): [TableName, Uint8Array][] {
  return Object.entries(generation.tables) as [TableName, Uint8Array][];
}

/** Addresses are 64-bit words, most significant first; an IPv4 address is the high half of the first. */
export function prefixTrie({ start, shared, picked, hashed, ...trie }: CompiledTrie): PrefixTrie {
  return {
    ...trie,
    start: halves(start.map((word, i) => (word & (shared[i] as number)) >>> 0)),
    last: picked,
    hashed: halves(hashed)[0] as bigint,
  };
}

function halves([a = 0, b = 0, c = 0, d = 0]: readonly number[]): BigUint64Array {
  return BigUint64Array.of((BigInt(a) << 32n) | BigInt(b), (BigInt(c) << 32n) | BigInt(d));
}
