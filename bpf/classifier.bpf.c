/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The deciding half that runs compiled rules: first match of the rules, then the longest of the connections' subnets,
 * then the default. Every constant below is set before load, so that the verifier removes the code of what a rule set
 * does not use, and every table is sized to its rule set.
 */
#include "packet.h"
#include "tables.h"
#include "xfrm_steer.h"

#define FLAT_TABLE(name, entry)                                                                                        \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                                      \
		__uint(max_entries, 1);                                                                                \
		__uint(key_size, sizeof(__u32));                                                                       \
		__uint(value_size, sizeof(entry)); /* resized before load */                                           \
	} name SEC(".maps")

FLAT_TABLE(slots, __u64);
FLAT_TABLE(rules4, struct rule4);
FLAT_TABLE(rules6, struct rule6);
FLAT_TABLE(extra4, struct rule_extra);
FLAT_TABLE(extra6, struct rule_extra);
FLAT_TABLE(prefixes4, struct prefix4);
FLAT_TABLE(prefixes6, struct prefix6);
FLAT_TABLE(shared, __u32);
FLAT_TABLE(targets, __u32);
FLAT_TABLE(connections, struct connection);

#define COUNTERS(name)                                                                                                 \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                                                               \
		__uint(max_entries, 1); /* resized before load */                                                      \
		__type(key, __u32);                                                                                    \
		__type(value, struct counter);                                                                         \
	} name SEC(".maps")

COUNTERS(tx_counters);
COUNTERS(rx_counters);

/* One less than each table's (power of two) number of entries. */
const volatile struct {
	__u32 slots, rules4, rules6, prefixes4, prefixes6, shared, targets, connections;
} mask = {};

/* Trees over the rules: `count` roots in consecutive slots, and the bounds of the walk. */
const volatile struct rule_trees {
	__u32 root, count, depth, leaf, extra;
} rule_trees4 = {}, rule_trees6 = {};

/* A tree over prefixes; root 0 is none. */
const volatile struct prefix_tree {
	__u32 root, depth, leaf;
} subnets4 = {}, subnets6 = {}, if_ids = {};

const volatile __u32 n_rules = 0, n_connections = 0, shared_longest = 0;
const volatile __u32 default_verdict = XFRM_STEER_DROP;

static __always_inline void *table(void *map)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(map, &zero);
}

static __always_inline void count(void *counters, __u32 index, __u32 bytes)
{
	struct counter *counter = bpf_map_lookup_elem(counters, &index);

	if (counter) {
		counter->packets++;
		counter->bytes += bytes;
	}
}

static __always_inline __u32 slot_first(__u64 slot)
{
	return (slot >> SLOT_FIRST) & INDEX_NONE;
}

