/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The carrying half of the userspace backend, transmit: writes the metadata in front of the packet, where the ESP
 * engine reads it from the TUN device. Attach at the TUN device's egress.
 */
#include <linux/pkt_cls.h>
#include "tun_shim.h"

/* Set before load: what the if_ids of this program's packets mean. */
const volatile __u32 xfrm_steer_tx_epoch = 0;

SEC("tc")
int tun_egress(struct __sk_buff *skb)
{
	struct tun_shim shim = { .tag = shim_tag(xfrm_steer_tx_epoch) };
	struct xfrm_steer_info info = {};
	int verdict = xfrm_steer_decide(skb, &info);

	if (verdict == XFRM_STEER_STEER)
		shim.info = info;
	else if (verdict != XFRM_STEER_PASS)
		return TC_ACT_SHOT;
	/* Passed: if_id 0 has no policy, and the engine counts it as the kernel would. */
	if (bpf_skb_change_head(skb, sizeof(shim), 0) || bpf_skb_store_bytes(skb, 0, &shim, sizeof(shim), 0))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}
