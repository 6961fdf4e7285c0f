/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Longest prefix match. Addresses are taken as 128 bits, `high` and `low`; an IPv4 address is the top half of `high`.
 */
#pragma once

#include "hash.h"
#include "maps.h"

/*
 * A trie over prefixes, all of which begin with the same bits, those of `start`. How far one half of the address is from
 * there, shifted right, is the number of the value at which a walk begins, from word `root` on; `last` is the last one's. Without any
 * `root` is that value itself. With `spread` the values are in blocks whose pilots begin at unit `root`. No window crosses
 * the halves of an address.
 *
 * Where there are many long prefixes, they are not in that trie: a perfect hash over the leading bits that `hashed` has
 * set leads to the one entry that may hold the address, whatever its prefix's length.
 */
const volatile struct prefix_trie {
	__u64 start[2];
	__u32 root, shift, last;
	__u32 by_low;	   /* the low half is the one that picks */
	__u32 spread, wide; /* of blocks: slots from one group's window to the next, and 1 where a slot has 32 bits */
	__u32 block_slots;  /* unit of the first slot */
	__u32 rests;	    /* word of the rest of the first block, or of where its values are */
	__u32 numbered, number_mask; /* word of the values by number */
	__u32 depth, list; /* bounds of the walk: values on the longest path, prefixes of the longest list */
	__u32 has_nodes;   /* else no value but an owner is behind a list */
	__u32 lists, last_list; /* units of the first list, and of the last of which the most prefixes can be read */
	__u32 units;	   /* of the table */
	__u32 outside;	   /* owner where no prefix but that of all addresses holds the address */
	__u32 is_long;	   /* lists are of struct prefix6_long */
	__u64 hashed;	   /* of the high half; 0: nothing is hashed */
	__u32 buckets, slots, seed;
	__u32 entries, pilots; /* first unit of the hash's entries (struct prefix4 or prefix6), and of its pilots */
} subnets4 = {}, subnets6 = {}, if_ids = {};

enum { UNIT = sizeof(struct prefix_node) };

/* How many bits of x are set. Warren, Hacker's Delight, figure 5-2: BPF has no instruction for it. */
static __always_inline __u32 count_bits(__u64 x)
{
	x -= (x >> 1) & 0x5555555555555555ull;
	x = (x & 0x3333333333333333ull) + ((x >> 2) & 0x3333333333333333ull);
	return ((x + (x >> 4)) & 0x0f0f0f0f0f0f0f0full) * 0x0101010101010101ull >> 56;
}

static __always_inline __u32 value_at(const volatile struct prefix_trie *trie, const void *table, __u32 word)
{
	return word < trie->units * 4 ? ((const __u32 *)table)[word] : OWNER_NONE;
}

/* Value of the child of a node that the 6 address bits in `bits` (and more above them) pick. */
static __always_inline __u32 child_value(const volatile struct prefix_trie *trie, const void *table, __u32 index,
					 __u64 bits)
{
	const struct prefix_node *node = (const struct prefix_node *)table + index;
	__u64 upto;

	if (index >= trie->units)
		return OWNER_NONE;
	upto = node->children << (~bits & 63); /* the child's own bit comes first, then those below it */
	if (!(upto >> 63))
		return node->otherwise;
	return value_at(trie, table, node->values + count_bits(upto) - 1);
}

/* Value of a child, by its number among those of all blocks. */
static __always_inline __u32 block_value(const volatile struct prefix_trie *trie, const void *table, __u64 number)
{
	const __u8 *pilots = table + (__u64)trie->root * UNIT;
	const __u32 *rest = (const __u32 *)table + trie->rests + (number >> BLOCK_BITS);
	const void *slots = table + (__u64)trie->block_slots * UNIT;
	__u64 pilot = pilots[number >> BLOCK_BITS], at, slot;

	if (pilot == BLOCK_FAR)
		return value_at(trie, table, *rest + (number & ((1 << BLOCK_BITS) - 1)));
	at = ((number ^ pilot >> 2) * (2 * pilot + 1) & ((1 << BLOCK_BITS) - 1)) >> 1;
	at += (number >> GROUP_BITS) * trie->spread;
	slot = trie->wide ? ((const __u32 *)slots)[at] : ((const __u16 *)slots)[at];
	at = (number & 1) | (number >> (BLOCK_BITS - 1) & ((1 << CHECK_BITS) - 2));
	if ((slot ^ at) & ((1 << CHECK_BITS) - 1))
		return *rest;
	return ((const __u32 *)table + trie->numbered)[slot >> CHECK_BITS & trie->number_mask];
}

/* All ones where x is 0, else 0. Hidden from the compiler, which would make a branch of what is done with it. */
static __always_inline __u64 ones_if_zero(__u64 x)
{
	__u64 ones = (__s64)(~x & (x - 1)) >> 63;

	barrier_var(ones);
	return ones;
}

static __always_inline int begins(const struct prefix6_long *prefix, __u64 high, __u64 low)
{
	if (prefix->length <= 64)
		return !((high ^ prefix->addr[0]) >> ((64 - prefix->length) & 63));
	return high == prefix->addr[0] && !((low ^ prefix->addr[1]) >> ((128 - prefix->length) & 63));
}

/* `value`, or that of a list's entry where this holds the address. */
static __always_inline __u32 compared(const void *entry, int family, int is_long, __u64 high, __u64 low, __u32 value)
{
	__u64 holds;
	__u32 other;

	if (family == 4) {
		const struct prefix4 *prefix = entry;

		holds = ones_if_zero(((high >> 32) ^ prefix->addr) & prefix->mask);
		other = prefix->value;
	} else if (!is_long) {
		const struct prefix6 *prefix = entry;

		holds = ones_if_zero((high ^ prefix->high) >> (prefix->shift & 63));
		other = prefix->value;
	} else {
		const struct prefix6_long *prefix = entry;

		return begins(prefix, high, low) ? prefix->value : value;
	}
	return value ^ ((value ^ other) & holds);
}

