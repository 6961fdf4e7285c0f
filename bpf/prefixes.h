/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Longest prefix match. Addresses are taken as 128 bits, `high` and `low`; an IPv4 address is the top half of `high`.
 */
#pragma once

#include "maps.h"

/*
 * A trie over prefixes. All of them begin with the `skip` leading bits of `start`; the next `width` bits pick one of
 * 2^width consecutive nodes. Where there are few prefixes `root` is a list, or an owner, and `width` is 0.
 */
const volatile struct prefix_trie {
	__u32 root, skip, width;
	__u32 depth, list; /* bounds of the walk: values on the longest path, prefixes of the longest list */
	__u32 outside;	   /* owner of addresses that do not begin with `start` */
	__u64 start[2];
} subnets4 = {}, subnets6 = {}, if_ids = {};

/* Warren, Hacker's Delight, figure 5-2. BPF has no instruction for it. */
static __always_inline __u32 count_bits(__u64 x)
{
	x -= (x >> 1) & 0x5555555555555555ull;
	x = (x & 0x3333333333333333ull) + ((x >> 2) & 0x3333333333333333ull);
	x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0full;
	return (x * 0x0101010101010101ull) >> 56;
}

/* Value of the child that the 6 address bits in `bits` (and more above them) pick. */
static __always_inline __u32 child_value(const struct prefix_node *node, const __u32 *value, __u64 bits)
{
	__u64 upto = node->children << (~bits & 63); /* the child's own bit comes first, then those below it */

	if (!(upto >> 63))
		return node->otherwise;
	return value[(node->values + count_bits(upto) - 1) & mask.values];
}

static __always_inline __u64 leading(__u32 bits)
{
	return bits ? ~0ull << (64 - bits) : 0;
}

static __always_inline __u32 root_value(const volatile struct prefix_trie *trie, __u64 high, __u64 low)
{
	if (!trie->skip && !trie->width)
		return trie->root;
	if (trie->skip <= 64) {
		if ((high ^ trie->start[0]) & leading(trie->skip))
			return trie->outside;
	} else if (high != trie->start[0] || (low ^ trie->start[1]) & leading(trie->skip - 64)) {
		return trie->outside;
	}
	if (!trie->width)
		return trie->root;
	return trie->root + (trie->skip < 64 ? (high << trie->skip) >> (64 - trie->width)
					     : (low << (trie->skip - 64)) >> (64 - trie->width));
}

static __always_inline __u32 owner4(const volatile struct prefix_trie *trie, __u32 addr)
{
	const struct prefix_node *node = table(&nodes);
	const struct prefix4 *prefix = table(&prefixes4);
	const __u32 *all = table(&values);
	__u64 high = (__u64)addr << 32;
	__u32 value = root_value(trie, high, 0);

	if (!node || !prefix || !all)
		return OWNER_NONE;
	for (__u32 d = 0; d < trie->depth; d++) {
		if (value >> VALUE_NODE) {
			__u32 offset = (value >> VALUE_OFFSET) & 127;

			value = child_value(&node[value & OWNER_NONE & mask.nodes], all, high >> ((58 - offset) & 63));
		} else if (value >> VALUE_LIST) {
			__u32 at = value & ((1u << VALUE_COUNT) - 1), n = (value >> VALUE_COUNT) & 15;

			value = OWNER_NONE;
			for (__u32 i = 0; i < trie->list && i < n; i++) {
				const struct prefix4 *p = &prefix[(at + i) & mask.prefixes4];

				if (!((addr ^ p->addr) & p->mask)) {
					value = p->value;
					break;
				}
			}
		} else {
			break;
		}
	}
	return value;
}

static __always_inline __u32 owner6(const volatile struct prefix_trie *trie, __u64 high, __u64 low)
{
	const struct prefix_node *node = table(&nodes);
	const struct prefix6 *prefix = table(&prefixes6);
	const __u32 *all = table(&values);
	__u32 value = root_value(trie, high, low);

	if (!node || !prefix || !all)
		return OWNER_NONE;
	for (__u32 d = 0; d < trie->depth; d++) {
		if (value >> VALUE_NODE) {
			__u32 offset = (value >> VALUE_OFFSET) & 127; /* no window crosses the halves */
			__u64 half = offset < 64 ? high : low;

			value = child_value(&node[value & OWNER_NONE & mask.nodes], all, half >> ((122 - offset) & 63));
		} else if (value >> VALUE_LIST) {
			__u32 at = value & ((1u << VALUE_COUNT) - 1), n = (value >> VALUE_COUNT) & 15;

			value = OWNER_NONE;
			for (__u32 i = 0; i < trie->list && i < n; i++) {
				const struct prefix6 *p = &prefix[(at + i) & mask.prefixes6];
				__u32 length = p->length;

				if (length <= 64) {
					if (length && (high ^ p->addr[0]) >> ((64 - length) & 63))
						continue;
				} else if (high != p->addr[0] || (low ^ p->addr[1]) >> ((128 - length) & 63)) {
					continue;
				}
				value = p->value;
				break;
			}
		} else {
			break;
		}
	}
	return value;
}
