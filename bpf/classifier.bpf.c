/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The deciding half that runs compiled rules: first match of the rules, then the longest of the connections' subnets,
 * then the default. Every constant below is set before load, so that the verifier removes the code of what a rule set
 * does not use, and every table is sized to its rule set.
 */
#include "maps.h"
#include "packet.h"
#include "prefixes.h"
#include "rules.h"
#include "xfrm_steer.h"

#define COUNTERS(name)                                                                                                 \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                                                               \
		__uint(max_entries, 1); /* resized before load */                                                      \
		__type(key, __u32);                                                                                    \
		__type(value, struct counter);                                                                         \
	} name SEC(".maps")

COUNTERS(tx_counters);
COUNTERS(rx_counters);

const volatile __u32 n_rules = 0, n_connections = 0, shared_longest = 0;
const volatile __u32 default_verdict = XFRM_STEER_DROP;

static __always_inline void count(void *counters, __u32 index, __u32 bytes)
{
	struct counter *counter = bpf_map_lookup_elem(counters, &index);

	if (counter) {
		counter->packets++;
		counter->bytes += bytes;
	}
}

/* Owner of the longest subnet that holds the address in these words of the key. */
static __always_inline __u32 subnet_owner(int family, const __u32 *words)
{
	return family == 4 ? owner4(&subnets4, words[0]) : owner6(&subnets6, pair(words), pair(words + 2));
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
	family = parse_packet(skb, &key);
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

	owner = subnet_owner(family, &key.word[KEY_DST]);
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

__attribute__((noinline)) int xfrm_steer_admit(struct __sk_buff *skb, __u32 if_id)
{
	struct key key = {};
	__u32 index = owner4(&if_ids, if_id), owner, bytes = skb->len - l3_offset;
	const struct connection *all = table(&connections), *connection;
	int family;

	if (index == OWNER_NONE || !all) {
		count(&rx_counters, 2 * n_connections + RX_UNKNOWN_IF_ID, bytes);
		return XFRM_STEER_DROP;
	}
	family = parse_packet(skb, &key);
	if (family < 0) {
		count(&rx_counters, 2 * n_connections + RX_MALFORMED, bytes);
		return XFRM_STEER_DROP;
	}
	owner = subnet_owner(family, &key.word[KEY_SRC]);
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
