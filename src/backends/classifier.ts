import { BpfObject, type GlobalValue } from "libbpf-ts";
import { counterCounts, type Generation } from "../compiler/compile.js";
import { EntrySize, type TableName } from "../compiler/layout.js";

export interface ClassifierOptions {
  /** Bytes in front of the IP header where the programs are attached: 0 on tun and xfrm devices. */
  readonly l3Offset?: number;
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
    const map = (name: TableName) => object.map(prefix + name);
    const tables = Object.entries(generation.tables) as [TableName, Uint8Array][];
    for (const [name, bytes] of tables) map(name).setValueSize(bytes.length);
    const counts = counterCounts(generation);
    object.map("tx_counters").setMaxEntries(counts.tx);
    object.map("rx_counters").setMaxEntries(counts.rx);

    const last = (name: TableName) => generation.tables[name].length / EntrySize[name] - 1;
    set("mask", Uint32Array.from(MASKED, last));
    for (const family of [4, 6] as const) {
      const trees = generation[`ruleTrees${family}`];
      set(
        `rule_trees${family}`,
        Uint32Array.of(trees.root, trees.count, trees.depth, trees.leaf, trees.extra ? 1 : 0),
      );
    }
    for (const [name, tree] of [
      ["subnets4", generation.subnets4],
      ["subnets6", generation.subnets6],
      ["if_ids", generation.ifIds],
    ] as const)
      set(name, Uint32Array.of(tree.root, tree.depth, tree.leaf));
    set("n_rules", generation.rules.length);
    set("n_connections", generation.connections.length);
    set("shared_longest", generation.sharedLongest);
    set("default_verdict", generation.defaultVerdict);
    set("l3_offset", options.l3Offset ?? 0);
    options.prepare?.(object);

    object.load();
    for (const [name, bytes] of tables) map(name).update(0, bytes);
    return object;
  } catch (error) {
    object.close();
    throw error;
  }
}

/** Members of `mask` in bpf/classifier.bpf.c, in order. */
const MASKED: readonly TableName[] = [
  "slots",
  "rules4",
  "rules6",
  "prefixes4",
  "prefixes6",
  "shared",
  "targets",
  "connections",
];
