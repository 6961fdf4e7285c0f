/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * ICMP errors and the packets that they quote (RFC 4301 section 6). An error belongs to the flow of the packet that it quotes:
 *
 *   on transmit   decided as a packet of that flow's other direction, so that it takes the way of what it is about
 *   on receive    admitted where the connection may have been sent the quoted packet, and refused where another was
 *
 * Its quote is read where
 *
 *   the error is whole           RFC 1812 section 4.3.2.3 and RFC 4443 section 2.4 (c) keep it below every MTU
 *   the quoted IP header is      of the error's own IP version, with all its bytes
 *   the quoted packet is none    RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e)
 *   of these errors
 *
 * and what else it lacks it lacks as any packet does (packet.h).
 */
#pragma once

#include "classify.h"
#include "packet.h"

/* In front of the quoted packet, in both versions. */
enum { ICMP_HEADER_SIZE = 8 };

static __always_inline __u32 icmp_type_of(const struct key *key)
{
	return key->word[KEY_MORE] >> ICMP_SHIFT & 0x1ff;
}

static __always_inline int is_whole(const struct key *key)
{
	return key->word[KEY_MORE] >> FRAGMENT_SHIFT == FRAGMENT_NONE;
}

/* Where a header may begin at most: behind the Ethernet header, eight extension headers, and an ICMP header. */
enum { QUOTE_MAX = 0x7fff };

/*
 * parse_packet for errors and quoted packets: returns the family, and from bit 8 on where the header behind IP's begins; or -1. A
 * global function is verified once and on its own: with what else there is, the walks of extension headers would be too much.
 */
__attribute__((noinline)) int xfrm_steer_parse(struct __sk_buff *skb, struct key *key, __u32 l3)
{
	__u32 upper_at = 0;
	int family;

	if (!key || l3 > QUOTE_MAX)
		return -1;
	family = parse_packet(skb, key, l3, &upper_at);
	return family < 0 ? family : (int)(upper_at << 8 | (__u32)family);
}

/*
 * Fills `quoted` with the key of the packet that the ICMP error quotes, whose own xfrm_steer_parse was `parsed`: as it is, with the
 * error's mark and input interface. Returns where it begins, or 0 where it cannot be read.
 */
static __always_inline __u32 read_quote(struct __sk_buff *skb, int parsed, struct key *quoted)
{
	__u32 at = ((__u32)parsed >> 8) + ICMP_HEADER_SIZE;
	int family = xfrm_steer_parse(skb, quoted, at);

	if (family < 0 || (family & 0xff) != (parsed & 0xff) || is_error_type(icmp_type_of(quoted), family & 0xff))
		return 0;
	return at;
}

/* An echo request's other direction is its reply. Other messages have none. */
static __always_inline __u32 answering_type(__u32 type, int family)
{
	__u32 request = family == 4 ? ICMP_ECHO : ICMPV6_ECHO_REQUEST;
	__u32 reply = family == 4 ? ICMP_ECHOREPLY : ICMPV6_ECHO_REPLY;

	return type == request ? reply : type == reply ? request : type;
}

/*
 * Where the quote of an ICMP error, whose own xfrm_steer_parse was `parsed`, is read, and the error is for the quoted packet's
 * source: makes its key that of a packet of the quoted flow's other direction, with the error's own mark, input interface, DSCP,
 * ECN and length.
 */
static __always_inline void follow_quote(struct __sk_buff *skb, int parsed, struct key *key)
{
	struct key quoted = {};
	__u32 differs = 0, kept = LENGTH_MAX | 3 << ECN_SHIFT;

	if (!read_quote(skb, parsed, &quoted))
		return;
	for (int i = 0; i < 4; i++)
		differs |= key->word[KEY_DST + i] ^ quoted.word[KEY_SRC + i];
	if (differs)
		return;
	for (int i = 0; i < 4; i++) {
		key->word[KEY_SRC + i] = quoted.word[KEY_DST + i];
		key->word[KEY_DST + i] = quoted.word[KEY_SRC + i];
	}
	key->word[KEY_PORTS] = quoted.word[KEY_PORTS] >> 16 | quoted.word[KEY_PORTS] << 16;
	key->word[KEY_PROTO] = (key->word[KEY_PROTO] & ~0x1ffu) | (quoted.word[KEY_PROTO] & 0x1ff);
	key->word[KEY_MORE] = (key->word[KEY_MORE] & kept) |
			      answering_type(icmp_type_of(&quoted), parsed & 0xff) << ICMP_SHIFT |
			      quoted.word[KEY_MORE] >> FRAGMENT_SHIFT << FRAGMENT_SHIFT;
	key->ported = quoted.ported;
	key_lanes(key);
}

/* Whether the packet is an ICMP error that may be decided by what it quotes: decide_error() does. */
static __always_inline int is_whole_error(const struct key *key, int family)
{
	return icmp_type_of(key) != ICMP_NONE && is_error_type(icmp_type_of(key), family) && is_whole(key);
}

/* Apart, as what they need would be on the stack below the parser and the walk of rules. */
static __attribute__((noinline)) __u32 flow_owner_apart(const struct key *key, int family)
{
	return has_flows() ? flow_owner(key, family) : OWNER_NONE;
}

