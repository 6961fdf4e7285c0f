/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The compiled rule set as the classifier reads it: flat tables, each the one value of a one-entry array map, so that a
 * lookup is an AND and a load. src/compiler/layout.ts describes the same layout; a test compares the two through BTF.
 *
 * A tree's inner slot cuts a window of bits out of one word of the packet's key and indexes its children with it; a
 * leaf slot names a short run of rules (or prefixes), which is scanned for the first match. Words of the key:
 */
#pragma once

#include <linux/types.h>

enum key_word {
	KEY_SRC = 0,	/* 4 words, most significant first; IPv4 uses the first */
	KEY_DST = 4,	/* likewise */
	KEY_PORTS = 8,	/* source port << 16 | destination port; 0 where there are none */
	KEY_PROTO = 9,	/* dscp << 9 | protocol, PROTO_UNKNOWN where the headers do not tell */
	KEY_MARK = 10,
	KEY_IIF = 11,
	KEY_WORDS = 16, /* a power of two, so that a masked index is in bounds */
};

enum key_proto { PROTO_UNKNOWN = 256, DSCP_SHIFT = 9 };

/*
 * Fields that rules match by range sit in guarded lanes of one 64-bit word: with a spare bit above each lane,
 * ((key | guards) - lo) and ((hi | guards) - key) keep every guard set where lo <= key <= hi. Two subtractions test
 * all five ranges. The 22 bits above the lanes hold the halves of the rule's index.
 */
enum lane {
	LANE_SPORT = 0,	 /* 16 bits and a guard */
	LANE_DPORT = 17, /* 16 bits and a guard */
	LANE_PROTO = 34, /* 9 bits and a guard */
	LANE_DSCP = 44,	 /* 6 bits and a guard */
	LANE_PORTED = 51, /* 1 bit and a guard: the packet has ports */
	LANE_INDEX = 53,
	INDEX_HALF_BITS = 11,
};
#define LANE_GUARDS ((1ull << 16) | (1ull << 33) | (1ull << 43) | (1ull << 50) | (1ull << 52))

/* A slot, from bit 0: base 26, shift 5 | leaf: start 26. From bit 32: word 4, width 5 | leaf: count 9; first 22, leaf 1. */
enum slot {
	SLOT_BASE_BITS = 26,
	SLOT_SHIFT = 26,
	SLOT_WORD = 32,
	SLOT_WIDTH = 36,
	SLOT_COUNT = 32,
	SLOT_FIRST = 41, /* lowest rule index below this slot: nothing here can win over a lower one */
	SLOT_LEAF = 63,
	SLOT_COUNT_MAX = 511,
	INDEX_NONE = 0x3fffff,
};

struct rule4 {
	__u64 addr, addr_mask; /* source << 32 | destination */
	__u64 lo, hi;
};

struct rule6 {
	__u64 src[2], src_mask[2];
	__u64 dst[2], dst_mask[2];
	__u64 lo, hi;
};

/* Beside rule4 or rule6 at the same position, only where a rule matches on mark or interface. */
struct rule_extra {
	__u64 value, mask; /* mark << 32 | ifindex */
};

/*
 * Prefixes: a trie whose nodes cut 6 bits and keep only the children that differ from `otherwise`, found by counting
 * the bits of `children` up to the packet's own. A value is the owner of the longest prefix, or leads on: to a node, or
 * to a short list of prefixes, longest first, of which the first that holds the address gives the next value.
 */
struct prefix_node {
	__u64 children;	 /* bit i: child i has a value of its own */
	__u32 values;	 /* position of the first in the table of values */
	__u32 otherwise; /* value of the other children */
};

/* From bit 0: node 24, bit offset of its window in the address 7 | list: start 26, length 4 | owner 24. */
enum prefix_value {
	VALUE_NODE = 31,
	VALUE_LIST = 30,
	VALUE_OFFSET = 24,
	VALUE_COUNT = 26,
	NODE_BITS = 6,
};

struct prefix4 {
	__u32 addr, mask;
	__u32 value;
};

struct prefix6 {
	__u64 addr[2];
	__u32 length;
	__u32 value;
};

/* owner: a connection's index, or with OWNER_SHARED the start of a list in `shared`: count, then indexes. */
enum owner { OWNER_BITS = 24, OWNER_SHARED = 0x800000, OWNER_NONE = 0xffffff };

/* What a rule does: verdict << 24 | connection. */
enum target { TARGET_VERDICT = 24 };

struct connection {
	__u32 if_id;
	__s32 link;
	__u32 rx_mark, rx_mark_mask;
};

struct counter {
	__u64 packets, bytes;
};

/* Transmit counters: one for each rule, one for each connection chosen by its subnets, then these. */
enum tx_reason { TX_DEFAULT = 0, TX_MALFORMED = 1, TX_REASONS = 2 };

/* Receive counters: accepted by connection, dropped for their source by connection, then these. */
enum rx_reason { RX_UNKNOWN_IF_ID = 0, RX_MALFORMED = 1, RX_REASONS = 2 };
