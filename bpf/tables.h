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
	KEY_MORE = 12,	/* length | ICMP type << 17 | ecn << 26 | fragment << 28; see enum more */
	KEY_WORDS = 16, /* a power of two, so that a masked index is in bounds */
};

enum key_proto { PROTO_UNKNOWN = 256, DSCP_SHIFT = 9 };

enum more {
	LENGTH_MAX = 0x1ffff, /* longer packets count as this long: no rule asks for more than 65575 */
	ICMP_SHIFT = 17,
	ICMP_NONE = 256, /* not an ICMP message, or its type is cut off */
	ECN_SHIFT = 26,
	FRAGMENT_SHIFT = 28,
};

enum fragment { FRAGMENT_NONE = 0, FRAGMENT_FIRST = 1, FRAGMENT_LATER = 2 };

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

/* The same for the fields that rules match less often. */
enum more_lane {
	LANE_LENGTH = 0,    /* 17 bits and a guard */
	LANE_ICMP = 18,	    /* 9 bits and a guard */
	LANE_ECN = 28,	    /* 2 bits and a guard */
	LANE_FRAGMENT = 31, /* 2 bits and a guard */
};
#define MORE_GUARDS ((1ull << 17) | (1ull << 27) | (1ull << 30) | (1ull << 33))

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

/* Beside rule4 or rule6 at the same position, only where a rule matches on one of these fields. */
struct rule_extra {
	__u64 value, mask; /* mark << 32 | ifindex */
	__u64 lo, hi;	   /* enum more_lane */
};

/* Which of them any rule uses. */
enum extra { EXTRA_MARK_IIF = 1, EXTRA_MORE = 2 };

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

/*
 * Exact flows: a cuckoo hash table with buckets of FLOW_SLOTS. A flow is in one of the two buckets that its hash gives.
 * `rest` is ports << 32 | protocol << 24 | owner, with owner OWNER_NONE in an empty slot.
 */
struct flow4 {
	__u64 addr; /* source << 32 | destination */
	__u64 rest;
};

struct flow6 {
	__u64 src[2], dst[2];
	__u64 rest;
};

enum flow { FLOW_SLOTS = 4, FLOW_PROTO = 24, FLOW_PORTS = 32 };

/* Key of the hash map of flows that come and go without a new generation; words as in the key of a packet. */
struct live_flow {
	__u32 src[4], dst[4];
	__u32 ports;
	__u32 proto; /* family << 8 | protocol */
};

/* Its values: a connection's index, or LIVE_NO_FLOW for one of the generation's flows that is gone. */
enum live { LIVE_NO_FLOW = 0xfffffffe };

/* What a rule does. */
struct target {
	__u32 verdict;	  /* enum xfrm_steer_verdict, or TARGET_GROUP */
	__u32 connection; /* its index; of a group, position of its first bucket in `groups` */
	__s32 link;	  /* ifindex that overrides the connection's, or 0 */
	__u32 mark, mark_mask;
	__u32 dscp; /* or DSCP_KEEP */
};

/* A group has a connection's index for each of 2^BUCKET_BITS buckets of its flows' hash. */
enum target_verdict { TARGET_GROUP = 3, DSCP_KEEP = 64, BUCKET_BITS = 10 };

/* Which actions any rule uses. */
enum action { ACTION_GROUP = 1, ACTION_LINK = 2, ACTION_MARK = 4, ACTION_DSCP = 8 };

struct connection {
	__u32 if_id;
	__s32 link;
	__u32 rx_mark, rx_mark_mask;
};

struct counter {
	__u64 packets, bytes;
};

/* Per-CPU maps allocate each entry on its own: blocks make loading a hundred thousand counters cheap. */
enum counter_block_size { BLOCK_COUNTERS = 64 };

struct counter_block {
	struct counter counter[BLOCK_COUNTERS];
};

/* Transmit counters: one for each rule, one for each connection chosen by its flows and subnets, then these. */
enum tx_reason { TX_DEFAULT = 0, TX_MALFORMED = 1, TX_REASONS = 2 };

/* Receive counters: accepted by connection, dropped for their source by connection, then these. */
enum rx_reason { RX_UNKNOWN_IF_ID = 0, RX_MALFORMED = 1, RX_REASONS = 2 };
