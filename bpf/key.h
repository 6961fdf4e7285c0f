/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What rules can match of a packet, in the form in which the tables are searched. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "hash.h"
#include "tables.h"

struct key {
	__u32 word[KEY_WORDS]; /* host byte order */
	__u64 lanes, more;     /* the same in guarded lanes: enum lane, enum more_lane */
	__u32 ported;	       /* 1 where the packet has ports */
};

static __always_inline __u64 pair(const __u32 *words)
{
	return (__u64)words[0] << 32 | words[1];
}

/* Fills the lanes from the words. */
static __always_inline void key_lanes(struct key *key)
{
	__u64 ports = key->word[KEY_PORTS], proto = key->word[KEY_PROTO], more = key->word[KEY_MORE];

	key->lanes = ports >> 16 << LANE_SPORT | (ports & 0xffff) << LANE_DPORT | (proto & 0x1ff) << LANE_PROTO |
		     proto >> DSCP_SHIFT << LANE_DSCP | (__u64)key->ported << LANE_PORTED;
	key->more = (more & LENGTH_MAX) << LANE_LENGTH | (more >> ICMP_SHIFT & 0x1ff) << LANE_ICMP |
		    (more >> ECN_SHIFT & 3) << LANE_ECN | (more >> FRAGMENT_SHIFT & 3) << LANE_FRAGMENT;
}

/* One round of the hash in src/compiler/flow-hash.ts; finish() is its end. */
static __always_inline __u32 mix(__u32 h, __u32 word)
{
	h = (h ^ word) * 0x85ebca6b;
	return h ^ h >> 15;
}

/* Hash of the addresses, `ports` and the protocol; not yet finished. */
static __always_inline __u32 hash_flow(const struct key *key, int family, __u32 ports)
{
	__u32 h = 0x9e3779b9;

	if (family == 4) {
		h = mix(mix(h, key->word[KEY_SRC]), key->word[KEY_DST]);
	} else {
		for (int i = 0; i < 4; i++)
			h = mix(h, key->word[KEY_SRC + i]);
		for (int i = 0; i < 4; i++)
			h = mix(h, key->word[KEY_DST + i]);
	}
	return mix(mix(h, ports), key->word[KEY_PROTO] & 0x1ff);
}
