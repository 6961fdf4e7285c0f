/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* `xfrm-steer bench classify`: sends packets into a veth device, each with the next key's addresses and ports. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct sent {
	__be32 saddr, daddr, ports;
	__u32 protocol;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* resized before load: a power of two */
	__type(key, __u32);
	__type(value, struct sent);
} packets SEC(".maps");

const volatile __u32 device = 0;
const volatile __u32 last = 0; /* one less than the packets */
__u32 next;

/* The skb is a UDP or TCP packet over IPv4, with an Ethernet header. */
SEC("tc")
int send(struct __sk_buff *skb)
{
	__u32 which = next++ & last;
	const struct sent *packet = bpf_map_lookup_elem(&packets, &which);
	__u8 protocol;

	if (!packet)
		return 0;
	protocol = packet->protocol;
	bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct iphdr, protocol), &protocol, sizeof(protocol), 0);
	bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct iphdr, saddr), &packet->saddr, 3 * sizeof(__be32), 0);
	return bpf_clone_redirect(skb, device, 0);
}

char _license[] SEC("license") = "Dual MIT/GPL";
