/**
 * The layout of the compiled tables, as `bpf/tables.h` declares it; test/compiler/layout.test.ts compares the two
 * through the BTF of the compiled object.
 */

/** Words of a packet's key, host byte order. */
export const KeyWord = { src: 0, dst: 4, ports: 8, proto: 9, mark: 10, iif: 11, more: 12 } as const;

/** Protocol of a packet whose headers do not tell it. */
export const PROTO_UNKNOWN = 256;
export const PROTO_BITS = 9;
export const DSCP_SHIFT = 9;
export const DSCP_BITS = 6;

/** The fields in the word `more`. */
export const More = {
  lengthMax: 0x1ffff,
  icmpShift: 17,
  icmpNone: 256,
  ecnShift: 26,
  fragmentShift: 28,
} as const;
export const LENGTH_BITS = 17;
export const ICMP_BITS = 9;
export const ECN_BITS = 2;
export const FRAGMENT_BITS = 2;
export const Fragment = { none: 0, first: 1, later: 2 } as const;

/** First bit of each guarded lane in a rule's `lo` and `hi`. */
export const Lane = { sport: 0, dport: 17, proto: 34, dscp: 44, ported: 51, index: 53 } as const;
/** First bit of each guarded lane in a rule_extra's `lo` and `hi`. */
export const MoreLane = { length: 0, icmp: 18, ecn: 28, fragment: 31 } as const;
/** Which fields of rule_extra any rule uses. */
export const Extra = { markIif: 1, more: 2 } as const;
export const INDEX_HALF_BITS = 11;
/** Rule index that stands for "none"; also the most rules that a rule set can have. */
export const INDEX_NONE = 0x3fffff;

/** Bits of a slot; those from 32 on are given within its high word. */
export const Slot = {
  baseBits: 26,
  shift: 26,
  wordHigh: 0,
  widthHigh: 4,
  countHigh: 0,
  countMax: 511,
  firstHigh: 9,
  leafHigh: 31,
} as const;

/** Bits of a prefix value; what is neither a node nor a list is an owner. */
export const PrefixValue = { node: 31, list: 30, offset: 24, count: 26, nodeBits: 6 } as const;

/** Owner of a prefix: a connection's index, or `ownerShared` | the start of its list in the shared table. */
export const OWNER_BITS = 24;
export const OWNER_SHARED = 0x800000;
export const OWNER_NONE = 0xffffff;

/** Tables of exact flows: slots of a bucket, and the first bits of the fields in `rest`. */
export const Flow = { slots: 4, proto: 24, ports: 32 } as const;
/** In the map of live flows: the generation's flow with this key is gone. */
export const LIVE_NO_FLOW = 0xfffffffe;

export const Verdict = { drop: 0, steer: 1, pass: 2 } as const;
/** Verdict of a target that is a group. */
export const TARGET_GROUP = 3;
export const DSCP_KEEP = 64;
/** Actions that any rule uses. */
export const UsedAction = { group: 1, link: 2, mark: 4, dscp: 8 } as const;

/** Bytes of one entry of each table. */
export const EntrySize = {
  slots: 8,
  rules4: 32,
  rules6: 80,
  extra4: 32,
  extra6: 32,
  nodes: 16,
  values: 4,
  prefixes4: 12,
  prefixes6: 24,
  shared: 4,
  flows4: 16,
  flows6: 40,
  targets: 24,
  groups: 4,
  connections: 16,
} as const;

export type TableName = keyof typeof EntrySize;

/** Transmit counters behind those of the rules and the connections; receive counters behind twice the connections. */
export const TxReason = { default: 0, malformed: 1 } as const;
export const RxReason = { unknownIfId: 0, malformed: 1 } as const;
export const TX_REASONS = 2;
/** Counters in one entry of their maps. */
export const BLOCK_COUNTERS = 64;
export const RX_REASONS = 2;
