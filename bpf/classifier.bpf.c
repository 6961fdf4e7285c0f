/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The deciding half that runs compiled rules, and counts. What decides is in classify.h; the tables are in maps.h.
 */
#include "classify.h"
#include "packet.h"
#include "quote.h"
#include "xfrm_steer.h"

#define COUNTERS(name)                                                                                                 \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                                                               \
		__uint(max_entries, 1); /* resized before load */                                                      \
		__type(key, __u32);                                                                                    \
		__type(value, struct counter_block);                                                                         \
	} name SEC(".maps")

COUNTERS(tx_counters);
COUNTERS(rx_counters);

/* Steps of a search in the longest list of connections that share a subnet; 0: there is none. */
const volatile __u32 shared_steps = 0;

static __always_inline void count(void *counters, __u32 index, __u32 bytes)
{
	__u32 at = index / BLOCK_COUNTERS;
	struct counter_block *block = bpf_map_lookup_elem(counters, &at);

	if (block) {
		struct counter *counter = &block->counter[index % BLOCK_COUNTERS];

		counter->packets++;
		counter->bytes += bytes;
	}
}

/* Changes the DSCP (RFC 2474) and keeps the ECN bits; packet pointers are stale afterwards. */
static __always_inline void set_dscp(struct __sk_buff *skb, int family, __u32 dscp)
{
	__be16 before, after;

	if (bpf_skb_load_bytes(skb, l3_offset, &before, sizeof(before)))
		return;
	if (family == 4) {
		after = (before & bpf_htons(0xff03)) | bpf_htons(dscp << 2);
		bpf_l3_csum_replace(skb, l3_offset + offsetof(struct iphdr, check), before, after, sizeof(after));
		/* Word and checksum change by opposite amounts: the sum over the packet stays. */
		bpf_skb_store_bytes(skb, l3_offset, &after, sizeof(after), 0);
	} else {
		after = (before & bpf_htons(0xf03f)) | bpf_htons(dscp << 6);
		bpf_skb_store_bytes(skb, l3_offset, &after, sizeof(after), BPF_F_RECOMPUTE_CSUM);
	}
}

/* What the rule that decided changes of the packet. */
static __always_inline void set_fields(struct __sk_buff *skb, int family, __u32 rule)
{
	const struct target *target = target_of(rule);

	if (actions & ACTION_MARK)
		skb->mark = (skb->mark & ~target->mark_mask) | target->mark;
	if (actions & ACTION_DSCP && target->dscp != DSCP_KEEP)
		set_dscp(skb, family, target->dscp);
}

/* Counts the decision and does what it says of the packet, which is malformed where `family` is negative. */
static __always_inline int conclude(struct __sk_buff *skb, int family, const struct decision *decision,
				    struct xfrm_steer_info *info)
{
	__u32 bytes = skb->len - l3_offset;

	count(&tx_counters, decision->counter, bytes);
	if (family > 0) {
		/* The rule's own count cannot tell its members apart. */
		if (actions & ACTION_GROUP && decision->member != INDEX_NONE)
			count(&tx_counters, n_rules + decision->member, bytes);
		if (actions & (ACTION_MARK | ACTION_DSCP) && decision->rule != INDEX_NONE)
			set_fields(skb, family, decision->rule);
	}
	*info = decision->info;
	return decision->verdict;
}

/* An ICMP error, by what it quotes. */
static __attribute__((noinline)) int decide_error(struct __sk_buff *skb, struct xfrm_steer_info *info)
{
	struct decision decision = {};
	int family = classify_error(skb, l3_offset, &decision);

	if (family < 0)
		decide_by_owner(OWNER_MALFORMED, n_rules, &decision);
	return conclude(skb, family, &decision, info);
}

/* Of decide_by_key(): it is an ICMP error. That is not decided there, as the stack has no place for two packets' keys. */
enum { DECIDE_ERROR = -1 };