/*
 * Value of a list: that of its first entry which holds the address. The first LIST_AT_ONCE entries, or those of the
 * next list where it has fewer, are compared without a branch: how many there are and which holds the address is
 * different for every packet, and a wrong guess costs more than all of them.
 */
static __always_inline __u32 list_value(const volatile struct prefix_trie *trie, const void *table, __u32 list,
					int family, __u64 high, __u64 low)
{
	int is_long = family == 6 && trie->is_long;
	__u32 size = is_long ? 2 * UNIT : UNIT, longest = trie->list, value = OWNER_NONE;
	__u64 at = trie->lists + (list & ((1u << VALUE_COUNT) - 1));

	barrier_var(at); /* clang would add to it before the comparison and use the sum behind it */
	if (at > trie->last_list)
		return OWNER_NONE;
	table += at * UNIT;
#pragma unroll
	for (int i = LIST_AT_ONCE - 1; i >= 0; i--)
		if (longest > i)
			value = compared(table + i * size, family, is_long, high, low, value);
	for (__u32 i = LIST_AT_ONCE; i < longest && i < ((list >> VALUE_COUNT) & 15) && value == OWNER_NONE; i++)
		value = compared(table + i * size, family, is_long, high, low, value);
	return value;
}

/* Follows a value through nodes and lists. */
static __always_inline __u32 walk_on(const volatile struct prefix_trie *trie, const void *entries, __u32 value, int family,
				     __u64 high, __u64 low)
{
	for (__u32 d = 0; value >> VALUE_LIST && d < trie->depth; d++) {
		if (value >> VALUE_NODE) {
			__u32 window = (value >> VALUE_OFFSET) & 127;
			__u64 bits = family == 4 || window < 64 ? high : low;

			value = child_value(trie, entries, value & OWNER_NONE, bits >> ((58 - window) & 63));
		} else {
			value = list_value(trie, entries, value, family, high, low);
		}
	}
	return value;
}

/* Apart, as what it needs would take registers from walks that end sooner. */
static __attribute__((noinline)) __u32 walk_on4(const volatile struct prefix_trie *trie, const void *entries, __u32 value,
						__u64 high)
{
	return walk_on(trie, entries, value, 4, high, 0);
}

static __attribute__((noinline)) __u32 walk_on6(const volatile struct prefix_trie *trie, const void *entries, __u32 value,
						__u64 high, __u64 low)
{
	return walk_on(trie, entries, value, 6, high, low);
}

/* Follows a value to the owner that it leads to, or OWNER_NONE. Most are an owner or a list. */
static __always_inline __u32 walk(const volatile struct prefix_trie *trie, const void *entries, __u32 value, int family,
				  __u64 high, __u64 low)
{
	__u32 has_nodes = trie->has_nodes;

	if (!trie->depth || !(value >> VALUE_LIST))
		return value;
	if (!has_nodes || !(value >> VALUE_NODE))
		value = list_value(trie, entries, value, family, high, low);
	if (!has_nodes || !(value >> VALUE_LIST))
		return value;
	return family == 4 ? walk_on4(trie, entries, value, high) : walk_on6(trie, entries, value, high, low);
}

/* Value of the hash's one entry that may hold the address. */
static __always_inline __u32 hashed_value(const volatile struct prefix_trie *trie, const void *entries, int family,
					  __u64 high)
{
	const void *entry = entries + (__u64)trie->entries * UNIT;

	entry += UNIT * slot_of(trie->buckets, trie->slots, entries + (__u64)trie->pilots * UNIT,
				stir(trie->seed, high & trie->hashed));
	if (family == 4) {
		const struct prefix4 *prefix = entry;

		return ((high >> 32) ^ prefix->addr) & prefix->mask ? OWNER_NONE : prefix->value;
	}
	const struct prefix6 *prefix = entry;

	return (high ^ prefix->high) >> prefix->shift ? OWNER_NONE : prefix->value;
}

/* Owner of the longest prefix that holds the address, or OWNER_NONE. `family` 4 or 6 is known when compiling. */
static __always_inline __u32 find_owner(const volatile struct prefix_trie *trie, const void *entries, int family,
					__u64 high, __u64 low)
{
	__u32 value, last;

	if (trie->hashed) {
		value = walk(trie, entries, hashed_value(trie, entries, family, high), family, high, low);
		if (value != OWNER_NONE)
			return value;
	}
	value = trie->root;
	last = trie->last;
	if (last) {
		__u64 half = high, number = trie->start[0];

		if (family == 6 && trie->by_low) {
			if (high != number)
				return trie->outside;
			half = low;
			number = trie->start[1];
		}
		number = (half - number) >> trie->shift;
		barrier_var(number); /* as compared is how it has to be used */
		if (number > last)
			return trie->outside;
		value = trie->spread ? block_value(trie, entries, number)
					 : ((const __u32 *)entries)[value + number];
	}
	value = walk(trie, entries, value, family, high, low);
	return value == OWNER_NONE ? trie->outside : value;
}

/* Owner of the longest subnet that holds the address; of an IPv4 address, `low` is 0. */
static __always_inline __u32 subnet_owner(int family, __u64 high, __u64 low)
{
	return family == 4 ? find_owner(&subnets4, table(trie4), 4, high, 0)
			   : find_owner(&subnets6, table(trie6), 6, high, low);
}

/* Index of the connection with this if_id, or OWNER_NONE. */
static __always_inline __u32 connection_of(__u32 if_id)
{
	return find_owner(&if_ids, table(trie_ids), 4, (__u64)if_id << 32, 0);
}
