/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * `xfrm-steer bench kernel`: what steering is compared with, and what makes and counts packets on the whole way.
 */
#include <linux/pkt_cls.h>
#include "xfrm_kfuncs.h"

const volatile __u32 fixed_if_id = 1, lan_ifindex = 0;

__u64 delivered; /* packets that came out of the tunnel */

/* A hook with nothing at it. */
SEC("tc")
int empty(struct __sk_buff *skb)
{
	return TC_ACT_UNSPEC;
}

/* The least that gives a packet metadata: the same for all. */
SEC("tc")
int fixed(struct __sk_buff *skb)
{
	struct bpf_xfrm_info___local xfrm = {.if_id = fixed_if_id};

	return bpf_skb_set_xfrm_info(skb, &xfrm) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

/* Each run puts one copy of the packet into the stack, as if it had come in from the LAN. */
SEC("tc")
int generate(struct __sk_buff *skb)
{
	return bpf_clone_redirect(skb, lan_ifindex, BPF_F_INGRESS);
}

SEC("tc")
int sink(struct __sk_buff *skb)
{
	delivered++;
	return TC_ACT_SHOT;
}

/* For the check that guest time counts instructions: a thousand more than `empty`. */
SEC("tc")
int thousand(struct __sk_buff *skb)
{
	__u64 r = skb->len;
#define TEN(x) x x x x x x x x x x
	TEN(TEN(TEN(asm volatile("%0 += 1" : "+r"(r));)))
	return r ? TC_ACT_UNSPEC : TC_ACT_OK;
}

char _license[] SEC("license") = "Dual MIT/GPL";
