/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * From a packet to the classifier's key. What a fragment or a truncated header matches:
 *
 *   packet                                               proto               ports    ICMP type  fragment
 *   not IPv4 or IPv6, or its IP header is cut off        malformed: dropped, matches nothing
 *   whole, 4 bytes of a header with ports                known               known    none       none
 *   whole, 1 byte of an ICMP message of the IP version   known               none     known      none
 *   first fragment                                       as a whole packet                       first
 *   later fragment                                       known               none     none       later
 *   atomic fragment (RFC 6946)                           as a whole packet                       none
 *   L4 header cut off before the ports or the type       known               none     none       as above
 *   protocol without ports and other than ICMP           known               none     none       as above
 *   IPv6 extension header cut off, or a ninth of them    unknown             none     none       as seen so far
 *
 * A packet that lacks a field matches neither a rule that names values of it nor one that negates them; one that was
 * made on this host lacks an input interface. Length counts from the IP header to the end of the packet as it is, not
 * by the headers' length fields; a GSO packet counts whole.
 */
#pragma once

#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include "flows.h"
#include "key.h"
#include "prefixes.h"
#include "xfrm_steer.h"

#define IPV6_EXTENSIONS_MAX 8

/* Types of ICMP messages, as in linux/icmp.h, which needs the C library: RFC 792, RFC 4443. */
enum icmp_type {
	ICMP_ECHOREPLY = 0,
	ICMP_DEST_UNREACH = 3,
	ICMP_SOURCE_QUENCH = 4,
	ICMP_ECHO = 8,
	ICMP_TIME_EXCEEDED = 11,
	ICMP_PARAMETERPROB = 12,
	ICMPV6_INFORMATION = 128, /* the lowest that is no error */
	ICMPV6_ECHO_REQUEST = 128,
	ICMPV6_ECHO_REPLY = 129,
};

/*
 * Bytes in front of the IP header of every packet: 0 on tun and xfrm devices, 14 on Ethernet ones. Set before load.
 * The functions below take in `l3` this and what an incoming packet has besides.
 */
const volatile __u32 l3_offset = 0;

/* What a parser finds behind the addresses. */
struct upper {
	__u32 proto, ports, icmp_type;
	int ported;
	__u32 tos, fragment;
};

/* Headers may lie outside the linear part, where only the helper reaches. */
static __always_inline void load_upper(struct __sk_buff *skb, __u32 offset, struct upper *upper, __u32 icmp)
{
	__be32 raw;
	__u8 type;

	if (upper->fragment == FRAGMENT_LATER)
		return;
	if (has_ports(upper->proto)) {
		if (bpf_skb_load_bytes(skb, offset, &raw, sizeof(raw)))
			return;
		upper->ports = bpf_ntohl(raw);
		upper->ported = 1;
	} else if (upper->proto == icmp && !bpf_skb_load_bytes(skb, offset, &type, sizeof(type))) {
		upper->icmp_type = type;
	}
}

static __always_inline void finish_key(struct __sk_buff *skb, struct key *key, __u32 l3, const struct upper *upper)
{
	__u32 length = skb->len - l3;

	if (length > LENGTH_MAX)
		length = LENGTH_MAX;
	key->word[KEY_PORTS] = upper->ports;
	key->word[KEY_PROTO] = upper->tos >> 2 << DSCP_SHIFT | upper->proto;
	key->word[KEY_MARK] = skb->mark;
	key->word[KEY_IIF] = skb->ingress_ifindex;
	key->word[KEY_MORE] = length | upper->icmp_type << ICMP_SHIFT | (upper->tos & 3) << ECN_SHIFT |
			      upper->fragment << FRAGMENT_SHIFT;
	key->ported = upper->ported;
	key_lanes(key);
}

/*
 * The packet's bounds. Written out, as clang takes the context's 32-bit words for numbers and narrows them, which a
 * pointer does not survive in the verifier.
 */
#define PACKET_POINTER(skb, member)                                                                                    \
	({                                                                                                             \
		void *pointer;                                                                                         \
		asm volatile("%0 = *(u32 *)(%1 + %2)"                                                                  \
			     : "=r"(pointer)                                                                           \
			     : "r"(skb), "i"(offsetof(struct __sk_buff, member)));                                     \
		pointer;                                                                                               \
	})

