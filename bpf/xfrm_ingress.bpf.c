/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The carrying half of the kernel backend, receive: reads which if_id decrypted the packet and lets it in only from a
 * source that this connection owns. Attach at the external xfrm interface's ingress.
 */
#include <linux/pkt_cls.h>
#include "xfrm_kfuncs.h"
#include "xfrm_steer.h"

SEC("tc")
int xfrm_ingress(struct __sk_buff *skb)
{
	struct bpf_xfrm_info___local xfrm = {};

	if (bpf_skb_get_xfrm_info(skb, &xfrm))
		return TC_ACT_SHOT; /* did not come out of an SA */
	return xfrm_steer_admit(skb, xfrm.if_id) == XFRM_STEER_PASS ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}
