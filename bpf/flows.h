/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Exact 5-tuple flows: those of the generation in a flat table, and those that come and go in a hash map. */
#pragma once

#include "hash.h"
#include "key.h"
#include "maps.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1); /* resized before load */
	__type(key, struct live_flow);
	__type(value, __u32);
} live_flows SEC(".maps");

/* One entry: whether there may be any of them. */
ONE_VALUE_MAP(live_flows_used, __u32);

/* 1 where live flows can be added to this program. */
const volatile __u32 has_live_flows = 0;

static __always_inline __u32 live_owner(const struct key *key, int family)
{
	const __u32 *used = only_value(&live_flows_used), *owner;
	struct live_flow flow = {};

	if (!used || !*used)
		return OWNER_NONE;
	for (int i = 0; i < (family == 4 ? 1 : 4); i++) {
		flow.src[i] = key->word[KEY_SRC + i];
		flow.dst[i] = key->word[KEY_DST + i];
	}
	flow.ports = key->word[KEY_PORTS];
	flow.proto = (__u32)family << 8 | (key->word[KEY_PROTO] & 0xff);
	owner = bpf_map_lookup_elem(&live_flows, &flow);
	return owner ? *owner : OWNER_NONE;
}

/* The perfect hash table of each family; without flows, 0. */
const volatile struct flow_table {
	__u32 buckets, slots, seed;
} flow_table4 = {}, flow_table6 = {};

static __always_inline __u64 flow_rest(const struct key *key)
{
	return (__u64)key->word[KEY_PORTS] << FLOW_PORTS | (key->word[KEY_PROTO] & 0xff) << FLOW_PROTO;
}

static __always_inline __u32 flow_owner4(const struct key *key)
{
	const struct flow4 *flow = table(flows4);
	const __u8 *pilots = table(pilots4);
	__u64 addr = (__u64)key->word[KEY_SRC] << 32 | key->word[KEY_DST], rest = flow_rest(key);

	flow += slot_of(flow_table4.buckets, flow_table4.slots, pilots,
			stir(stir(flow_table4.seed, addr), rest));
	if (flow->addr != addr || (flow->rest & ~(__u64)OWNER_NONE) != rest)
		return OWNER_NONE;
	return flow->rest & OWNER_NONE;
}

static __always_inline __u32 flow_owner6(const struct key *key)
{
	const struct flow6 *flow = table(flows6);
	const __u8 *pilots = table(pilots6);
	__u64 src0 = pair(&key->word[KEY_SRC]), src1 = pair(&key->word[KEY_SRC + 2]);
	__u64 dst0 = pair(&key->word[KEY_DST]), dst1 = pair(&key->word[KEY_DST + 2]), rest = flow_rest(key);
	__u64 hash = stir(stir(stir(stir(stir(flow_table6.seed, src0), src1), dst0), dst1), rest);

	flow += slot_of(flow_table6.buckets, flow_table6.slots, pilots, hash);
	if (flow->src[0] != src0 || flow->src[1] != src1 || flow->dst[0] != dst0 || flow->dst[1] != dst1 ||
	    (flow->rest & ~(__u64)OWNER_NONE) != rest)
		return OWNER_NONE;
	return flow->rest & OWNER_NONE;
}

/* Protocols whose header begins with two 16-bit ports: TCP, UDP, DCCP, SCTP, UDP-Lite. */
static __always_inline int has_ports(__u32 proto)
{
	return proto == 6 || proto == 17 || proto == 33 || proto == 132 || proto == 136;
}

/* Connection of the exact flow that the packet belongs to, or OWNER_NONE. */
static __always_inline __u32 flow_owner(const struct key *key, int family)
{
	__u32 proto = key->word[KEY_PROTO] & 0x1ff, owner;

	if (proto == PROTO_UNKNOWN || (!key->ported && has_ports(proto)))
		return OWNER_NONE;
	if (has_live_flows) {
		owner = live_owner(key, family);
		if (owner == LIVE_NO_FLOW)
			return OWNER_NONE;
		if (owner != OWNER_NONE)
			return owner;
	}
	if (family == 4)
		return flow_table4.slots ? flow_owner4(key) : OWNER_NONE;
	return flow_table6.slots ? flow_owner6(key) : OWNER_NONE;
}
