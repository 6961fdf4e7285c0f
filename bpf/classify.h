/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The decision about a packet's key: an exact flow, else the first of the rules that matches, else the longest of the
 * connections' subnets around the destination, else the default.
 */
#pragma once

#include "flows.h"
#include "key.h"
#include "maps.h"
#include "prefixes.h"
#include "rules.h"
#include "xfrm_steer.h"

struct decision {
	__u32 verdict; /* enum xfrm_steer_verdict */
	__u32 counter; /* its index in tx_counters */
	__u32 rule;    /* index of the rule that decided, or INDEX_NONE */
	__u32 member;  /* index of the connection that a group chose, or INDEX_NONE */
	struct xfrm_steer_info info;
};

static __always_inline __u32 destination_owner(const struct key *key, int family)
{
	return family == 4 ? subnet_owner(4, (__u64)key->word[KEY_DST] << 32, 0)
			   : subnet_owner(6, pair(&key->word[KEY_DST]), pair(&key->word[KEY_DST + 2]));
}

static __always_inline int is_held(const struct connection *connection)
{
	return has_held && !connection->if_id;
}

/* By a rule, a flow or a subnet; `rules` counters come before those of connections. */
static __always_inline void steer_to(__u32 index, __u32 rules, struct decision *decision)
{
	const struct connection *connection = table(connections);

	connection += index & mask.connections;
	if (is_held(connection)) {
		/* Nobody else counts it: what a rule matched counts as sent by its connection. */
		decision->counter = rules + n_connections + TX_HELD;
		decision->member = INDEX_NONE;
		decision->verdict = XFRM_STEER_DROP;
		return;
	}
	decision->info.if_id = connection->if_id;
	decision->info.link = connection->link;
	decision->verdict = XFRM_STEER_STEER;
}

/* All fragments of a packet have to take one way: they count without ports. */
static __always_inline __u32 group_member(const struct key *key, int family, __u32 first)
{
	const __u32 *all = table(groups);
	__u32 whole = (key->word[KEY_MORE] >> FRAGMENT_SHIFT) == FRAGMENT_NONE;
	__u32 hash = finish(hash_flow(key, family, whole ? key->word[KEY_PORTS] : 0));

	return all[(first + (hash >> (32 - BUCKET_BITS))) & mask.groups];
}

static __always_inline const struct target *target_of(__u32 rule)
{
	const __u32 *numbers = table(rule_targets);
	const struct target *all = table(targets);

	return &all[numbers[rule & mask.rule_targets] & mask.targets];
}

static __always_inline void apply_rule(const struct key *key, int family, struct decision *decision)
{
	const struct target *target = target_of(decision->rule);

	decision->counter = decision->rule;
	decision->verdict = target->verdict;
	if (actions & ACTION_GROUP && target->verdict == TARGET_GROUP) {
		decision->member = group_member(key, family, target->connection);
		steer_to(decision->member, n_rules, decision);
	} else if (target->verdict == XFRM_STEER_STEER)
		steer_to(target->connection, n_rules, decision);
	if (actions & ACTION_LINK && target->link && !(has_held && decision->verdict == XFRM_STEER_DROP))
		decision->info.link = target->link;
}

/* By the owner of a flow or of a subnet; `rules` counters come before those of connections. */
static __always_inline void decide_by_owner(__u32 owner, __u32 rules, struct decision *decision)
{
	if (owner < OWNER_SHARED) {
		decision->counter = rules + owner;
		steer_to(owner, rules, decision);
		return;
	}
	if (owner == OWNER_MALFORMED) {
		decision->counter = rules + n_connections + TX_MALFORMED;
		decision->verdict = XFRM_STEER_DROP;
		return;
	}
	/* A subnet that several connections share decides nothing. */
	decision->counter = rules + n_connections + TX_DEFAULT;
	decision->verdict = default_verdict;
}

static __always_inline int has_flows(void)
{
	return has_live_flows || flow_table4.slots || flow_table6.slots;
}

/* Where there are no rules. */
static __always_inline __u32 flow_or_destination_owner(const struct key *key, int family)
{
	__u32 owner = has_flows() ? flow_owner(key, family) : OWNER_NONE;

	return owner == OWNER_NONE ? destination_owner(key, family) : owner;
}

/* By the owner of an exact flow, or by a rule, or by the subnets: the first of them that there is. */
static __always_inline void decide_by(const struct key *key, int family, __u32 owner, __u32 rule,
				      struct decision *decision)
{
	decision->verdict = XFRM_STEER_DROP;
	decision->rule = INDEX_NONE;
	decision->member = INDEX_NONE;
	if (owner == OWNER_NONE) {
		decision->rule = rule;
		if (rule != INDEX_NONE) {
			apply_rule(key, family, decision);
			return;
		}
		owner = destination_owner(key, family);
	}
	decide_by_owner(owner, n_rules, decision);
}

static __always_inline void classify(const struct key *key, int family, struct decision *decision)
{
	__u32 owner = OWNER_NONE, rule = INDEX_NONE;

	if (has_flows())
		owner = flow_owner(key, family);
	if (owner == OWNER_NONE)
		rule = match_rules(key, family);
	decide_by(key, family, owner, rule, decision);
}
