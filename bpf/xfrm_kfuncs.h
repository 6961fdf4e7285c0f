/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The kernel's way to a packet's xfrm metadata (net/xfrm/xfrm_interface_bpf.c, Linux 6.2). Flavours of the kernel's
 * structs, so that CO-RE finds the fields wherever a kernel puts them.
 *
 * The functions are not weak: a kernel without them refuses the object and the loader's error names them. libbpf 1.1
 * cannot load a test for a weak kfunc.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct bpf_xfrm_info___local {
	__u32 if_id;
	int link;
} __attribute__((preserve_access_index));

/* 0, or a negative errno: EINVAL where the packet has metadata already, of whatever kind. */
extern int bpf_skb_set_xfrm_info(struct __sk_buff *skb_ctx, const struct bpf_xfrm_info___local *from) __ksym;
/* 0, or a negative errno: EINVAL where the packet has no xfrm metadata. */
extern int bpf_skb_get_xfrm_info(struct __sk_buff *skb_ctx, struct bpf_xfrm_info___local *to) __ksym;

/* As much of struct sk_buff as tells where the IP header is. */
struct sk_buff___local {
	unsigned char *head, *data;
	__u16 network_header; /* from head */
} __attribute__((preserve_access_index));

/* The kernel's own struct behind a program's context (kernel/bpf/helpers.c, Linux 6.2). */
extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym;
