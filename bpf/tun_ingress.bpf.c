/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The carrying half of the userspace backend, receive: takes the metadata that the ESP engine wrote off the front of
 * the packet and lets it in only from a source that its connection owns. Attach at the TUN device's ingress.
 */
#include <linux/pkt_cls.h>
#include "tun_shim.h"

/* Set before load: the epoch whose if_ids this program knows. */
const volatile __u32 xfrm_steer_rx_epoch = 0;

enum refusal {
	REFUSED_NO_SHIM,
	REFUSED_OTHER_EPOCH,
	REFUSALS,
};

/* Packets that were not let in, by refusal. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REFUSALS);
	__type(key, __u32);
	__type(value, __u64);
} xfrm_steer_refused SEC(".maps");

static __always_inline int refuse(__u32 refusal)
{
	__u64 *packets = bpf_map_lookup_elem(&xfrm_steer_refused, &refusal);

	if (packets)
		++*packets;
	return TC_ACT_SHOT;
}

SEC("tc")
int tun_ingress(struct __sk_buff *skb)
{
	struct tun_shim shim;

	if (bpf_skb_load_bytes(skb, 0, &shim, sizeof(shim)))
		return refuse(REFUSED_NO_SHIM);
	if (shim.tag != shim_tag(xfrm_steer_rx_epoch))
		return refuse(has_magic(shim.tag) ? REFUSED_OTHER_EPOCH : REFUSED_NO_SHIM);
	/* FIXED_GSO and NO_CSUM_RESET: segment size and checksum state speak of the packet behind the metadata. */
	if (bpf_skb_adjust_room(skb, -(__s32)sizeof(shim), BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET))
		return TC_ACT_SHOT;
	return xfrm_steer_admit(skb, shim.info.if_id, 0) == XFRM_STEER_PASS ? TC_ACT_OK : TC_ACT_SHOT;
}
