/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The carrying half of the userspace backend, receive: takes the metadata that the ESP engine wrote off the front of
 * the packet and lets it in only from a source that its connection owns. Attach at the TUN device's ingress.
 */
#include <linux/pkt_cls.h>
#include "xfrm_steer.h"

SEC("tc")
int tun_ingress(struct __sk_buff *skb)
{
	struct xfrm_steer_info info;

	if (bpf_skb_load_bytes(skb, 0, &info, sizeof(info)))
		return TC_ACT_SHOT;
	/* FIXED_GSO and NO_CSUM_RESET: segment size and checksum state speak of the packet behind the metadata. */
	if (bpf_skb_adjust_room(skb, -(__s32)sizeof(info), BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET))
		return TC_ACT_SHOT;
	return xfrm_steer_admit(skb, info.if_id, 0) == XFRM_STEER_PASS ? TC_ACT_OK : TC_ACT_SHOT;
}