/* By flows, rules and subnets, in this order. Apart, as what it needs would take registers from packets without. */
static __attribute__((noinline)) int decide_by_key(struct __sk_buff *skb, struct xfrm_steer_info *info)
{
	struct decision decision = {};
	struct key key = {};
	__u32 upper_at;
	int family = parse_packet(skb, &key, l3_offset, &upper_at);

	if (family < 0)
		decide_by_owner(OWNER_MALFORMED, n_rules, &decision);
	else if (is_whole_error(&key, family))
		return DECIDE_ERROR;
	else
		classify(&key, family, &decision);
	return conclude(skb, family, &decision, info);
}

__attribute__((always_inline)) int xfrm_steer_decide(struct __sk_buff *skb, struct xfrm_steer_info *info)
{
	struct decision decision = {};
	__u32 l3 = l3_offset;

	if (!info)
		return XFRM_STEER_DROP;
	if (!only_subnets) {
		int verdict = decide_by_key(skb, info);

		return verdict == DECIDE_ERROR ? decide_error(skb, info) : verdict;
	}
	decide_by_owner(owner_of_address(skb, l3, DESTINATION, NULL), 0, &decision);
	count(&tx_counters, decision.counter, skb->len - l3);
	/* One by one: as a whole, clang would join them in a register and take them apart again. */
	info->if_id = decision.info.if_id;
	info->link = decision.info.link;
	return decision.verdict;
}

/* Is connection `index` the owner, or one of those that share the prefix? */
static __always_inline int owns(__u32 owner, __u32 index)
{
	const __u32 *list;

	if (owner == index)
		return 1;
	if (owner == OWNER_NONE || owner < OWNER_SHARED || !shared_steps)
		return 0;
	list = table(shared);
	__u32 at = owner & (OWNER_SHARED - 1), n = list[at & mask.shared];

	at++;
	for (__u32 i = 0; i < shared_steps && n > 1; i++) {
		__u32 half = n / 2;
		__u64 not_above = ((__u64)list[(at + half) & mask.shared] - index - 1) >> 32; /* all ones, or 0 */

		barrier_var(not_above); /* clang would make a branch of it, and the verifier two paths a step */
		at += half & not_above;
		n -= half;
	}
	return list[at & mask.shared] == index;
}

__attribute__((always_inline)) int xfrm_steer_admit(struct __sk_buff *skb, __u32 if_id, __u32 l3)
{
	__u32 index = connection_of(if_id), owner, bytes;
	const struct connection *all = table(connections), *connection;
	int may_be_error = 0, admitted;

	if (l3 > XFRM_STEER_L3_MAX)
		return XFRM_STEER_DROP;
	l3 += l3_offset;
	bytes = skb->len - l3;
	if (index == OWNER_NONE) {
		count(&rx_counters, 2 * n_connections + RX_UNKNOWN_IF_ID, bytes);
		return XFRM_STEER_DROP;
	}
	connection = &all[index & mask.connections];
	if (is_held(connection)) {
		count(&rx_counters, 2 * n_connections + RX_HELD, bytes);
		return XFRM_STEER_DROP;
	}
	owner = owner_of_address(skb, l3, SOURCE, &may_be_error);
	if (owner == OWNER_MALFORMED) {
		count(&rx_counters, 2 * n_connections + RX_MALFORMED, bytes);
		return XFRM_STEER_DROP;
	}
	admitted = owns(owner, index);
	if (may_be_error) {
		int quote = judge_quote(skb, l3, if_id);

		admitted = admitted ? quote != QUOTE_OTHERS : quote == QUOTE_OWN;
	}
	if (!admitted) {
		count(&rx_counters, n_connections + index, bytes);
		return XFRM_STEER_DROP;
	}
	if (connection->rx_mark_mask)
		skb->mark = (skb->mark & ~connection->rx_mark_mask) | connection->rx_mark;
	count(&rx_counters, index, bytes);
	return XFRM_STEER_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
