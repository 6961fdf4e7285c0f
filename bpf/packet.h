/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * From a packet to the classifier's key. What a fragment or a truncated header matches:
 *
 *   packet                                               proto               ports
 *   not IPv4 or IPv6, or its IP header is cut off        malformed: dropped, matches nothing
 *   first or no fragment, 4 bytes of the L4 header       known               known
 *   later fragment                                       known               none
 *   L4 header cut off before the ports                   known               none
 *   protocol without ports                               known               none
 *   IPv6 extension header cut off, or a ninth of them    unknown             none
 *
 * A rule that names ports matches no packet without ports; one that names a protocol, none with an unknown one.
 */
#pragma once

#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include "tables.h"
#include "xfrm_steer.h"

#define IPV6_EXTENSIONS_MAX 8

struct key {
	__u32 word[KEY_WORDS]; /* host byte order */
	__u64 lanes;
};

/*
 * Bytes in front of the IP header of every packet: 0 on tun and xfrm devices, 14 on Ethernet ones. Set before load.
 * The functions below take in `l3` this and what an incoming packet has besides.
 */
const volatile __u32 l3_offset = 0;

/* Protocols whose header begins with two 16-bit ports: TCP, UDP, DCCP, SCTP, UDP-Lite. */
static __always_inline int has_ports(__u32 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_DCCP || proto == IPPROTO_SCTP ||
	       proto == IPPROTO_UDPLITE;
}

/* `offset` is bounded by the callers; headers may lie outside the linear part, where only the helper reaches. */
static __always_inline int load_ports(struct __sk_buff *skb, __u32 offset, __u32 *ports)
{
	__be32 raw;

	if (bpf_skb_load_bytes(skb, offset, &raw, sizeof(raw)))
		return 0;
	*ports = bpf_ntohl(raw);
	return 1;
}

static __always_inline void finish_key(struct __sk_buff *skb, struct key *key, __u32 proto, __u32 dscp, __u32 ports,
				       int ported)
{
	key->word[KEY_PORTS] = ports;
	key->word[KEY_PROTO] = dscp << DSCP_SHIFT | proto;
	key->word[KEY_MARK] = skb->mark;
	key->word[KEY_IIF] = skb->ingress_ifindex;
	key->lanes = (__u64)(ports >> 16) << LANE_SPORT | (__u64)(ports & 0xffff) << LANE_DPORT |
		     (__u64)proto << LANE_PROTO | (__u64)dscp << LANE_DSCP | (__u64)ported << LANE_PORTED;
}

static __always_inline int parse_ipv4(struct __sk_buff *skb, struct key *key, __u32 l3)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + l3;
	__u32 header, ports = 0, proto;
	int ported = 0;

	if ((void *)(ip + 1) > end)
		return -1;
	header = ip->ihl * 4;
	if (header < sizeof(*ip) || l3 + header > skb->len)
		return -1;
	proto = ip->protocol;
	key->word[KEY_SRC] = bpf_ntohl(ip->saddr);
	key->word[KEY_DST] = bpf_ntohl(ip->daddr);
	__u32 dscp = ip->tos >> 2;

	if (has_ports(proto) && !(ip->frag_off & bpf_htons(0x1fff))) {
		if (header == sizeof(*ip) && (void *)(ip + 1) + sizeof(__be32) <= end) {
			ports = bpf_ntohl(*(__be32 *)(ip + 1));
			ported = 1;
		} else {
			ported = load_ports(skb, l3 + header, &ports);
		}
	}
	finish_key(skb, key, proto, dscp, ports, ported);
	return 4;
}

/* The first 8 bytes of any extension header; of a fragment header these are all. */
struct extension {
	__u8 next, length;
	__be16 fragment; /* fragment header only: offset in 8-byte units << 3 | flags */
	__be32 rest;
};

/* Bytes taken by an extension header, or 0 where `type` is not one. RFC 8200 section 4, RFC 4302 section 2.2. */
static __always_inline __u32 extension_size(__u32 type, __u32 length)
{
	switch (type) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
	case IPPROTO_MH:
	case 139: /* HIP, RFC 7401 */
	case 140: /* Shim6, RFC 5533 */
		return (length + 1) * 8;
	case IPPROTO_FRAGMENT:
		return 8;
	case IPPROTO_AH:
		return (length + 2) * 4;
	default:
		return 0;
	}
}

static __always_inline int parse_ipv6(struct __sk_buff *skb, struct key *key, __u32 l3)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip = data + l3;
	__u32 proto, ports = 0, offset = l3 + sizeof(*ip);
	int ported = 0, later = 0;

	if ((void *)(ip + 1) > end)
		return -1;
	proto = ip->nexthdr;
	__u32 dscp = (bpf_ntohl(*(__be32 *)ip) >> 22) & 0x3f;
	for (int i = 0; i < 4; i++) {
		key->word[KEY_SRC + i] = bpf_ntohl(ip->saddr.in6_u.u6_addr32[i]);
		key->word[KEY_DST + i] = bpf_ntohl(ip->daddr.in6_u.u6_addr32[i]);
	}

	for (int i = 0; i <= IPV6_EXTENSIONS_MAX && extension_size(proto, 0); i++) {
		struct extension extension;

		if (i == IPV6_EXTENSIONS_MAX || bpf_skb_load_bytes(skb, offset, &extension, sizeof(extension))) {
			proto = PROTO_UNKNOWN;
			break;
		}
		offset += extension_size(proto, extension.length);
		later = proto == IPPROTO_FRAGMENT && (extension.fragment & bpf_htons(0xfff8));
		proto = extension.next;
		if (later)
			break;
	}
	if (!later && has_ports(proto))
		ported = load_ports(skb, offset, &ports);
	finish_key(skb, key, proto, dscp, ports, ported);
	return 6;
}

/*
 * Fills `key` and returns the packet's family, 4 or 6, or -1 where it is malformed. Reads as much of the linear part
 * as an IPv6 header needs, and pulls it in first where it is not there.
 */
static __always_inline int parse_packet(struct __sk_buff *skb, struct key *key, __u32 l3)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 want = l3 + sizeof(struct ipv6hdr);

	if (data + want > end) {
		bpf_skb_pull_data(skb, skb->len < want ? skb->len : want);
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
	}
	if (data + l3 + 1 > end)
		return -1;
	switch (*(__u8 *)(data + l3) >> 4) {
	case 4:
		return parse_ipv4(skb, key, l3);
	case 6:
		return parse_ipv6(skb, key, l3);
	default:
		return -1;
	}
}
