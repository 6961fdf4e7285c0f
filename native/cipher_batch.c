// SPDX-License-Identifier: MIT
/*
 * Seals or opens many ESP packets in one call. The calls of the crypto library take up to ten arguments each: through a
 * foreign function interface they cost as much as encrypting 500 bytes, and written down in memory by JavaScript a third
 * of that.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ESP_SEQUENCE 4
#define ESP_IV 8
#define IV_SIZE 8
#define SALT_SIZE 4
#define PAYLOAD (ESP_IV + IV_SIZE)
#define ICV_SIZE 16
/* RFC 4106 section 5: SPI and sequence number, of 32 or 64 bits. */
#define AAD_SIZE 8
#define ESN_AAD_SIZE 12

/* One packet of a batch, as a crypto library wants it. */
struct text {
	const uint8_t *source;
	uint8_t *target;
	uint8_t *icv;
	uint8_t nonce[SALT_SIZE + IV_SIZE];
	const uint8_t *aad;
	uint32_t aad_size;
	uint32_t length;
};

/* intel-ipsec-mb.h: struct gcm_context_data, rounded up. */
struct gcm_context {
	uint8_t bytes[256] __attribute__((aligned(64)));
};

/* Of libipsec-mb. */
struct ipsec_mb {
	void (*crypt)(const void *key, struct gcm_context *context, uint8_t *target, const uint8_t *source,
		      uint64_t length, const uint8_t *nonce, const uint8_t *aad, uint64_t aad_size,
		      uint8_t *icv, uint64_t icv_size);
};

/* Of OpenSSL. */
struct evp {
	int (*init)(void *context, const void *type, void *engine, const uint8_t *key, const uint8_t *iv,
		    int direction);
	int (*control)(void *context, int command, int size, void *data);
	int (*update)(void *context, uint8_t *target, int *written, const uint8_t *source, int length);
	int (*final)(void *context, uint8_t *target, int *written);
};

/* One direction of an SA. src/esp/cipher-batch.ts has the same layout, and of struct job. */
struct cipher {
	bool (*process)(const struct cipher *cipher, const struct text *text);
	union {
		struct ipsec_mb mb;
		struct evp evp;
	};
	/* The key schedule or context of the library. */
	void *key;
	uint8_t salt[SALT_SIZE];
	uint32_t esn;
};

struct job {
	/* NULL where there is nothing left to do. */
	const struct cipher *cipher;
	/* Offsets of the ESP packet and of what is encrypted, the packet's own text or another; bytes of that. */
	uint32_t packet;
	uint32_t source;
	uint32_t length;
	uint32_t sequence_high;
	/*
	 * Offset of a segment, and of what is first copied to its beginning; and of what is first copied to the end of what
	 * is encrypted. The sizes are 0 for nothing.
	 */
	uint32_t segment;
	uint32_t head;
	uint32_t head_size;
	uint32_t tail;
	uint32_t tail_size;
	/* Whether the packet was sealed, or is authentic. */
	uint32_t worked;
};

#define CACHE_LINE 64
/* What a packet reads of a key schedule of libipsec-mb: round keys and powers of the hash key. */
#define KEY_BYTES 768
/* Packets between a prefetch and its use. */
#define AHEAD 2

static void prefetch(const void *start, size_t size)
{
	for (size_t i = 0; i < size; i += CACHE_LINE)
		__builtin_prefetch((const uint8_t *)start + i);
}

/* With thousands of SAs, none of which is in the cache, waiting for their keys takes as long as encrypting does. */
static void prefetch_ahead(const struct job *job, const struct job *end)
{
	const struct cipher *cipher = job->cipher;
	const struct cipher *next = job + AHEAD < end ? job[AHEAD].cipher : NULL;

	if (job + 2 * AHEAD < end && job[2 * AHEAD].cipher)
		__builtin_prefetch(job[2 * AHEAD].cipher);
	if (next && next != cipher)
		prefetch(next->key, KEY_BYTES);
}

/* The offsets that src/esp/cipher-batch.ts has. */
_Static_assert(offsetof(struct cipher, mb) == 8 && offsetof(struct cipher, key) == 40 &&
	       offsetof(struct cipher, salt) == 48 && sizeof(struct cipher) == 56, "struct cipher");
_Static_assert(offsetof(struct job, packet) == 2 * 4 && offsetof(struct job, segment) == 6 * 4 &&
	       offsetof(struct job, worked) == 11 * 4 && sizeof(struct job) == 12 * 4, "struct job");

void cipher_batch_run(struct job *jobs, size_t count, uint8_t *packets, const uint8_t *edges)
{
	for (struct job *job = jobs; job < jobs + count; job++) {
		const struct cipher *cipher = job->cipher;
		uint8_t *packet = packets + job->packet;
		uint8_t *source = packets + job->source;
		uint8_t esn_aad[ESN_AAD_SIZE];
		struct text text = {
			.source = source,
			.target = packet + PAYLOAD,
			.icv = packet + PAYLOAD + job->length,
			.aad = packet,
			.aad_size = AAD_SIZE,
			.length = job->length,
		};

		prefetch_ahead(job, jobs + count);
		if (!cipher)
			continue;
		if (job->head_size)
			memcpy(packets + job->segment, edges + job->head, job->head_size);
		if (job->tail_size)
			memcpy(source + job->length - job->tail_size, edges + job->tail, job->tail_size);
		memcpy(text.nonce, cipher->salt, SALT_SIZE);
		memcpy(text.nonce + SALT_SIZE, packet + ESP_IV, IV_SIZE);
		if (cipher->esn) {
			uint32_t high = __builtin_bswap32(job->sequence_high);

			memcpy(esn_aad, packet, ESP_SEQUENCE);
			memcpy(esn_aad + 4, &high, sizeof(high));
			memcpy(esn_aad + 8, packet + ESP_SEQUENCE, 4);
			text.aad = esn_aad;
			text.aad_size = ESN_AAD_SIZE;
		}
		job->worked = cipher->process(cipher, &text);
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
