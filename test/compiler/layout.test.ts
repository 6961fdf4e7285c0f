import { readFileSync } from "node:fs";
import test from "ava";
import { Btf } from "libbpf-ts";
import { BUCKET_BITS } from "../../src/compiler/flow-hash.js";
import {
  BLOCK_COUNTERS,
  DSCP_KEEP,
  DSCP_SHIFT,
  EntrySize,
  Extra,
  Flow,
  Fragment,
  INDEX_HALF_BITS,
  INDEX_NONE,
  KeyWord,
  Lane,
  LIVE_NO_FLOW,
  More,
  MoreLane,
  OWNER_BITS,
  OWNER_NONE,
  OWNER_SHARED,
  PROTO_UNKNOWN,
  PrefixValue,
  RX_REASONS,
  RxReason,
  Slot,
  TARGET_GROUP,
  TX_REASONS,
  TxReason,
  UsedAction,
  Verdict,
} from "../../src/compiler/layout.js";
import { bpfObjectPath } from "../../src/sys/paths.js";

/** bpf/tables.h as the compiler understood it. */
const btf = Btf.parse(readFileSync(bpfObjectPath("test_run")));

const constants: [enumName: string, values: Record<string, number>][] = [
  [
    "key_word",
    {
      KEY_SRC: KeyWord.src,
      KEY_DST: KeyWord.dst,
      KEY_PORTS: KeyWord.ports,
      KEY_PROTO: KeyWord.proto,
      KEY_MARK: KeyWord.mark,
      KEY_IIF: KeyWord.iif,
      KEY_MORE: KeyWord.more,
      KEY_WORDS: 16,
    },
  ],
  ["key_proto", { PROTO_UNKNOWN, DSCP_SHIFT }],
  [
    "lane",
    {
      LANE_SPORT: Lane.sport,
      LANE_DPORT: Lane.dport,
      LANE_PROTO: Lane.proto,
      LANE_DSCP: Lane.dscp,
      LANE_PORTED: Lane.ported,
      LANE_INDEX: Lane.index,
      INDEX_HALF_BITS,
    },
  ],
  [
    "slot",
    {
      SLOT_BASE_BITS: Slot.baseBits,
      SLOT_SHIFT: Slot.shift,
      SLOT_WORD: 32 + Slot.wordHigh,
      SLOT_WIDTH: 32 + Slot.widthHigh,
      SLOT_COUNT: 32 + Slot.countHigh,
      SLOT_FIRST: 32 + Slot.firstHigh,
      SLOT_LEAF: 32 + Slot.leafHigh,
      SLOT_COUNT_MAX: Slot.countMax,
      INDEX_NONE,
    },
  ],
  [
    "prefix_value",
    {
      VALUE_NODE: PrefixValue.node,
      VALUE_LIST: PrefixValue.list,
      VALUE_OFFSET: PrefixValue.offset,
      VALUE_COUNT: PrefixValue.count,
      NODE_BITS: PrefixValue.nodeBits,
    },
  ],
  ["owner", { OWNER_BITS, OWNER_SHARED, OWNER_NONE }],
  ["target_verdict", { TARGET_GROUP, DSCP_KEEP, BUCKET_BITS }],
  [
    "action",
    {
      ACTION_GROUP: UsedAction.group,
      ACTION_LINK: UsedAction.link,
      ACTION_MARK: UsedAction.mark,
      ACTION_DSCP: UsedAction.dscp,
    },
  ],
  ["extra", { EXTRA_MARK_IIF: Extra.markIif, EXTRA_MORE: Extra.more }],
  [
    "more",
    {
      LENGTH_MAX: More.lengthMax,
      ICMP_SHIFT: More.icmpShift,
      ICMP_NONE: More.icmpNone,
      ECN_SHIFT: More.ecnShift,
      FRAGMENT_SHIFT: More.fragmentShift,
    },
  ],
  [
    "more_lane",
    {
      LANE_LENGTH: MoreLane.length,
      LANE_ICMP: MoreLane.icmp,
      LANE_ECN: MoreLane.ecn,
      LANE_FRAGMENT: MoreLane.fragment,
    },
  ],
  [
    "fragment",
    { FRAGMENT_NONE: Fragment.none, FRAGMENT_FIRST: Fragment.first, FRAGMENT_LATER: Fragment.later },
  ],
  ["flow", { FLOW_SLOTS: Flow.slots, FLOW_PROTO: Flow.proto, FLOW_PORTS: Flow.ports }],
  ["live", { LIVE_NO_FLOW }],
  ["counter_block_size", { BLOCK_COUNTERS }],
  ["tx_reason", { TX_DEFAULT: TxReason.default, TX_MALFORMED: TxReason.malformed, TX_REASONS }],
  ["rx_reason", { RX_UNKNOWN_IF_ID: RxReason.unknownIfId, RX_MALFORMED: RxReason.malformed, RX_REASONS }],
  [
    "xfrm_steer_verdict",
    {
      XFRM_STEER_DROP: Verdict.drop,
      XFRM_STEER_STEER: Verdict.steer,
      XFRM_STEER_PASS: Verdict.pass,
      XFRM_STEER_NEXT: 3, // of a user's program only: no table has it
    },
  ],
];

for (const [name, values] of constants)
  test(`enum ${name} is the same in C and in TypeScript`, (t) => {
    const inC = Object.fromEntries([...btf.enum(name).values].map(([key, value]) => [key, Number(value)]));
    t.deepEqual(inC, values);
  });

const structs: [table: keyof typeof EntrySize, struct: string, members: Record<string, number>][] = [
  ["rules4", "rule4", { addr: 0, addr_mask: 8, lo: 16, hi: 24 }],
  ["rules6", "rule6", { src: 0, src_mask: 16, dst: 32, dst_mask: 48, lo: 64, hi: 72 }],
  ["extra4", "rule_extra", { value: 0, mask: 8, lo: 16, hi: 24 }],
  ["extra6", "rule_extra", { value: 0, mask: 8, lo: 16, hi: 24 }],
  ["nodes", "prefix_node", { children: 0, values: 8, otherwise: 12 }],
  ["prefixes4", "prefix4", { addr: 0, mask: 4, value: 8 }],
  ["prefixes6", "prefix6", { addr: 0, length: 16, value: 20 }],
  ["flows4", "flow4", { addr: 0, rest: 8 }],
  ["flows6", "flow6", { src: 0, dst: 16, rest: 32 }],
  ["targets", "target", { verdict: 0, connection: 4, link: 8, mark: 12, mark_mask: 16, dscp: 20 }],
  ["connections", "connection", { if_id: 0, link: 4, rx_mark: 8, rx_mark_mask: 12 }],
];

for (const [table, struct, members] of structs)
  test(`table ${table} has the layout of struct ${struct}`, (t) => {
    const { size, members: inC } = btf.struct(struct);
    t.is(size, EntrySize[table]);
    t.deepEqual(Object.fromEntries(inC.map(({ name, offset }) => [name, offset])), members);
  });

test("a counter is two 64-bit words, packets first", (t) => {
  const { size, members } = btf.struct("counter");
  t.is(size, 16);
  t.deepEqual(
    members.map(({ name, offset, size }) => [name, offset, size]),
    [
      ["packets", 0, 8],
      ["bytes", 8, 8],
    ],
  );
});
