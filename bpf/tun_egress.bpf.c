/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The carrying half of the userspace backend, transmit: writes the metadata in front of the packet, where the ESP
 * engine reads it from the TUN device. Attach at the TUN device's egress.
 */
#include <linux/pkt_cls.h>
#include "xfrm_steer.h"

SEC("tc")
int tun_egress(struct __sk_buff *skb)
{
	struct xfrm_steer_info info = {};
	int verdict = xfrm_steer_decide(skb, &info);

	if (verdict == XFRM_STEER_PASS)
		info = (struct xfrm_steer_info){}; /* if_id 0 has no policy: the engine counts it as the kernel would */
	else if (verdict != XFRM_STEER_STEER)
		return TC_ACT_SHOT;
	if (bpf_skb_change_head(skb, sizeof(info), 0) || bpf_skb_store_bytes(skb, 0, &info, sizeof(info), 0))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}
