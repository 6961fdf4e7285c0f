/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The carrying half of the kernel backend, transmit: gives the packet the xfrm metadata by which the external xfrm
 * interface picks policy and SA. Attach at that interface's own egress: between here and the interface there is no
 * queue, which the kernel's per-CPU metadata would not survive.
 */
#include <linux/pkt_cls.h>
#include "xfrm_kfuncs.h"
#include "xfrm_steer.h"

SEC("tc")
int xfrm_egress(struct __sk_buff *skb)
{
	struct xfrm_steer_info info = {};
	int verdict = xfrm_steer_decide(skb, &info);

	if (verdict == XFRM_STEER_PASS)
		return TC_ACT_UNSPEC; /* the interface drops it unless a route or a later program sets metadata */
	if (verdict != XFRM_STEER_STEER)
		return TC_ACT_SHOT;

	struct bpf_xfrm_info___local xfrm = {.if_id = info.if_id, .link = info.link};

	/* It has metadata that is not ours, from an encap route for example: its SA is not the one decided on. */
	if (bpf_skb_set_xfrm_info(skb, &xfrm))
		return TC_ACT_SHOT;
	return TC_ACT_UNSPEC; /* other programs at the hook may still see it */
}
