/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * `xfrm-steer bench classify`: times the classifier and its peers over many keys in one program run. Each subject is a
 * load of its own with `subject` set, so that the verifier removes the others.
 */
#include "classify.h"
#include <bpf/bpf_endian.h>

enum subject {
	SUBJECT_ADDRESS4, /* the classifier by what it looks at: a destination, flows, rules */
	SUBJECT_ADDRESS6,
	SUBJECT_FLOW,
	SUBJECT_TUPLE,
	SUBJECT_PACKET,
	SUBJECT_LPM4,
	SUBJECT_LPM6,
	SUBJECT_STRIDES,
	SUBJECT_HASH_NETWORK,
	SUBJECT_HASH_FLOW,
	SUBJECT_LINEAR,
	SUBJECT_TSS,
};

const volatile __u32 subject = 0;

/*
 * Keys, a power of two of them, with what counts alone, so that they leave the caches to the tables: the destination, of 1 or 4
 * words; or of IPv4 src, dst, ports, proto and whether it has ports; or before the last mark, iif and more.
 */
enum { TUPLE_WORDS = 5, PACKET_WORDS = 8 };
ONE_VALUE_MAP(keys, __u32);
const volatile __u32 keys_mask = 0;

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

/* An exact flow, or the first 24 bits of a destination alone. */
struct flow_key {
	__u32 src, dst, ports, proto;
};

PEER_MAP(BPF_MAP_TYPE_HASH, hash, struct flow_key, 0);

/*
 * Multibit trie with strides of 16, 8 and 8 bits (Gupta, Lin and McKeown 1998): 2^16 entries, then blocks of 256. An entry is
 * the number of its block, or a value with bit 31.
 */
ONE_VALUE_MAP(strides, __u32);
const volatile __u32 strides_mask = 0;
enum { STRIDE_ROOT = 65536, STRIDE_VALUE = 1u << 31 };

/* Rules in order, for the linear search and, by tuple and hash, for tuple space search. */
ONE_VALUE_MAP(peer_rules, struct rule4);
ONE_VALUE_MAP(peer_ranges, struct ranges);
const volatile __u32 n_peer_rules = 0, peer_mask = 0, peer_ranges_mask = 0;
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
	const __u32 *keys;
	__u64 sum;
};

/* Of an IPv4 key of so many words. */
static __always_inline void load_key(const __u32 *from, int words, struct key *key)
{
	key->word[KEY_SRC] = from[0];
	key->word[KEY_DST] = from[1];
	key->word[KEY_PORTS] = from[2];
	key->word[KEY_PROTO] = from[3];
	if (words == PACKET_WORDS) {
		key->word[KEY_MARK] = from[4];
		key->word[KEY_IIF] = from[5];
		key->word[KEY_MORE] = from[6];
	}
	key->ported = from[words - 1];
	key_lanes(key);
}

static __always_inline __u64 answer(const struct decision *decision)
{
	return decision->info.if_id + decision->verdict;
}

static __always_inline __u64 by_destination(int family, __u64 high, __u64 low)
{
	struct decision decision = {};

	decide_by_owner(subnet_owner(family, high, low), 0, &decision);
	return answer(&decision);
}

static __always_inline __u64 by_flow(const __u32 *from)
{
	struct decision decision = {};
	struct key key = {};

	load_key(from, TUPLE_WORDS, &key);
	decide_by_owner(flow_or_destination_owner(&key, 4), 0, &decision);
	return answer(&decision);
}

static __always_inline __u64 by_rules(const __u32 *from, int words)
{
	struct decision decision = {};
	struct key key = {};

	load_key(from, words, &key);
	classify(&key, 4, &decision);
	return answer(&decision);
}

static __always_inline __u32 lookup_lpm4(__u32 dst)
{
	struct lpm4_key k = {.length = 32, .addr = bpf_htonl(dst)};
	const __u32 *value = bpf_map_lookup_elem(&lpm4, &k);

	return value ? *value : 0;
}

static __always_inline __u32 lookup_lpm6(const __u32 *dst)
{
	struct lpm6_key k = {
		.length = 128,
		.addr = {bpf_htonl(dst[0]), bpf_htonl(dst[1]), bpf_htonl(dst[2]), bpf_htonl(dst[3])},
	};
	const __u32 *value = bpf_map_lookup_elem(&lpm6, &k);

	return value ? *value : 0;
}

static __always_inline __u32 lookup_strides(__u32 dst)
{
	const __u32 *all = only_value(&strides);
	__u32 entry;

	if (!all)
		return 0;
	entry = all[(dst >> 16) & strides_mask];
	for (int shift = 8; shift >= 0 && entry && !(entry & STRIDE_VALUE); shift -= 8)
		entry = all[(STRIDE_ROOT + (entry - 1) * 256 + (dst >> shift & 255)) & strides_mask];
	return entry & ~STRIDE_VALUE;
}

