/* SPDX-License-Identifier: MIT */
/* Spreads sources over connections: a source keeps its connection, whatever it talks to. */
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include "xfrm_steer.h"

#define MAX 8
const volatile __u32 if_ids[MAX] = {}; /* the connections, */
const volatile __u32 n = 0;	       /* so many of them */

struct { /* sources that have a connection of their own */
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __be32);
	__type(value, __u32);
} homes SEC(".maps");

int steer(struct __sk_buff *skb, struct xfrm_steer_info *info)
{
	struct iphdr ip;

	if (!info || !n || bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)) || ip.version != 4)
		return XFRM_STEER_NEXT;
	__u32 *home = bpf_map_lookup_elem(&homes, &ip.saddr);
	__u32 hash = bpf_ntohl(ip.saddr) * 2654435761u; /* Knuth vol. 3, section 6.4 */

	info->if_id = home ? *home : if_ids[((hash >> 16) % n) & (MAX - 1)];
	return XFRM_STEER_STEER;
}
