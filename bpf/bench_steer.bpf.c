/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* `xfrm-steer bench classify`: what comes in is marked with its connection's if_id and dropped, as nftables does it there. */
#include "quote.h"
#include <linux/pkt_cls.h>

__u64 steered; /* packets */

SEC("tc")
int mark_and_drop(struct __sk_buff *skb)
{
	struct decision decision = {};

	if (only_subnets) {
		decide_by_owner(owner_of_address(skb, l3_offset, DESTINATION, NULL), 0, &decision);
	} else {
		struct key key = {};
		__u32 upper_at;
		int family = parse_packet(skb, &key, l3_offset, &upper_at);

		if (family < 0 || is_whole_error(&key, family))
			return TC_ACT_SHOT;
		classify(&key, family, &decision);
	}
	skb->mark = decision.info.if_id;
	if (decision.verdict == XFRM_STEER_STEER)
		steered++;
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual MIT/GPL";