static __always_inline __u32 lookup_hash(struct flow_key key)
{
	const __u32 *value = bpf_map_lookup_elem(&hash, &key);

	return value ? *value : 0;
}

struct search {
	const struct key *key;
	__u64 addr;
	__u32 best;
};

static __always_inline int peer_matches(const struct search *s, const struct rule4 *rule)
{
	const struct ranges *ranges = only_value(&peer_ranges);

	return ranges && in_prefixes4(s->addr, rule) &&
	       in_ranges(s->key, &ranges[rule->rest >> RULE_RANGES & peer_ranges_mask]);
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
		__u32 index = rule_index(rule->rest);

		if (index >= s->best)
			break;
		if (peer_matches(s, rule)) {
			s->best = index;
			break;
		}
	}
	return 0;
}

static __always_inline __u32 linear_search(const __u32 *from)
{
	struct key key = {};
	struct search s = {.key = &key, .addr = (__u64)from[0] << 32 | from[1], .best = INDEX_NONE};

	load_key(from, TUPLE_WORDS, &key);
	bpf_loop((n_peer_rules + CHUNK - 1) / CHUNK, linear_chunk, &s, 0);
	return s.best;
}

static __always_inline __u32 tuple_search(const __u32 *from)
{
	struct key key = {};
	struct search s = {.key = &key, .addr = (__u64)from[0] << 32 | from[1], .best = INDEX_NONE};

	load_key(from, TUPLE_WORDS, &key);
	bpf_loop(n_tuples, probe_tuple, &s, 0);
	return s.best;
}

/*
 * One key of `words` words. Each subject has a loop of its own, which does for a key no more than its lookup needs: the
 * fewer instructions there are between two keys' loads, the more of their cache misses overlap.
 */
#define LOOP(name, words, lookup)                                                                                      \
	static long name(__u64 index, struct run *run)                                                                 \
	{                                                                                                              \
		const __u32 *key = run->keys + (index & keys_mask) * (words);                                          \
                                                                                                                       \
		run->sum += lookup;                                                                                    \
		return 0;                                                                                              \
	}

LOOP(classify_address4, 1, by_destination(4, (__u64)*key << 32, 0))
LOOP(classify_address6, 4, by_destination(6, pair(key), pair(key + 2)))
LOOP(classify_flow, TUPLE_WORDS, by_flow(key))
LOOP(classify_tuple, TUPLE_WORDS, by_rules(key, TUPLE_WORDS))
LOOP(classify_packet, PACKET_WORDS, by_rules(key, PACKET_WORDS))
LOOP(lpm4_address, 1, lookup_lpm4(*key))
LOOP(lpm6_address, 4, lookup_lpm6(key))
LOOP(strides_address, 1, lookup_strides(*key))
LOOP(hash_network, 1, lookup_hash((struct flow_key){.dst = *key >> 8}))
LOOP(hash_flow_key, TUPLE_WORDS, lookup_hash((struct flow_key){key[0], key[1], key[2], key[3]}))
LOOP(linear_tuple, TUPLE_WORDS, linear_search(key))
LOOP(tss_tuple, TUPLE_WORDS, tuple_search(key))

/* Passes over the first `skb->cb[0]` keys; `elapsed` and `sum` tell what it took and found. */
SEC("tc")
int bench(struct __sk_buff *skb)
{
	struct run run = {.keys = only_value(&keys)};
	__u32 count = skb->cb[0];
	__u64 start = bpf_ktime_get_ns();

	if (!run.keys)
		return 0;
	switch (subject) {
	case SUBJECT_ADDRESS4:
		bpf_loop(count, classify_address4, &run, 0);
		break;
	case SUBJECT_ADDRESS6:
		bpf_loop(count, classify_address6, &run, 0);
		break;
	case SUBJECT_FLOW:
		bpf_loop(count, classify_flow, &run, 0);
		break;
	case SUBJECT_TUPLE:
		bpf_loop(count, classify_tuple, &run, 0);
		break;
	case SUBJECT_PACKET:
		bpf_loop(count, classify_packet, &run, 0);
		break;
	case SUBJECT_LPM4:
		bpf_loop(count, lpm4_address, &run, 0);
		break;
	case SUBJECT_LPM6:
		bpf_loop(count, lpm6_address, &run, 0);
		break;
	case SUBJECT_STRIDES:
		bpf_loop(count, strides_address, &run, 0);
		break;
	case SUBJECT_HASH_NETWORK:
		bpf_loop(count, hash_network, &run, 0);
		break;
	case SUBJECT_HASH_FLOW:
		bpf_loop(count, hash_flow_key, &run, 0);
		break;
	case SUBJECT_LINEAR:
		bpf_loop(count, linear_tuple, &run, 0);
		break;
	case SUBJECT_TSS:
		bpf_loop(count, tss_tuple, &run, 0);
		break;
	}
	elapsed = bpf_ktime_get_ns() - start;
	sum = run.sum;
	return 0;
}

char _license[] SEC("license") = "Dual MIT/GPL";