/* The `size` bytes at `l3`, pulled into the linear part where they are not there, or NULL where there are fewer. */
static __always_inline void *header_at(struct __sk_buff *skb, __u32 l3, __u32 size)
{
	void *header = PACKET_POINTER(skb, data) + l3;

	if (header + size <= PACKET_POINTER(skb, data_end))
		return header;
	if (bpf_skb_pull_data(skb, l3 + size))
		return NULL;
	header = PACKET_POINTER(skb, data) + l3;
	return header + size <= PACKET_POINTER(skb, data_end) ? header : NULL;
}

/* Length of the header at `l3`, or 0 where it is cut off. */
static __always_inline __u32 ipv4_header_length(struct __sk_buff *skb, const struct iphdr *ip, __u32 l3)
{
	__u32 length = ip->ihl * 4;

	if (length == sizeof(*ip))
		return length;
	return length > sizeof(*ip) && l3 + length <= skb->len ? length : 0;
}

static __always_inline int parse_ipv4(struct __sk_buff *skb, const struct iphdr *ip, struct key *key, __u32 l3,
				      __u32 *upper_at)
{
	struct upper upper = {.icmp_type = ICMP_NONE};
	__u32 header = ipv4_header_length(skb, ip, l3);

	if (!header)
		return -1;
	key->word[KEY_SRC] = bpf_ntohl(ip->saddr);
	key->word[KEY_DST] = bpf_ntohl(ip->daddr);
	upper.proto = ip->protocol;
	upper.tos = ip->tos;
	if (ip->frag_off & bpf_htons(0x1fff))
		upper.fragment = FRAGMENT_LATER;
	else if (ip->frag_off & bpf_htons(0x2000))
		upper.fragment = FRAGMENT_FIRST;

	if (upper.fragment != FRAGMENT_LATER && has_ports(upper.proto) && header == sizeof(*ip) &&
	    (void *)(ip + 1) + sizeof(__be32) <= PACKET_POINTER(skb, data_end)) {
		upper.ports = bpf_ntohl(*(__be32 *)(ip + 1));
		upper.ported = 1;
	} else {
		load_upper(skb, l3 + header, &upper, IPPROTO_ICMP);
	}
	finish_key(skb, key, l3, &upper);
	*upper_at = l3 + header;
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

static __always_inline int parse_ipv6(struct __sk_buff *skb, struct key *key, __u32 l3, __u32 *upper_at)
{
	struct upper upper = {.icmp_type = ICMP_NONE};
	struct ipv6hdr *ip = header_at(skb, l3, sizeof(*ip));
	__u32 proto, offset = l3 + sizeof(*ip);

	if (!ip)
		return -1;
	proto = ip->nexthdr;
	upper.tos = (bpf_ntohl(*(__be32 *)ip) >> 20) & 0xff;
	for (int i = 0; i < 4; i++) {
		key->word[KEY_SRC + i] = bpf_ntohl(ip->saddr.in6_u.u6_addr32[i]);
		key->word[KEY_DST + i] = bpf_ntohl(ip->daddr.in6_u.u6_addr32[i]);
	}

	/* Unrolled: Linux 6.1 refuses a loop whose way back is not a jump, and the compiler may lay it out so. */
#pragma unroll
	for (int i = 0; i <= IPV6_EXTENSIONS_MAX && extension_size(proto, 0); i++) {
		struct extension extension;

		if (i == IPV6_EXTENSIONS_MAX || bpf_skb_load_bytes(skb, offset, &extension, sizeof(extension))) {
			proto = PROTO_UNKNOWN;
			break;
		}
		offset += extension_size(proto, extension.length);
		if (proto == IPPROTO_FRAGMENT) {
			if (extension.fragment & bpf_htons(0xfff8))
				upper.fragment = FRAGMENT_LATER;
			else if (extension.fragment & bpf_htons(1))
				upper.fragment = FRAGMENT_FIRST;
		}
		proto = extension.next;
		if (upper.fragment == FRAGMENT_LATER)
			break;
	}
	upper.proto = proto;
	load_upper(skb, offset, &upper, IPPROTO_ICMPV6);
	finish_key(skb, key, l3, &upper);
	*upper_at = offset;
	return 6;
}

/*
 * Fills `key` and returns the packet's family, 4 or 6, or -1 where it is malformed. The header behind those of IP begins at
 * `upper_at`, which may lie behind the packet's end.
 */
static __always_inline int parse_packet(struct __sk_buff *skb, struct key *key, __u32 l3, __u32 *upper_at)
{
	const struct iphdr *ip = header_at(skb, l3, sizeof(*ip));

	if (!ip)
		return -1;
	switch (ip->version) {
	case 4:
		return parse_ipv4(skb, ip, key, l3, upper_at);
	case 6:
		return parse_ipv6(skb, key, l3, upper_at);
	default:
		return -1;
	}
}

enum side { SOURCE, DESTINATION };

/* The first byte of its header: version 4, and 5 words long. */
enum { IPV4_WITHOUT_OPTIONS = 0x45 };

/* In host byte order, most significant word first; an IPv4 address is the first one. */
struct address {
	__u32 word[4];
};

/*
 * Types of messages that quote a packet: RFC 792, RFC 4443 section 2.1, of which 2.4 (a) has hosts heed unknown ones too. A
 * redirect is none of them: it is for the link on which it is sent. ICMP_NONE is neither's.
 */
static __always_inline int is_error_type(__u32 type, int family)
{
	if (family == 6)
		return type < ICMPV6_INFORMATION;
	return type == ICMP_DEST_UNREACH || type == ICMP_SOURCE_QUENCH || type == ICMP_TIME_EXCEEDED ||
	       type == ICMP_PARAMETERPROB;
}

/* Of an ICMP message at `offset`, or what is in its place. */
static __always_inline int begins_error(struct __sk_buff *skb, __u32 offset, int family)
{
	__u8 type;

	return !bpf_skb_load_bytes(skb, offset, &type, sizeof(type)) && is_error_type(type, family);
}

/* What load_address says besides of a packet whose source it reads: perhaps it is an ICMP error. */
enum { MAY_BE_ERROR = 0x100 };

/* Reads one of the packet's addresses and returns its family and MAY_BE_ERROR, or -1 where the packet is malformed. */
static __attribute__((noinline)) int load_address(struct __sk_buff *skb, __u32 l3, enum side side,
						  struct address *address)
{
	const struct iphdr *ip = header_at(skb, l3, sizeof(*ip));
	const struct ipv6hdr *ip6;
	__u32 header = ip && ip->version == 4 ? ipv4_header_length(skb, ip, l3) : 0;

	if (header) {
		address->word[0] = bpf_ntohl(side == SOURCE ? ip->saddr : ip->daddr);
		if (side == SOURCE && ip->protocol == IPPROTO_ICMP && begins_error(skb, l3 + header, 4))
			return 4 | MAY_BE_ERROR;
		return 4;
	}
	if (!ip || ip->version != 6)
		return -1;
	ip6 = header_at(skb, l3, sizeof(*ip6));
	if (!ip6)
		return -1;
	for (int i = 0; i < 4; i++)
		address->word[i] = bpf_ntohl((side == SOURCE ? &ip6->saddr : &ip6->daddr)->in6_u.u6_addr32[i]);
	if (side == SOURCE && (ip6->nexthdr == IPPROTO_ICMPV6 ? begins_error(skb, l3 + sizeof(*ip6), 6)
							      : extension_size(ip6->nexthdr, 0) != 0))
		return 6 | MAY_BE_ERROR;
	return 6;
}

static __attribute__((noinline)) __u32 owner_of_address6(const struct address *address)
{
	return subnet_owner(6, pair(address->word), pair(address->word + 2));
}

/*
 * Owner of the longest subnet that holds one of the packet's addresses, of which nothing else is looked at but, where it is the
 * source, whether it `may_be_error`. What most packets are, IPv4 without options in the linear part, is all that is inline: the
 * rest would take its registers.
 */
static __always_inline __u32 owner_of_address(struct __sk_buff *skb, __u32 l3, enum side side, int *may_be_error)
{
	const struct iphdr *ip = PACKET_POINTER(skb, data) + l3;
	struct address address;
	__u32 word;

	if ((void *)(ip + 1) <= PACKET_POINTER(skb, data_end) && *(const __u8 *)ip == IPV4_WITHOUT_OPTIONS &&
	    (side == DESTINATION || ip->protocol != IPPROTO_ICMP)) {
		word = bpf_ntohl(side == SOURCE ? ip->saddr : ip->daddr);
	} else {
		int family = load_address(skb, l3, side, &address);

		if (family < 0)
			return OWNER_MALFORMED;
		if (side == SOURCE) {
			*may_be_error = family & MAY_BE_ERROR;
			family &= ~MAY_BE_ERROR;
		}
		if (family == 6)
			return owner_of_address6(&address);
		word = address.word[0];
	}
	return subnet_owner(4, (__u64)word << 32, 0);
}