static __attribute__((noinline)) void decide_apart(const struct key *key, int family, __u32 owner, __u32 rule,
						   struct decision *decision)
{
	decide_by(key, family, owner, rule, decision);
}

/*
 * classify() for an ICMP error: an exact flow or a rule that names ICMP takes it for itself; else it is taken as a packet of the
 * quoted flow's other direction. Returns its family, or -1.
 */
static __always_inline int classify_error(struct __sk_buff *skb, __u32 l3, struct decision *decision)
{
	struct key key = {};
	int parsed = xfrm_steer_parse(skb, &key, l3), family = parsed & 0xff;
	__u32 owner, rule = INDEX_NONE;

	if (parsed < 0 || !(family == 4 || family == 6))
		return -1;
	owner = flow_owner_apart(&key, family);
	if (owner == OWNER_NONE)
		rule = match_icmp_rules(&key, family);
	if (owner == OWNER_NONE && rule == INDEX_NONE) {
		follow_quote(skb, parsed, &key);
		owner = flow_owner_apart(&key, family);
		if (owner == OWNER_NONE)
			rule = match_rules_apart(&key, family);
	}
	decide_apart(&key, family, owner, rule, decision);
	return family;
}

/* A user's program may have sent the quoted packet elsewhere than the rules would. */
#ifdef PROGRAM_IN_FRONT
enum { program_in_front = 1 };
#else
enum { program_in_front = 0 };
#endif

/* What an ICMP error quotes, to the connection that it came from. */
enum quote {
	QUOTE_NONE = 0, /* nothing that tells */
	QUOTE_OWN,	/* a packet that the connection may have been sent, which the error is for */
	QUOTE_OTHERS,	/* a packet that another connection was sent, or it cannot be told which */
};

/* Length of the quoted packet by its header, as of the packet itself. */
static __always_inline __u32 quoted_length(struct __sk_buff *skb, __u32 at, int family)
{
	__be16 length = 0;

	bpf_skb_load_bytes(skb, at + (family == 4 ? 2 : 4), &length, sizeof(length));
	return bpf_ntohs(length) + (family == 4 ? 0 : sizeof(struct ipv6hdr));
}

/* Beside the family, in what quoted_key returns: the error is for whom the quoted packet is from. */
enum { QUOTES_RECEIVER = 0x100 };

/*
 * Fills `key` with that of the packet which the one at `l3` quotes, as far as it shows what it was when it was sent: without a
 * mark and an input interface. Returns its family and QUOTES_RECEIVER, or the negated enum quote that there is to say instead.
 */
static __always_inline int quoted_key(struct __sk_buff *skb, __u32 l3, struct key *key)
{
	struct address destination;
	__u32 at, differs = 0;
	int parsed = xfrm_steer_parse(skb, key, l3), family = parsed & 0xff;

	if (parsed < 0)
		return -QUOTE_NONE;
	/* Behind so many extension headers, or behind one that is cut off, there could be an error. */
	if ((key->word[KEY_PROTO] & 0x1ff) == PROTO_UNKNOWN)
		return -QUOTE_OTHERS;
	if (!is_error_type(icmp_type_of(key), family))
		return -QUOTE_NONE;
	/* The receiver would read the quoted packet from fragments that are not looked at. */
	if (!is_whole(key))
		return -QUOTE_OTHERS;
	for (int i = 0; i < 4; i++)
		destination.word[i] = key->word[KEY_DST + i];
	*key = (struct key){};
	at = read_quote(skb, parsed, key);
	if (!at)
		return -QUOTE_NONE;
	for (int i = 0; i < 4; i++)
		differs |= destination.word[i] ^ key->word[KEY_SRC + i];
	key->word[KEY_MARK] = 0;
	key->word[KEY_IIF] = 0;
	key->word[KEY_MORE] = (key->word[KEY_MORE] & ~(__u32)LENGTH_MAX) | quoted_length(skb, at, family);
	key_lanes(key);
	return differs ? family : family | QUOTES_RECEIVER;
}

/*
 * Holds a packet at `l3` that came in from the connection with this if_id against what it quotes, if it is an ICMP error: the
 * quoted packet is decided as when it was sent.
 */
static __attribute__((noinline)) int judge_quote(struct __sk_buff *skb, __u32 l3, __u32 if_id)
{
	struct decision decision = {};
	struct key key = {};
	int quoted = quoted_key(skb, l3, &key), family = quoted & 0xff, held;
	__u32 owner, rule;

	if (quoted < 0 || !(family == 4 || family == 6))
		return -quoted;
	if (only_subnets) {
		decide_by_owner(destination_owner(&key, family), 0, &decision);
	} else {
		owner = flow_owner_apart(&key, family);
		rule = owner == OWNER_NONE ? match_rules_apart(&key, family) : INDEX_NONE;
		decide_apart(&key, family, owner, rule, &decision);
	}
	held = has_held && decision.counter == (only_subnets ? 0 : n_rules) + n_connections + TX_HELD;
	if (decision.verdict != XFRM_STEER_STEER && !held)
		return QUOTE_NONE;
	if (!held && decision.info.if_id == if_id)
		return quoted & QUOTES_RECEIVER ? QUOTE_OWN : QUOTE_NONE;
	return quotes_tell && !program_in_front ? QUOTE_OTHERS : QUOTE_NONE;
}
