/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* First match of the rules: a walk of a few trees, each of which ends in a short run of rules. */
#pragma once

#include "key.h"
#include "maps.h"

static __always_inline __u32 slot_first(__u64 slot)
{
	return (slot >> SLOT_FIRST) & INDEX_NONE;
}

/* Descends from `s` to a leaf, or stops at a slot below which no rule comes before `best`. */
static __always_inline __u64 descend(const __u64 *slot, __u64 s, __u32 depth, const struct key *key, __u32 best)
{
	for (__u32 d = 0; d < depth; d++) {
		if (s >> SLOT_LEAF || slot_first(s) >= best)
			break;
		__u32 word = key->word[(s >> SLOT_WORD) & (KEY_WORDS - 1)];
		__u32 width = (s >> SLOT_WIDTH) & 31;
		__u32 child = (word >> ((s >> SLOT_SHIFT) & 31)) & ((1u << width) - 1);

		s = slot[(child + (__u32)(s & ((1u << SLOT_BASE_BITS) - 1))) & mask.slots];
	}
	return s;
}

static __always_inline __u32 leaf_start(__u64 leaf)
{
	return leaf & ((1u << SLOT_BASE_BITS) - 1);
}

static __always_inline __u32 leaf_count(__u64 leaf)
{
	return leaf >> SLOT_LEAF ? (leaf >> SLOT_COUNT) & SLOT_COUNT_MAX : 0;
}

/* `addr` as in rule4. */
static __always_inline int in_prefixes4(__u64 addr, const struct rule4 *rule)
{
	__u64 differs = addr ^ rule->addr;

	return !(differs >> 32 >> (rule->rest >> RULE_SRC_SHIFT & RULE_SHIFT_MAX) |
		 (differs & 0xffffffff) >> (rule->rest >> RULE_DST_SHIFT));
}

static __always_inline int in_ranges(const struct key *key, const struct ranges *ranges)
{
	__u64 at_least = (key->lanes | LANE_GUARDS) - ranges->lo, at_most = (ranges->hi | LANE_GUARDS) - key->lanes;

	return (at_least & at_most & LANE_GUARDS) == LANE_GUARDS;
}

static __always_inline const struct ranges *ranges_of(__u64 rest)
{
	const struct ranges *all = table(ranges);

	return &all[rest >> RULE_RANGES & mask.ranges];
}

static __always_inline __u32 rule_index(__u64 rest)
{
	return rest & INDEX_NONE;
}

static __always_inline int extra_matches(const struct key *key, const struct rule_extra *extra, __u32 uses)
{
	if (uses & EXTRA_MARK_IIF && (pair(&key->word[KEY_MARK]) ^ extra->value) & extra->mask)
		return 0;
	if (uses & EXTRA_MORE) {
		__u64 at_least = (key->more | MORE_GUARDS) - extra->lo;
		__u64 at_most = (extra->hi | MORE_GUARDS) - key->more;

		return (at_least & at_most & MORE_GUARDS) == MORE_GUARDS;
	}
	return 1;
}

/*
 * First match in the tree below slot `from` that comes before `best`, else `best`. Global functions are verified once, each on its own,
 * however many trees there are: in one piece the walks were too much for the verifier.
 */
__attribute__((noinline)) __u32 match_tree4(const struct key *key, __u64 from, __u32 best)
{
	const __u64 *slot = table(slots);
	const struct rule4 *rules = table(rules4);
	const struct rule_extra *extra = table(extra4);

	if (!key)
		return best;
	__u64 addr = (__u64)key->word[KEY_SRC] << 32 | key->word[KEY_DST];
	__u64 leaf = descend(slot, from, rule_trees4.depth, key, best);

	if (slot_first(leaf) >= best)
		return best;
	for (__u32 i = 0; i < rule_trees4.leaf && i < leaf_count(leaf); i++) {
		__u32 at = (leaf_start(leaf) + i) & mask.rules4;
		const struct rule4 *rule = &rules[at];

		if (!in_prefixes4(addr, rule) || !in_ranges(key, ranges_of(rule->rest)))
			continue;
		if (rule_trees4.extra && !extra_matches(key, &extra[at], rule_trees4.extra))
			continue;
		__u32 index = rule_index(rule->rest);
		return index < best ? index : best;
	}
	return best;
}

