/** What the classifier is compared with, filled with the same rules: the kernel's maps, and the plain ways to search. */
import type { BpfObject } from "libbpf-ts";
import { Distinct } from "../compiler/distinct.js";
import { expandRules, type Rows } from "../compiler/rows.js";
import { ruleWriter } from "../compiler/rule-writer.js";
import { EntrySize, Table } from "../compiler/table.js";
import type { Policy } from "../config/policy.js";
import { BENCH_DEVICES } from "./cases.js";

export interface Filler {
  /** Sizes the maps and sets constants, before load. */
  before(object: BpfObject): void;
  after(object: BpfObject): void;
  /** Of keys and values, or of the tables. */
  readonly bytes: number;
}

/** BPF_MAP_TYPE_LPM_TRIE over the subnets; value: if_id. */
export function fillLpm({ flows, connections }: Policy): Filler {
  const wide = flows.subnets6.length.length > 0;
  const { words, length, connection } = wide ? flows.subnets6 : flows.subnets4;
  const size = wide ? 4 : 1;
  const count = length.length;
  const keys = new Uint32Array(count * (1 + size));
  const values = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    keys[i * (1 + size)] = length[i] as number;
    for (let w = 0; w < size; w++) keys[i * (1 + size) + 1 + w] = swapBytes(words[i * size + w] as number);
    values[i] = connections[connection[i] as number]?.ifId ?? 0;
  }
  const name = wide ? "lpm6" : "lpm4";
  return {
    before: (object) => object.map(name).setMaxEntries(Math.max(1, count)),
    after: (object) => void object.map(name).updateBatch(keys, values),
    bytes: keys.byteLength + values.byteLength,
  };
}

/** BPF_MAP_TYPE_HASH over exact flows, or over the networks where all prefixes are /24. */
export function fillHash({ flows, connections }: Policy): Filler {
  const { exact4, subnets4 } = flows;
  const prefixes = subnets4.length.length > 0;
  const count = prefixes ? subnets4.length.length : exact4.proto.length;
  const keys = new Uint32Array(4 * count);
  const values = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    if (prefixes) {
      keys[4 * i + 1] = (subnets4.words[i] as number) >>> 8;
    } else {
      keys.set(
        [exact4.src[i], exact4.dst[i], exact4.ports[i], exact4.proto[i]].map((word) => word as number),
        4 * i,
      );
    }
    values[i] = connections[(prefixes ? subnets4 : exact4).connection[i] as number]?.ifId ?? 0;
  }
  return {
    before: (object) => object.map("hash").setMaxEntries(Math.max(1, count)),
    after: (object) => void object.map("hash").updateBatch(keys, values),
    bytes: keys.byteLength + values.byteLength,
  };
}

/** A plain table of strides 16, 8 and 8 over /24s: what a lookup costs that has nothing to do but two reads. */
export function fillStrides({ flows, connections }: Policy): Filler {
  const { words, connection } = flows.subnets4;
  const ROOT = 2 ** 16;
  const blocks = new Set(words.map((word) => word >>> 16)).size;
  const table = new Uint32Array(2 ** Math.ceil(Math.log2(ROOT + 256 * blocks)));
  let used = 0;
  words.forEach((word, i) => {
    const block = table[word >>> 16] || ++used;
    table[word >>> 16] = block;
    const value = connections[connection[i] as number]?.ifId ?? 0;
    table[ROOT + 256 * (block - 1) + ((word >>> 8) & 255)] = (value | (2 ** 31)) >>> 0;
  });
  return {
    before: (object) => {
      object.map("strides").setValueSize(table.byteLength);
      object.rodata.set("strides_mask", table.length - 1);
    },
    after: (object) => void object.map("strides").update(0, table),
    bytes: 4 * (ROOT + 256 * used), // without what makes it a power of two
  };
}

