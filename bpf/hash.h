/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Perfect hash tables, each built as a whole (src/compiler/perfect-hash.ts): `buckets` pilots, one byte each, and `slots`
 * entries.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* The last step of the hash in src/compiler/flow-hash.ts. */
static __always_inline __u32 finish(__u32 h)
{
	h *= 0xc2b2ae35;
	return h ^ h >> 16;
}

/* From a 32-bit hash to one of n: a multiplication instead of a division (Lemire 2019). */
static __always_inline __u64 scale(__u64 hash, __u32 n)
{
	__u64 scaled = hash * n >> 32;

	barrier_var(scaled); /* clang would join this shift with the next; the verifier then loses the bound */
	return scaled;
}

static __always_inline __u64 stir(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
	return hash ^ hash >> 32;
}

/* The only slot that can hold the key: the bucket's pilot was chosen so that no two keys have the same. */
static __always_inline __u64 slot_of(__u32 buckets, __u32 slots, const __u8 *pilots, __u64 hash)
{
	__u32 pilot = pilots[scale(hash >> 32, buckets)];

	/* Multiplied last: scale() takes the upper bits, and the verifier of Linux 6.1 bounds no 32-bit xor. */
	return scale((__u32)(((__u32)hash ^ pilot * 0x9e3779b9) * 0xc2b2ae35), slots);
}
