/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The deciding half where a user's program stands in front of the rules.
 */
#include "xfrm_steer.h"

/* rules_behind.bpf.c */
int xfrm_steer_rules_decide(struct __sk_buff *skb, struct xfrm_steer_info *info);
int xfrm_steer_rules_sent(struct __sk_buff *skb, __u32 if_id);
int xfrm_steer_rules_admit(struct __sk_buff *skb, __u32 if_id, __u32 l3);

/* Set before load: the policy has no connections; any if_id but 0 is good, from any source. */
const volatile __u32 program_alone = 0;

int xfrm_steer_decide(struct __sk_buff *skb, struct xfrm_steer_info *info)
{
	int verdict;

	if (!info)
		return XFRM_STEER_DROP;
	verdict = steer(skb, info);
	if (verdict == XFRM_STEER_NEXT) {
		*info = (struct xfrm_steer_info){};
		return xfrm_steer_rules_decide(skb, info);
	}
	if (verdict != XFRM_STEER_STEER)
		return verdict;
	if (program_alone) /* if_id 0 would match the policies that have none */
		return info->if_id ? XFRM_STEER_STEER : XFRM_STEER_DROP;
	return xfrm_steer_rules_sent(skb, info->if_id);
}

int xfrm_steer_admit(struct __sk_buff *skb, __u32 if_id, __u32 l3)
{
	/* Alone, the kernel's inbound policies are what checks the source. */
	return program_alone ? XFRM_STEER_PASS : xfrm_steer_rules_admit(skb, if_id, l3);
}
