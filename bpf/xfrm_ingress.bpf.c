/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The carrying half of the kernel backend, receive: reads which if_id decrypted the packet and lets it in only from a
 * source that this connection owns. Attach at the external xfrm interface's ingress.
 */
#include <linux/pkt_cls.h>
#include "xfrm_kfuncs.h"
#include "xfrm_steer.h"

/* Bytes between skb->data and the IP header: what is left of the underlay's link-layer header. */
static __always_inline __u32 l3_start(struct __sk_buff *skb)
{
	struct sk_buff___local *kernel_skb = bpf_cast_to_kern_ctx(skb);

	return kernel_skb->network_header - (__u32)(kernel_skb->data - kernel_skb->head);
}

SEC("tc")
int xfrm_ingress(struct __sk_buff *skb)
{
	struct bpf_xfrm_info___local xfrm = {};

	if (bpf_skb_get_xfrm_info(skb, &xfrm))
		return TC_ACT_SHOT; /* did not come out of an SA */
	if (xfrm_steer_admit(skb, xfrm.if_id, l3_start(skb)) != XFRM_STEER_PASS)
		return TC_ACT_SHOT;
	return TC_ACT_UNSPEC;
}
