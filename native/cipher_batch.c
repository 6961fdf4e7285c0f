// SPDX-License-Identifier: MIT
/*
 * Seals or opens many ESP packets in one call. The calls of the crypto library take up to ten arguments each: through a
 * foreign function interface they cost as much as encrypting 500 bytes, and written down in memory by JavaScript a third
 * of that.
 */
#include "cipher.h"

/* src/esp/cipher-batch.ts has the same layout. */
struct job {
	/* NULL where there is nothing left to do. */
	const struct cipher *cipher;
	/* Offsets of the ESP packet and of what is encrypted, the packet's own text or another; bytes of that. */
	uint32_t packet;
	uint32_t source;
	uint32_t length;
	uint32_t sequence_high;
	/* Whether the packet was sealed, or is authentic. */
	uint32_t worked;
	uint32_t unused;
};

_Static_assert(offsetof(struct job, packet) == 2 * 4 && offsetof(struct job, worked) == 6 * 4 &&
	       sizeof(struct job) == 8 * 4, "struct job");

#define CACHE_LINE 64
/* A cipher, and what a packet reads of a key schedule of libipsec-mb, which stands behind it: round keys and powers of the hash key. */
#define CIPHER_BYTES (64 + 1024)
/* Packets between a prefetch and its use. */
#define AHEAD 4

/* With thousands of SAs, none of which is in the cache, waiting for their keys takes as long as encrypting does. */
static void prefetch(const struct job *job, const struct job *end)
{
	if (job >= end || !job->cipher || job->cipher == job[-1].cipher)
		return;
	for (size_t i = 0; i < CIPHER_BYTES; i += CACHE_LINE)
		__builtin_prefetch((const uint8_t *)job->cipher + i);
}

void cipher_batch_run(struct job *jobs, size_t count, uint8_t *packets)
{
	struct job *end = jobs + count;

	for (size_t i = 1; i < AHEAD; i++)
		prefetch(jobs + i, end);
	for (struct job *job = jobs; job < end; job++) {
		prefetch(job + AHEAD, end);
		if (job->cipher)
			job->worked = process_packet(job->cipher, packets + job->packet, packets + job->source,
						     job->length, job->sequence_high);
	}
}

static void ipsec_mb_crypt(const struct cipher *cipher, const struct text *text, uint8_t *icv)
{
	struct gcm_context context;

	cipher->mb.crypt(cipher->key, &context, text->target, text->source, text->length, text->nonce, text->aad,
			 text->aad_size, icv, ICV_SIZE);
}

bool ipsec_mb_seal(const struct cipher *cipher, const struct text *text)
{
	ipsec_mb_crypt(cipher, text, text->icv);
	return true;
}

/* The library says what the ICV should have been; all of it is compared, so that the time taken tells a forger nothing. */
bool ipsec_mb_open(const struct cipher *cipher, const struct text *text)
{
	uint64_t expected[2], received[2];

	ipsec_mb_crypt(cipher, text, (uint8_t *)expected);
	memcpy(received, text->icv, ICV_SIZE);
	return ((expected[0] ^ received[0]) | (expected[1] ^ received[1])) == 0;
}

/* openssl/evp.h */
#define EVP_CTRL_AEAD_GET_TAG 0x10
#define EVP_CTRL_AEAD_SET_TAG 0x11
#define KEEP_DIRECTION -1

bool evp_seal(const struct cipher *cipher, const struct text *text)
{
	const struct evp *evp = &cipher->evp;
	int written;

	return evp->init(cipher->key, NULL, NULL, NULL, text->nonce, KEEP_DIRECTION) == 1 &&
	       evp->update(cipher->key, NULL, &written, text->aad, text->aad_size) == 1 &&
	       evp->update(cipher->key, text->target, &written, text->source, text->length) == 1 &&
	       evp->final(cipher->key, text->icv, &written) == 1 &&
	       evp->control(cipher->key, EVP_CTRL_AEAD_GET_TAG, ICV_SIZE, text->icv) == 1;
}

bool evp_open(const struct cipher *cipher, const struct text *text)
{
	const struct evp *evp = &cipher->evp;
	int written;

	return evp->init(cipher->key, NULL, NULL, NULL, text->nonce, KEEP_DIRECTION) == 1 &&
	       evp->control(cipher->key, EVP_CTRL_AEAD_SET_TAG, ICV_SIZE, text->icv) == 1 &&
	       evp->update(cipher->key, NULL, &written, text->aad, text->aad_size) == 1 &&
	       evp->update(cipher->key, text->target, &written, text->source, text->length) == 1 &&
	       evp->final(cipher->key, text->icv, &written) == 1;
}