__attribute__((noinline)) __u32 match_tree6(const struct key *key, __u64 from, __u32 best)
{
	const __u64 *slot = table(slots);
	const struct rule6 *rules = table(rules6);
	const struct rule_extra *extra = table(extra6);

	if (!key)
		return best;
	__u64 src0 = pair(&key->word[KEY_SRC]), src1 = pair(&key->word[KEY_SRC + 2]);
	__u64 dst0 = pair(&key->word[KEY_DST]), dst1 = pair(&key->word[KEY_DST + 2]);
	__u64 leaf = descend(slot, from, rule_trees6.depth, key, best);

	if (slot_first(leaf) >= best)
		return best;
	for (__u32 i = 0; i < rule_trees6.leaf && i < leaf_count(leaf); i++) {
		__u32 at = (leaf_start(leaf) + i) & mask.rules6;
		const struct rule6 *rule = &rules[at];

		if (((src0 ^ rule->src[0]) & rule->src_mask[0]) | ((src1 ^ rule->src[1]) & rule->src_mask[1]) |
		    ((dst0 ^ rule->dst[0]) & rule->dst_mask[0]) | ((dst1 ^ rule->dst[1]) & rule->dst_mask[1]))
			continue;
		if (!in_ranges(key, ranges_of(rule->rest)))
			continue;
		if (rule_trees6.extra && !extra_matches(key, &extra[at], rule_trees6.extra))
			continue;
		__u32 index = rule_index(rule->rest);
		return index < best ? index : best;
	}
	return best;
}

/*
 * The first step into each tree is taken before any tree is searched: what these loads wait for, they wait for together. The
 * stack has a place for each; `count` is a constant.
 */
static __always_inline __u32 match_trees(const struct key *key, int family, __u32 root, __u32 count)
{
	const __u64 *slot = table(slots);
	__u64 first[RULE_TREES];
	__u32 best = INDEX_NONE;

	for (__u32 t = 0; t < RULE_TREES && t < count; t++)
		first[t] = descend(slot, slot[(root + t) & mask.slots], 1, key, best);
	for (__u32 t = 0; t < RULE_TREES && t < count; t++) {
		if (slot_first(first[t]) < best)
			best = family == 4 ? match_tree4(key, first[t], best) : match_tree6(key, first[t], best);
	}
	return best;
}

/* Index of the first rule that matches, or INDEX_NONE. */
static __always_inline __u32 match_rules(const struct key *key, int family)
{
	return family == 4 ? match_trees(key, 4, rule_trees4.root, rule_trees4.count)
			   : match_trees(key, 6, rule_trees6.root, rule_trees6.count);
}

/* match_trees for ICMP errors and what they quote: on little stack. */
static __always_inline __u32 match_one_by_one(const struct key *key, int family, const volatile struct rule_trees *trees)
{
	const __u64 *slot = table(slots);
	__u32 best = INDEX_NONE;

	for (__u32 t = 0; t < RULE_TREES && t < trees->count; t++) {
		__u64 root = slot[(trees->root + t) & mask.slots];

		best = family == 4 ? match_tree4(key, root, best) : match_tree6(key, root, best);
	}
	return best;
}

/* Index of the first rule that names the family's ICMP and matches, or INDEX_NONE. */
static __attribute__((noinline)) __u32 match_icmp_rules(const struct key *key, int family)
{
	return family == 4 ? match_one_by_one(key, 4, &icmp_trees4) : match_one_by_one(key, 6, &icmp_trees6);
}

/* As match_rules. */
static __attribute__((noinline)) __u32 match_rules_apart(const struct key *key, int family)
{
	return family == 4 ? match_one_by_one(key, 4, &rule_trees4) : match_one_by_one(key, 6, &rule_trees6);
}
