/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The classifier as the half behind a user's program: what program.bpf.c calls where that program has no opinion.
 */
#define xfrm_steer_decide xfrm_steer_rules_decide
#define xfrm_steer_admit xfrm_steer_rules_admit
#define PROGRAM_IN_FRONT
#include "classifier.bpf.c"

/*
 * Counts a packet that the program steers as sent by the connection of its if_id. Returns XFRM_STEER_DROP where there
 * is no such connection, as what came back on it would not be admitted, and where it is held.
 */
int xfrm_steer_rules_sent(struct __sk_buff *skb, __u32 if_id)
{
	__u32 owner = connection_of(if_id), bytes = skb->len - l3_offset;
	const struct connection *all = table(connections);

	if (owner >= OWNER_SHARED) {
		count(&tx_counters, n_rules + n_connections + TX_DEFAULT, bytes);
		return XFRM_STEER_DROP;
	}
	if (is_held(&all[owner & mask.connections])) {
		count(&tx_counters, n_rules + n_connections + TX_HELD, bytes);
		return XFRM_STEER_DROP;
	}
	count(&tx_counters, n_rules + owner, bytes);
	return XFRM_STEER_STEER;
}
