/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * On a device of the underlay: refuses plaintext whose source a connection owns. The answer to such a packet, or the next
 * host that it is forwarded to, would take it for one that came through the tunnel. Attach at the ingress of the devices
 * that the routes to the outer addresses use, in front of all else.
 *
 *   source is of no connection, or of one without this check     passes
 *   packet came out of an SA (it has a secpath)                  passes
 *   ESP, AH, ICMP, ICMPv6                                        passes
 *   UDP to a port of IKE or of ESP in UDP (open_ports)           passes, with its later fragments
 *   anything else                                                dropped, counted
 *
 * An SA without an if_id puts its decrypted packets back where the encrypted ones came in (xfrm_input in
 * net/xfrm/xfrm_input.c), so this program sees them again, with their secpath.
 */
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#define ONLY_PREFIXES
#include "prefixes.h"

/* Owners in the tables of this program. */
enum source { SOURCE_REFUSED = 0, SOURCE_EXEMPT = 1 };

/* Whether the kernel knows SAs at all (CONFIG_XFRM). Set before load. */
const volatile __u32 has_secpath = 0;

/* UDP ports, one a bit: destinations of what passes though its source is owned. Set before load. */
const volatile __u64 open_ports[65536 / 64] = {};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counter);
} underlay_drops SEC(".maps");

/* A datagram whose first fragment passed: the others do not tell their port. */
struct datagram {
	__be32 src[4], dst[4];
	__be32 id;
	__u32 family;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct datagram);
	__type(value, __u8);
} open_datagrams SEC(".maps");

/* Where the upper layer begins, from the IP header on. */
struct upper {
	__u32 proto, offset;
	__u32 fragment; /* enum fragment */
};

/* Headers are read from where the stack found them: devices have Ethernet headers, or none. */
static __always_inline int load(struct __sk_buff *skb, __u32 offset, void *to, __u32 size)
{
	return bpf_skb_load_bytes_relative(skb, offset, to, size, BPF_HDR_START_NET);
}

static __always_inline int came_by_sa(struct __sk_buff *skb)
{
	struct bpf_xfrm_state state;

	return has_secpath && !bpf_skb_get_xfrm_state(skb, 0, &state, sizeof(state), 0);
}

static __always_inline int is_open(__u32 port)
{
	return open_ports[(port >> 6) & 1023] >> (port & 63) & 1;
}

static __always_inline int udp_passes(struct __sk_buff *skb, const struct upper *upper, const struct datagram *datagram)
{
	struct udphdr udp;
	__u8 seen = 1;

	if (upper->fragment == FRAGMENT_LATER)
		return bpf_map_lookup_elem(&open_datagrams, datagram) != NULL;
	if (load(skb, upper->offset, &udp, sizeof(udp)) || !is_open(bpf_ntohs(udp.dest)))
		return 0;
	if (upper->fragment == FRAGMENT_FIRST)
		bpf_map_update_elem(&open_datagrams, datagram, &seen, BPF_ANY);
	return 1;
}

static __always_inline int passes(struct __sk_buff *skb, const struct upper *upper, const struct datagram *datagram,
				  __u32 icmp)
{
	if (came_by_sa(skb))
		return 1;
	if (upper->proto == IPPROTO_ESP || upper->proto == IPPROTO_AH || upper->proto == icmp)
		return 1;
	return upper->proto == IPPROTO_UDP && udp_passes(skb, upper, datagram);
}

static __always_inline int passes4(struct __sk_buff *skb)
{
	struct datagram datagram = {.family = 4};
	struct upper upper = {};
	struct iphdr ip;

	if (load(skb, 0, &ip, sizeof(ip)))
		return 1; /* ip_rcv drops what has no whole header */
	if (find_owner(&subnets4, table(trie4), 4, (__u64)bpf_ntohl(ip.saddr) << 32, 0) != SOURCE_REFUSED)
		return 1;
	datagram.src[0] = ip.saddr;
	datagram.dst[0] = ip.daddr;
	datagram.id = ip.id;
	upper.proto = ip.protocol;
	upper.offset = ip.ihl * 4;
	if (ip.frag_off & bpf_htons(0x1fff))
		upper.fragment = FRAGMENT_LATER;
	else if (ip.frag_off & bpf_htons(0x2000))
		upper.fragment = FRAGMENT_FIRST;
	return passes(skb, &upper, &datagram, IPPROTO_ICMP);
}

/* The first 8 bytes of any extension header; of a fragment header these are all. */
struct extension {
	__u8 next, length;
	__be16 fragment; /* fragment header only: offset in 8-byte units << 3 | flags */
	__be32 id;	 /* likewise */
};

#define IPV6_EXTENSIONS_MAX 8

static __always_inline int is_extension(__u32 proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_DSTOPTS ||
	       proto == IPPROTO_FRAGMENT || proto == IPPROTO_MH;
}

/* Steps over extension headers (RFC 8200 section 4). One that is cut off, or a ninth, leaves a protocol that does not pass. */
static __always_inline void find_upper6(struct __sk_buff *skb, struct upper *upper, struct datagram *datagram)
{
#pragma unroll
	for (int i = 0; i < IPV6_EXTENSIONS_MAX && is_extension(upper->proto); i++) {
		struct extension extension;

		if (load(skb, upper->offset, &extension, sizeof(extension)))
			return;
		if (upper->proto == IPPROTO_FRAGMENT) {
			datagram->id = extension.id;
			if (extension.fragment & bpf_htons(0xfff8))
				upper->fragment = FRAGMENT_LATER;
			else if (extension.fragment & bpf_htons(1))
				upper->fragment = FRAGMENT_FIRST;
			upper->offset += sizeof(extension);
		} else {
			upper->offset += (extension.length + 1) * 8;
		}
		upper->proto = extension.next;
		if (upper->fragment == FRAGMENT_LATER)
			return;
	}
}

static __always_inline int passes6(struct __sk_buff *skb)
{
	struct datagram datagram = {.family = 6};
	struct upper upper = {};
	struct ipv6hdr ip;
	__u32 word[4];

	if (load(skb, 0, &ip, sizeof(ip)))
		return 1; /* as in ip6_rcv_core */
	for (int i = 0; i < 4; i++) {
		datagram.src[i] = ip.saddr.in6_u.u6_addr32[i];
		datagram.dst[i] = ip.daddr.in6_u.u6_addr32[i];
		word[i] = bpf_ntohl(datagram.src[i]);
	}
	if (find_owner(&subnets6, table(trie6), 6, (__u64)word[0] << 32 | word[1], (__u64)word[2] << 32 | word[3]) !=
	    SOURCE_REFUSED)
		return 1;
	upper.proto = ip.nexthdr;
	upper.offset = sizeof(ip);
	find_upper6(skb, &upper, &datagram);
	return passes(skb, &upper, &datagram, IPPROTO_ICMPV6);
}

SEC("tc")
int underlay_ingress(struct __sk_buff *skb)
{
	struct counter *counter;
	__u32 first = 0;
	int pass = 1;

	/* The tag of a VLAN is beside the packet by now (__netif_receive_skb_core in net/core/dev.c). */
	if (skb->protocol == bpf_htons(ETH_P_IP))
		pass = passes4(skb);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		pass = passes6(skb);
	if (pass)
		return TC_ACT_UNSPEC;
	counter = bpf_map_lookup_elem(&underlay_drops, &first);
	if (counter) {
		counter->packets++;
		counter->bytes += skb->len;
	}
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual MIT/GPL";
