/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * `xfrm-steer bench classify`: times the classifier and its peers over many keys in one program run. Each subject is a
 * load of its own with `subject` set, so that the verifier removes the others.
 */
#include "classify.h"
#include <bpf/bpf_endian.h>

enum subject { SUBJECT_LOOP, SUBJECT_CLASSIFIER, SUBJECT_LPM, SUBJECT_HASH, SUBJECT_LINEAR, SUBJECT_TSS, SUBJECT_STRIDE };

const volatile __u32 subject = SUBJECT_LOOP;
const volatile __u32 family = 4, n_keys = 0;

/*
 * Keys: src, dst (1 or 4 words each), ports, proto, mark, iif, more, ported; 8 or 16 words a key. Only dst where
 * `dst_only`: a million of the others would take the cache from the tables that are measured.
 */
ONE_VALUE_MAP(keys, __u32);
const volatile __u32 dst_only = 0;

struct lpm4_key {
	__u32 length;
	__be32 addr;
};

struct lpm6_key {
	__u32 length;
	__be32 addr[4];
};

#define PEER_MAP(map_type, name, key_struct, map_flag)                                                                 \
	struct {                                                                                                       \
		__uint(type, map_type);                                                                                \
		__uint(max_entries, 1); /* resized before load */                                                      \
		__uint(map_flags, map_flag);                                                                           \
		__type(key, key_struct);                                                                               \
		__type(value, __u32);                                                                                  \
	} name SEC(".maps")

PEER_MAP(BPF_MAP_TYPE_LPM_TRIE, lpm4, struct lpm4_key, BPF_F_NO_PREALLOC);
PEER_MAP(BPF_MAP_TYPE_LPM_TRIE, lpm6, struct lpm6_key, BPF_F_NO_PREALLOC);

/* Exact flows, or with `hash_prefix` the leading bits of the destination. */
struct flow_key {
	__u32 src, dst, ports, proto;
};

PEER_MAP(BPF_MAP_TYPE_HASH, hash, struct flow_key, 0);
const volatile __u32 hash_prefix = 0;

/*
 * Multibit trie with strides of 16, 8 and 8 bits (Gupta, Lin and McKeown 1998): 2^16 entries, then blocks of 256. An entry is
 * the number of its block, or a value with bit 31.
 */
ONE_VALUE_MAP(strides, __u32);
const volatile __u32 strides_mask = 0;
enum { STRIDE_ROOT = 65536, STRIDE_VALUE = 1u << 31 };

/* Rules in order, for the linear search and, by tuple and hash, for tuple space search. */
ONE_VALUE_MAP(peer_rules, struct rule4);
const volatile __u32 n_peer_rules = 0, peer_mask = 0;
enum { CHUNK = 64 };

struct tuple {
	__u64 mask; /* of source << 32 | destination */
	__u32 first; /* lowest rule index among its rules */
	__u32 pad;
};

struct tuple_key {
	__u64 addr;
	__u64 tuple;
};

ONE_VALUE_MAP(tuples, struct tuple);
const volatile __u32 n_tuples = 0, tuple_mask = 0;

/* Value: start << 12 | count, into peer_rules. */
PEER_MAP(BPF_MAP_TYPE_HASH, tss, struct tuple_key, 0);

__u64 elapsed; /* ns */
__u64 sum;

struct run {
	__u64 sum;
};

static __always_inline int load_key(__u32 index, struct key *key)
{
	const __u32 *all = only_value(&keys);
	__u32 size = family == 4 ? 1 : 4;

	if (!all || index >= n_keys)
		return 0;
	if (dst_only) {
		all += index * size;
		for (int i = 0; i < size; i++)
			key->word[KEY_DST + i] = all[i];
		return 1;
	}
	all += index * (family == 4 ? 8 : 16);
	for (int i = 0; i < size; i++) {
		key->word[KEY_SRC + i] = all[i];
		key->word[KEY_DST + i] = all[size + i];
	}
	all += 2 * size;
	key->word[KEY_PORTS] = all[0];
	key->word[KEY_PROTO] = all[1];
	key->word[KEY_MARK] = all[2];
	key->word[KEY_IIF] = all[3];
	key->word[KEY_MORE] = all[4];
	key->ported = all[5];
	key_lanes(key);
	return 1;
}

static __always_inline __u32 lookup_lpm(const struct key *key)
{
	const __u32 *value;

	if (family == 4) {
		struct lpm4_key k = {.length = 32, .addr = bpf_htonl(key->word[KEY_DST])};

		value = bpf_map_lookup_elem(&lpm4, &k);
	} else {
		struct lpm6_key k = {.length = 128};

		for (int i = 0; i < 4; i++)
			k.addr[i] = bpf_htonl(key->word[KEY_DST + i]);
		value = bpf_map_lookup_elem(&lpm6, &k);
	}
	return value ? *value : 0;
}

