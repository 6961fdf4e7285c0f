/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * For tests and benchmarks by BPF_PROG_TEST_RUN: returns what the deciding half says, without touching the packet.
 */
#include "xfrm_steer.h"

struct xfrm_steer_info decided; /* metadata of the last packet */

/* Return value: the verdict. */
SEC("tc")
int run_decide(struct __sk_buff *skb)
{
	struct xfrm_steer_info info = {};
	int verdict = xfrm_steer_decide(skb, &info);

	decided = info;
	return verdict;
}

/* The if_id that a packet came in with, by skb->cb[0]; return value: the verdict. */
SEC("tc")
int run_admit(struct __sk_buff *skb)
{
	return xfrm_steer_admit(skb, skb->cb[0]);
}
