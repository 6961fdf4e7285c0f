/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The compiled tables and load-time constants of the classifier. Every constant is set before load, so that the
 * verifier removes the code of what a rule set does not use, and every table is sized to its rule set.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "tables.h"

/*
 * A table is a read-only section of its own, which user space replaces by the whole table before load (replaceSections()
 * in libbpf-ts): so its address is a constant of the program, where a map's value has to be looked up.
 */
#define FLAT_TABLE(name, entry) const entry name[1] SEC(".rodata." #name) = {}

/* A table's address. The compiler must neither take the table for as long as it is here nor its entries for zeroes. */
#define table(name)                                                                                                    \
	({                                                                                                             \
		const void *start = name;                                                                              \
		barrier_var(start);                                                                                    \
		start;                                                                                                 \
	})

FLAT_TABLE(trie4, __u32); /* words */
FLAT_TABLE(trie6, __u32);
FLAT_TABLE(trie_ids, __u32);
#ifndef ONLY_PREFIXES /* defined by a program that looks up nothing else: each table is a map */
FLAT_TABLE(slots, __u64);
FLAT_TABLE(rules4, struct rule4);
FLAT_TABLE(rules6, struct rule6);
FLAT_TABLE(ranges, struct ranges);
FLAT_TABLE(extra4, struct rule_extra);
FLAT_TABLE(extra6, struct rule_extra);
FLAT_TABLE(shared, __u32);
FLAT_TABLE(flows4, struct flow4);
FLAT_TABLE(flows6, struct flow6);
FLAT_TABLE(pilots4, __u32); /* bytes, one a bucket of flows */
FLAT_TABLE(pilots6, __u32);
FLAT_TABLE(rule_targets, __u32); /* by rule: which of targets */
FLAT_TABLE(targets, struct target);
FLAT_TABLE(groups, __u32);
FLAT_TABLE(connections, struct connection);
#endif

/* One less than each table's (power of two) number of entries. */
const volatile struct {
	__u32 slots, rules4, rules6, ranges, shared, rule_targets, targets, groups, connections;
} mask = {};

/* Trees over the rules: `count` roots in consecutive slots, and the bounds of the walk. */
const volatile struct rule_trees {
	__u32 root, count, depth, leaf;
	__u32 extra; /* enum extra */
} rule_trees4 = {}, rule_trees6 = {};

/* Trees over the rules that name the family's ICMP, once more, for ICMP errors: root and count; the rest is as above. */
const volatile struct rule_trees icmp_trees4 = {}, icmp_trees6 = {};

/* enum action */
const volatile __u32 actions = 0;

/*
 * Subnets alone decide: there are no rules and no exact flows. An object that is built for such policies is half
 * the size, its egress program a third: what the verifier drops for a constant's sake it has read before.
 */
#ifdef ONLY_SUBNETS
enum { only_subnets = 1 };
#else
const volatile __u32 only_subnets = 0;
#endif

/*
 * Whether a packet that is quoted shows all that rules ask for: none of them asks for the mark, the input interface or another
 * field of which the quoted packet does not show what it was when the packet was sent.
 */
const volatile __u32 quotes_tell = 0;

const volatile __u32 n_rules = 0, n_connections = 0;

/*
 * Some connections are held: SAs with their if_ids may still be those of another connection. Where there are none,
 * nobody looks.
 */
const volatile __u32 has_held = 0;

const volatile __u32 default_verdict = 0;

/* A map with one value, for what changes after load or is no table of the rules. */
#define ONE_VALUE_MAP(name, entry)                                                                                     \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                                      \
		__uint(max_entries, 1);                                                                                \
		__uint(key_size, sizeof(__u32));                                                                       \
		__uint(value_size, sizeof(entry)); /* resized before load */                                           \
	} name SEC(".maps")

static __always_inline void *only_value(void *map)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(map, &first);
}