static __always_inline __u32 lookup_strides(const struct key *key)
{
	const __u32 *all = only_value(&strides);
	__u32 dst = key->word[KEY_DST], entry;

	if (!all)
		return 0;
	entry = all[(dst >> 16) & strides_mask];
	for (int shift = 8; shift >= 0 && entry && !(entry & STRIDE_VALUE); shift -= 8)
		entry = all[(STRIDE_ROOT + (entry - 1) * 256 + (dst >> shift & 255)) & strides_mask];
	return entry & ~STRIDE_VALUE;
}

static __always_inline __u32 lookup_hash(const struct key *key)
{
	struct flow_key k = {};
	const __u32 *value;

	if (hash_prefix) {
		k.dst = key->word[KEY_DST] >> (32 - hash_prefix);
	} else {
		k.src = key->word[KEY_SRC];
		k.dst = key->word[KEY_DST];
		k.ports = key->word[KEY_PORTS];
		k.proto = key->word[KEY_PROTO] & 0x1ff;
	}
	value = bpf_map_lookup_elem(&hash, &k);
	return value ? *value : 0;
}

struct search {
	const struct key *key;
	__u64 addr;
	__u32 best;
};

static __always_inline int peer_matches(const struct search *s, const struct rule4 *rule)
{
	return !((s->addr ^ rule->addr) & rule->addr_mask) && in_ranges(s->key, rule->lo, rule->hi);
}

static long linear_chunk(__u64 chunk, struct search *s)
{
	const struct rule4 *rules = only_value(&peer_rules);

	if (!rules)
		return 1;
	for (__u32 i = 0; i < CHUNK; i++) {
		__u32 at = (__u32)chunk * CHUNK + i;

		if (at >= n_peer_rules)
			return 1;
		if (peer_matches(s, &rules[at & peer_mask])) {
			s->best = at;
			return 1;
		}
	}
	return 0;
}

static long probe_tuple(__u64 i, struct search *s)
{
	const struct rule4 *rules = only_value(&peer_rules);
	const struct tuple *all = only_value(&tuples), *tuple;

	if (!rules || !all)
		return 1;
	tuple = &all[(__u32)i & tuple_mask];
	if (tuple->first >= s->best)
		return 1; /* tuples are in this order */
	struct tuple_key k = {.addr = s->addr & tuple->mask, .tuple = i};
	const __u32 *list = bpf_map_lookup_elem(&tss, &k);

	if (!list)
		return 0;
	for (__u32 j = 0; j < 512 && j < (*list & 0xfff); j++) {
		const struct rule4 *rule = &rules[((*list >> 12) + j) & peer_mask];
		__u32 index = rule_index(rule->lo, rule->hi);

		if (index >= s->best)
			break;
		if (peer_matches(s, rule)) {
			s->best = index;
			break;
		}
	}
	return 0;
}

static long one(__u64 index, struct run *run)
{
	struct key key = {};
	struct decision decision = {};
	struct search s = {.key = &key, .best = INDEX_NONE};

	if (!load_key(index, &key))
		return 1;
	s.addr = (__u64)key.word[KEY_SRC] << 32 | key.word[KEY_DST];
	switch (subject) {
	case SUBJECT_LOOP:
		run->sum += key.word[KEY_DST];
		break;
	case SUBJECT_CLASSIFIER:
		if (only_subnets)
			decide_by_owner(destination_owner(&key, family), 0, &decision);
		else
			classify(&key, family, &decision);
		run->sum += decision.info.if_id + decision.verdict;
		break;
	case SUBJECT_LPM:
		run->sum += lookup_lpm(&key);
		break;
	case SUBJECT_HASH:
		run->sum += lookup_hash(&key);
		break;
	case SUBJECT_STRIDE:
		run->sum += lookup_strides(&key);
		break;
	case SUBJECT_LINEAR:
		bpf_loop((n_peer_rules + CHUNK - 1) / CHUNK, linear_chunk, &s, 0);
		run->sum += s.best;
		break;
	case SUBJECT_TSS:
		bpf_loop(n_tuples, probe_tuple, &s, 0);
		run->sum += s.best;
		break;
	}
	return 0;
}

/* Passes over the first `skb->cb[0]` keys; `elapsed` and `sum` tell what it took and found. */
SEC("tc")
int bench(struct __sk_buff *skb)
{
	struct run run = {};
	__u32 count = skb->cb[0];
	__u64 start = bpf_ktime_get_ns();

	bpf_loop(count, one, &run, 0);
	elapsed = bpf_ktime_get_ns() - start;
	sum = run.sum;
	return 0;
}

char _license[] SEC("license") = "Dual MIT/GPL";
