/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Which queue of the userspace data path takes a packet, where it has several. All packets of an SA belong to one, as
 * its sequence numbers or its replay window are there: on the way out they are found by the tag and the if_id that
 * tun_egress wrote in front of the packet, on the way in by destination and SPI. What belongs to none goes to queue 0,
 * which counts it.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>
#include "tun_shim.h"

/* As long as a socket's snapshot may be. */
#define WHOLE 0x40000

/* The beginning of a struct tun_shim: while an if_id changes hands, both connections have a queue of their own. */
struct tx_key {
	__be32 tag;
	__u32 if_id;
};

/* Network byte order; an IPv4 address is followed by zeros. */
struct sa_key {
	__u32 spi;
	__u8 daddr[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 21); /* of two epochs while one takes the place of another */
	__type(key, struct tx_key);
	__type(value, __u32);
} queue_of_if_id SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct sa_key);
	__type(value, __u32);
} queue_of_sa SEC(".maps");

/* TUNSETSTEERINGEBPF: runs behind the TC programs (drivers/net/tun.c, tun_select_queue). */
SEC("socket")
int tun_queue(struct __sk_buff *skb)
{
	struct tx_key key;
	__u32 *queue;

	if (bpf_skb_load_bytes(skb, 0, &key, sizeof(key)))
		return 0;
	queue = bpf_map_lookup_elem(&queue_of_if_id, &key);
	return queue ? *queue : 0;
}

/* What is in front of the SPI may be read from the IP header on. */
static bool load_destination(struct __sk_buff *skb, struct sa_key *key, __u8 *header_words)
{
	__u8 first;

	if (bpf_skb_load_bytes_relative(skb, 0, &first, sizeof(first), BPF_HDR_START_NET))
		return false;
	*header_words = first & 15;
	if (first >> 4 == 4)
		return !bpf_skb_load_bytes_relative(skb, 16, key->daddr, 4, BPF_HDR_START_NET);
	*header_words = 0;
	return !bpf_skb_load_bytes_relative(skb, 24, key->daddr, 16, BPF_HDR_START_NET);
}

static __u32 queue_of(const struct sa_key *key)
{
	__u32 *queue = bpf_map_lookup_elem(&queue_of_sa, key);

	return queue ? *queue : 0;
}

/* SO_ATTACH_REUSEPORT_EBPF: the packet begins with the UDP payload (net/core/sock_reuseport.c, run_bpf_filter). */
SEC("socket")
int udp_queue(struct __sk_buff *skb)
{
	struct sa_key key = {};
	__u8 header_words;

	if (bpf_skb_load_bytes(skb, 0, &key.spi, sizeof(key.spi)) || !load_destination(skb, &key, &header_words))
		return 0;
	return queue_of(&key);
}

/* SO_ATTACH_BPF. Of raw sockets each gets every packet; one that begins with its IPv4 header, or behind its IPv6 headers. */
static int raw_queue(struct __sk_buff *skb, __u32 queue)
{
	struct sa_key key = {};
	__u8 header_words;

	if (!load_destination(skb, &key, &header_words) ||
	    bpf_skb_load_bytes(skb, header_words * 4, &key.spi, sizeof(key.spi)))
		return queue == 0 ? WHOLE : 0;
	return queue_of(&key) == queue ? WHOLE : 0;
}

#define RAW_QUEUE(number)                             \
	SEC("socket")                                 \
	int raw_queue_##number(struct __sk_buff *skb) \
	{                                             \
		return raw_queue(skb, number);        \
	}

RAW_QUEUE(0)
RAW_QUEUE(1)
RAW_QUEUE(2)
RAW_QUEUE(3)
RAW_QUEUE(4)
RAW_QUEUE(5)
RAW_QUEUE(6)
RAW_QUEUE(7)

char _license[] SEC("license") = "Dual MIT/GPL";