/** The rules one after the other. */
export function fillRules(policy: Policy): Filler {
  const rows = expandRules(policy, 4, BENCH_DEVICES);
  const rules = ruleTable(
    rows,
    Uint32Array.from({ length: rows.length }, (_, i) => i),
  );
  return {
    before: (object) => {
      rules.before(object);
      object.rodata.set("n_peer_rules", rows.length);
    },
    after: rules.after,
    bytes: rules.bytes,
  };
}

/**
 * Tuple space search (Srinivasan, Suri and Varghese 1999) as Open vSwitch does it: a hash lookup for each pair of
 * prefix lengths in use, in order of the tuples' first rules, until no later one can win.
 */
export function fillTuples(policy: Policy): Filler {
  const rows = expandRules(policy, 4, BENCH_DEVICES);
  const [src, dst] = rows.dimensions;
  const tuples = new Map<string, { mask: [number, number]; first: number; lists: Map<string, number[]> }>();
  for (let row = 0; row < rows.length; row++) {
    const mask: [number, number] = [~(src?.b[row] ?? 0) >>> 0, ~(dst?.b[row] ?? 0) >>> 0];
    const name = mask.join();
    const tuple = tuples.get(name) ?? { mask, first: row, lists: new Map<string, number[]>() };
    tuples.set(name, tuple);
    const address = `${src?.a[row]},${dst?.a[row]}`;
    const list = tuple.lists.get(address);
    if (list) list.push(row);
    else tuple.lists.set(address, [row]);
  }
  const ordered = [...tuples.values()]; // met in order of their first rules
  const order: number[] = [];
  const keys: number[] = [];
  const values: number[] = [];
  ordered.forEach(({ lists }, index) => {
    for (const [address, list] of lists) {
      const [s, d] = address.split(",").map(Number) as [number, number];
      keys.push(d, s, index, 0);
      values.push(((order.length << 12) | list.length) >>> 0);
      order.push(...list);
    }
  });
  const rules = ruleTable(rows, Uint32Array.from(order));
  const size = 2 ** Math.ceil(Math.log2(Math.max(1, ordered.length)));
  const table = new Uint32Array(4 * size);
  ordered.forEach(({ mask, first }, i) => {
    table.set([mask[1], mask[0], first], 4 * i);
  });
  return {
    before: (object) => {
      rules.before(object);
      object.map("tuples").setValueSize(table.byteLength);
      object.rodata.set("n_tuples", ordered.length);
      object.rodata.set("tuple_mask", size - 1);
      object.map("tss").setMaxEntries(Math.max(1, values.length));
    },
    after: (object) => {
      rules.after(object);
      object.map("tuples").update(0, table);
      object.map("tss").updateBatch(Uint32Array.from(keys), Uint32Array.from(values));
    },
    bytes: rules.bytes + table.byteLength + 4 * (keys.length + values.length),
  };
}

/** struct rule4 of each row, in the order given, and the ranges that they name. */
function ruleTable(rows: Rows, order: Uint32Array): Filler {
  const [rules, ranges] = [new Table("rules4"), new Table("ranges")];
  ruleWriter(rows, rules, new Table("extra4"), new Distinct(ranges)).write(
    Int32Array.from(order),
    0,
    order.length,
  );
  const maps = { peer_rules: rules.finish(), peer_ranges: ranges.finish() };
  return {
    before: (object) => {
      for (const [name, bytes] of Object.entries(maps)) object.map(name).setValueSize(bytes.length);
      object.rodata.set("peer_mask", maps.peer_rules.length / EntrySize.rules4 - 1);
      object.rodata.set("peer_ranges_mask", maps.peer_ranges.length / EntrySize.ranges - 1);
    },
    after: (object) => {
      for (const [name, bytes] of Object.entries(maps)) object.map(name).update(0, bytes);
    },
    bytes: maps.peer_rules.length + maps.peer_ranges.length,
  };
}

function swapBytes(word: number): number {
  return ((word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)) >>> 0;
}
