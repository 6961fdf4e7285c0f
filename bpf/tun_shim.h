/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The shim: what stands in front of each packet between the TUN device's programs and the ESP engine (src/esp/framing.ts).
 *
 * The tag says that it is one, and from which epoch: within an epoch an if_id belongs to one connection. A packet that
 * waits in a queue while an if_id is given to another connection so never goes that one's way.
 */
#pragma once

#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include "xfrm_steer.h"

struct tun_shim {
	__be32 tag; /* XFRM_STEER_MAGIC, then 24 bits of epoch */
	struct xfrm_steer_info info;
};

/* The first byte: no IP header begins so, and neither do zeroes. */
#define XFRM_STEER_MAGIC 0xe5000000
#define XFRM_STEER_EPOCHS (1 << 24)

static __always_inline __be32 shim_tag(__u32 epoch)
{
	return bpf_htonl(XFRM_STEER_MAGIC | (epoch & (XFRM_STEER_EPOCHS - 1)));
}

static __always_inline bool has_magic(__be32 tag)
{
	return (bpf_ntohl(tag) & ~(XFRM_STEER_EPOCHS - 1)) == XFRM_STEER_MAGIC;
}
