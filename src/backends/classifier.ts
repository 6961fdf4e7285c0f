import { BpfObject } from "libbpf-ts";
import { counterCounts, type Generation } from "../compiler/compile.js";
import { EntrySize, type TableName } from "../compiler/layout.js";
import type { PrefixTrie } from "../compiler/prefix-table.js";

export interface ClassifierOptions {
  /** Bytes in front of the IP header where the programs are attached: 0 on tun and xfrm devices. */
  readonly l3Offset?: number;
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
    const { rodata } = object;
    const tables = Object.entries(generation.tables) as [TableName, Uint8Array][];
    for (const [name, bytes] of tables) object.map(name).setValueSize(bytes.length);
    const counts = counterCounts(generation);
    object.map("tx_counters").setMaxEntries(counts.tx);
    object.map("rx_counters").setMaxEntries(counts.rx);

    const last = (name: TableName) => generation.tables[name].length / EntrySize[name] - 1;
    rodata.set("mask", Uint32Array.from(MASKED, last));
    for (const family of [4, 6] as const) {
      const trees = generation[`ruleTrees${family}`];
      rodata.set(
        `rule_trees${family}`,
        Uint32Array.of(trees.root, trees.count, trees.depth, trees.leaf, trees.extra),
      );
    }
    for (const [name, tree] of [
      ["subnets4", generation.subnets4],
      ["subnets6", generation.subnets6],
      ["if_ids", generation.ifIds],
    ] as const)
      rodata.set(name, prefixTrie(tree));
    rodata.set("n_rules", generation.rules.length);
    rodata.set("n_connections", generation.connections.length);
    rodata.set("shared_longest", generation.sharedLongest);
    rodata.set("flow_buckets4", generation.flowBuckets4);
    rodata.set("flow_buckets6", generation.flowBuckets6);
    rodata.set("actions", generation.actions);
    rodata.set("uses_icmp", generation.usesIcmp ? 1 : 0);
    rodata.set("default_verdict", generation.defaultVerdict);
    rodata.set("l3_offset", options.l3Offset ?? 0);

    object.load();
    for (const [name, bytes] of tables) object.map(name).update(0, bytes);
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