/* Descends to a leaf, or stops at a slot below which no rule comes before `best`. */
static __always_inline __u64 descend(const __u64 *slot, __u32 root, __u32 depth, const struct key *key, __u32 best)
{
	__u64 s = slot[root & mask.slots];

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

static __always_inline int in_ranges(const struct key *key, __u64 lo, __u64 hi)
{
	__u64 at_least = (key->lanes | LANE_GUARDS) - lo, at_most = (hi | LANE_GUARDS) - key->lanes;

	return (at_least & at_most & LANE_GUARDS) == LANE_GUARDS;
}

static __always_inline __u32 rule_index(__u64 lo, __u64 hi)
{
	return (__u32)(lo >> LANE_INDEX) << INDEX_HALF_BITS | (__u32)(hi >> LANE_INDEX);
}

static __always_inline __u64 pair(const __u32 *words)
{
	return (__u64)words[0] << 32 | words[1];
}

static __always_inline int extra_matches(const struct key *key, const struct rule_extra *extra)
{
	return !((pair(&key->word[KEY_MARK]) ^ extra->value) & extra->mask);
}

static __always_inline __u32 match_rules4(const struct key *key)
{
	const __u64 *slot = table(&slots);
	const struct rule4 *rules = table(&rules4);
	const struct rule_extra *extra = table(&extra4);
	__u64 addr = (__u64)key->word[KEY_SRC] << 32 | key->word[KEY_DST];
	__u32 best = INDEX_NONE;

	if (!slot || !rules || !extra)
		return best;
	for (__u32 t = 0; t < rule_trees4.count; t++) {
		__u64 leaf = descend(slot, rule_trees4.root + t, rule_trees4.depth, key, best);

		if (slot_first(leaf) >= best)
			continue;
		for (__u32 i = 0; i < rule_trees4.leaf && i < leaf_count(leaf); i++) {
			__u32 at = (leaf_start(leaf) + i) & mask.rules4;
			const struct rule4 *rule = &rules[at];

			if ((addr ^ rule->addr) & rule->addr_mask || !in_ranges(key, rule->lo, rule->hi))
				continue;
			if (rule_trees4.extra && !extra_matches(key, &extra[at]))
				continue;
			__u32 index = rule_index(rule->lo, rule->hi);
			if (index < best)
				best = index;
			break;
		}
	}
	return best;
}

static __always_inline __u32 match_rules6(const struct key *key)
{
	const __u64 *slot = table(&slots);
	const struct rule6 *rules = table(&rules6);
	const struct rule_extra *extra = table(&extra6);
	__u64 src0 = pair(&key->word[KEY_SRC]), src1 = pair(&key->word[KEY_SRC + 2]);
	__u64 dst0 = pair(&key->word[KEY_DST]), dst1 = pair(&key->word[KEY_DST + 2]);
	__u32 best = INDEX_NONE;

	if (!slot || !rules || !extra)
		return best;
	for (__u32 t = 0; t < rule_trees6.count; t++) {
		__u64 leaf = descend(slot, rule_trees6.root + t, rule_trees6.depth, key, best);

		if (slot_first(leaf) >= best)
			continue;
		for (__u32 i = 0; i < rule_trees6.leaf && i < leaf_count(leaf); i++) {
			__u32 at = (leaf_start(leaf) + i) & mask.rules6;
			const struct rule6 *rule = &rules[at];

			if (((src0 ^ rule->src[0]) & rule->src_mask[0]) | ((src1 ^ rule->src[1]) & rule->src_mask[1]) |
			    ((dst0 ^ rule->dst[0]) & rule->dst_mask[0]) | ((dst1 ^ rule->dst[1]) & rule->dst_mask[1]))
				continue;
			if (!in_ranges(key, rule->lo, rule->hi))
				continue;
			if (rule_trees6.extra && !extra_matches(key, &extra[at]))
				continue;
			__u32 index = rule_index(rule->lo, rule->hi);
			if (index < best)
				best = index;
			break;
		}
	}
	return best;
}

#define OWNER_NONE ((1u << OWNER_BITS) - 1)

/* Owner of the longest prefix that holds the 32-bit word `at` of the key. */
static __always_inline __u32 owner4(const volatile struct prefix_tree *tree, const struct key *key, __u32 at)
{
	const __u64 *slot = table(&slots);
	const struct prefix4 *prefixes = table(&prefixes4);

	if (!slot || !prefixes || !tree->root)
		return OWNER_NONE;
	__u64 leaf = descend(slot, tree->root, tree->depth, key, INDEX_NONE);

	for (__u32 i = 0; i < tree->leaf && i < leaf_count(leaf); i++) {
		const struct prefix4 *prefix = &prefixes[(leaf_start(leaf) + i) & mask.prefixes4];
		__u32 length = prefix->owner_length >> OWNER_BITS;

		/* A 64-bit shift, as length 0 would shift a 32-bit word by 32. */
		if (!((__u64)(key->word[at] ^ prefix->addr) >> ((32 - length) & 63)))
			return prefix->owner_length & OWNER_NONE;
	}
	return OWNER_NONE;
}

static __always_inline __u32 owner6(const volatile struct prefix_tree *tree, const struct key *key, __u32 at)
{
	const __u64 *slot = table(&slots);
	const struct prefix6 *prefixes = table(&prefixes6);

	if (!slot || !prefixes || !tree->root)
		return OWNER_NONE;
	__u64 leaf = descend(slot, tree->root, tree->depth, key, INDEX_NONE);
	__u64 high = pair(&key->word[at]), low = pair(&key->word[at + 2]);

	for (__u32 i = 0; i < tree->leaf && i < leaf_count(leaf); i++) {
		const struct prefix6 *prefix = &prefixes[(leaf_start(leaf) + i) & mask.prefixes6];
		__u32 length = prefix->owner_length >> OWNER_BITS;
		__u64 high_mask = length >= 64 ? ~0ull : ~(~0ull >> (length & 63));
		__u64 low_mask = length <= 64 ? 0 : ~0ull << ((128 - length) & 63);

		if (!(((high ^ prefix->addr[0]) & high_mask) | ((low ^ prefix->addr[1]) & low_mask)))
			return prefix->owner_length & OWNER_NONE;
	}
	return OWNER_NONE;
}

static __always_inline int steer_to(__u32 index, struct xfrm_steer_info *info)
{
	const struct connection *all = table(&connections);

	if (!all)
		return XFRM_STEER_DROP;
	info->if_id = all[index & mask.connections].if_id;
	info->link = all[index & mask.connections].link;
	return XFRM_STEER_STEER;
}

__attribute__((noinline)) int xfrm_steer_decide(struct __sk_buff *skb, struct xfrm_steer_info *info)
{
	struct key key = {};
	__u32 best = INDEX_NONE, owner = OWNER_NONE, bytes = skb->len - l3_offset;
	int family;

	if (!info)
		return XFRM_STEER_DROP;
	family = parse_packet(skb, &key, l3_offset);
	if (family == 4)
		best = rule_trees4.count ? match_rules4(&key) : INDEX_NONE;
	else if (family == 6)
		best = rule_trees6.count ? match_rules6(&key) : INDEX_NONE;
	if (family < 0) {
		count(&tx_counters, n_rules + n_connections + TX_MALFORMED, bytes);
		return XFRM_STEER_DROP;
	}

	if (best != INDEX_NONE) {
		const __u32 *all = table(&targets);

		if (!all)
			return XFRM_STEER_DROP;
		__u32 target = all[best & mask.targets], verdict = target >> TARGET_VERDICT;

		count(&tx_counters, best, bytes);
		return verdict == XFRM_STEER_STEER ? steer_to(target & OWNER_NONE, info) : (int)verdict;
	}

	owner = family == 4 ? owner4(&subnets4, &key, KEY_DST) : owner6(&subnets6, &key, KEY_DST);
	if (owner < OWNER_SHARED) {
		count(&tx_counters, n_rules + owner, bytes);
		return steer_to(owner, info);
	}
	count(&tx_counters, n_rules + n_connections + TX_DEFAULT, bytes);
	return default_verdict;
}

/* Is connection `index` the owner, or one of those that share the prefix? */
static __always_inline int owns(__u32 owner, __u32 index)
{
	const __u32 *list;

	if (owner == index)
		return 1;
	if (owner == OWNER_NONE || owner < OWNER_SHARED || !shared_longest)
		return 0;
	list = table(&shared);
	if (!list)
		return 0;
	__u32 start = owner & (OWNER_SHARED - 1), n = list[start & mask.shared];

	for (__u32 i = 0; i < shared_longest && i < n; i++)
		if (list[(start + 1 + i) & mask.shared] == index)
			return 1;
	return 0;
}

__attribute__((noinline)) int xfrm_steer_admit(struct __sk_buff *skb, __u32 if_id, __u32 l3)
{
	struct key key = {}, id = {.word = {if_id}};
	__u32 index = owner4(&if_ids, &id, 0), owner, bytes;
	const struct connection *all = table(&connections), *connection;
	int family;

	if (l3 > XFRM_STEER_L3_MAX)
		return XFRM_STEER_DROP;
	l3 += l3_offset;
	bytes = skb->len - l3;
	if (index == OWNER_NONE || !all) {
		count(&rx_counters, 2 * n_connections + RX_UNKNOWN_IF_ID, bytes);
		return XFRM_STEER_DROP;
	}
	family = parse_packet(skb, &key, l3);
	if (family < 0) {
		count(&rx_counters, 2 * n_connections + RX_MALFORMED, bytes);
		return XFRM_STEER_DROP;
	}
	/* The subnet trees cut the destination's words; put the source there. */
	for (int i = 0; i < 4; i++)
		key.word[KEY_DST + i] = key.word[KEY_SRC + i];
	owner = family == 4 ? owner4(&subnets4, &key, KEY_DST) : owner6(&subnets6, &key, KEY_DST);
	if (!owns(owner, index)) {
		count(&rx_counters, n_connections + index, bytes);
		return XFRM_STEER_DROP;
	}
	connection = &all[index & mask.connections];
	if (connection->rx_mark_mask)
		skb->mark = (skb->mark & ~connection->rx_mark_mask) | connection->rx_mark;
	count(&rx_counters, index, bytes);
	return XFRM_STEER_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
