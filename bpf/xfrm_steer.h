/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The contract between the two halves of a steering program.
 *
 * One half decides: it looks at a packet and says which IPsec connection takes it. That is our classifier
 * (classifier.bpf.c), with a program of your own in front of it where there is one. The other half carries the decision
 * out: xfrm_egress.bpf.c gives the packet the kernel's xfrm metadata, tun_egress.bpf.c writes the same two words, behind
 * one of its own, in front of it for the userspace ESP engine. The halves are compiled apart and joined by the linker, so a deciding half runs on
 * either backend unchanged.
 *
 * A program of your own is a C file that includes this header and defines the one function `steer` below, with what
 * constants (const volatile globals) and maps it needs; `xfrm-steer load` compiles, links and attaches it. It takes no
 * license section: that of the linked object is "Dual MIT/GPL". Global names that begin with xs_ or xfrm_steer_ are taken,
 * and so are tx_counters, rx_counters and program_alone.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/*
 * The metadata, as struct bpf_xfrm_info in the kernel's net/xfrm/xfrm_state_bpf.c and net/xfrm/xfrm_interface_bpf.c;
 * both words in host byte order. Criteria that the kernel adds later are added here and nowhere else.
 */
struct xfrm_steer_info {
	__u32 if_id; /* picks policy and SA; never 0 */
	__s32 link;  /* ifindex of the underlay for the outer route, 0: let routing choose */
};

enum xfrm_steer_verdict {
	XFRM_STEER_DROP = 0,  /* drop the packet */
	XFRM_STEER_STEER = 1, /* give it the metadata in info */
	XFRM_STEER_PASS = 2,  /* leave it without metadata of ours: another program or a route may set it */
	XFRM_STEER_NEXT = 3,  /* only of steer(): let the rules decide; where there are none, drop the packet */
};

/*
 * A program of your own: decides about a packet on its way out of the steering interface. The packet begins with its IP
 * header at skb->data. `info` is all zeroes on entry and is read only after XFRM_STEER_STEER; an if_id of 0 drops the
 * packet, and so does one of no connection where the policy has connections. Being a global function, it is verified on its own: check `info` for NULL.
 */
int steer(struct __sk_buff *skb, struct xfrm_steer_info *info);

/* What the carrying half calls; as steer(), without XFRM_STEER_NEXT. */
int xfrm_steer_decide(struct __sk_buff *skb, struct xfrm_steer_info *info);

/*
 * Decides about a packet that came in, decrypted, with this if_id. Its IP header begins `l3` bytes behind skb->data: an
 * xfrm interface leaves a packet the link-layer header of its underlay, 14 bytes on Ethernet. Returns XFRM_STEER_PASS
 * or XFRM_STEER_DROP, and may set skb->mark.
 */
int xfrm_steer_admit(struct __sk_buff *skb, __u32 if_id, __u32 l3);

/* No link-layer header is longer: MAX_HEADER of the kernel's linux/netdevice.h, at its largest. */
#define XFRM_STEER_L3_MAX 128
