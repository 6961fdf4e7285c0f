/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * For tests and benchmarks by BPF_PROG_TEST_RUN: returns what the deciding half says, without touching the packet.
 */
#include "tables.h"
#include "xfrm_steer.h"

/* BTF keeps only types that something uses; src/bpf/tables.bpf.ts is generated from these. */
#define KEEP(type, name) type *keep_##name SEC(".bss.types")
KEEP(enum key_word, key_word);
KEEP(enum field_bits, field_bits);
KEEP(enum key_proto, key_proto);
KEEP(enum lane, lane);
KEEP(enum slot, slot);
KEEP(enum owner, owner);
KEEP(enum target_verdict, target_verdict);
KEEP(enum action, action);
KEEP(enum extra, extra);
KEEP(enum more, more);
KEEP(enum more_lane, more_lane);
KEEP(enum fragment, fragment);
KEEP(enum flow, flow);
KEEP(enum live, live);
KEEP(struct target, target);
KEEP(struct flow4, flow4);
KEEP(struct flow6, flow6);
KEEP(struct live_flow, live_flow);
KEEP(enum tx_reason, tx_reason);
KEEP(enum rx_reason, rx_reason);
KEEP(enum xfrm_steer_verdict, verdict);
KEEP(struct rule4, rule4);
KEEP(struct rule6, rule6);
KEEP(enum rule_rest, rule_rest);
KEEP(struct ranges, ranges);
KEEP(struct rule_extra, rule_extra);
KEEP(enum prefix_value, prefix_value);
KEEP(struct prefix_node, prefix_node);
KEEP(enum prefix_block, prefix_block);
KEEP(struct prefix4, prefix4);
KEEP(struct prefix6, prefix6);
KEEP(struct prefix6_long, prefix6_long);
KEEP(struct connection, connection);
KEEP(struct counter, counter);
KEEP(enum counter_block_size, counter_block_size);

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
	return xfrm_steer_admit(skb, skb->cb[0], 0);
}
