/* SPDX-License-Identifier: MIT */
/* How one ESP packet is sealed or opened, whatever library does it: for all that work on many in one foreign call. */
#ifndef CIPHER_H
#define CIPHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* RFC 4303 section 2: offsets of the sequence number and the IV; pad length and next header stand before the ICV. */
#define ESP_SEQUENCE 4
#define ESP_IV 8
#define TRAILER_SIZE 2
/* RFC 4106 and RFC 7634. */
#define IV_SIZE 8
#define SALT_SIZE 4
#define PAYLOAD (ESP_IV + IV_SIZE)
#define ICV_SIZE 16
/* RFC 4106 section 5: SPI and sequence number, of 32 or 64 bits. */
#define AAD_SIZE 8
#define ESN_AAD_SIZE 12

/* One packet, as a crypto library wants it. */
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

/* One direction of an SA. src/esp/cipher-batch.ts has the same layout. */
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

_Static_assert(offsetof(struct cipher, mb) == 8 && offsetof(struct cipher, key) == 40 &&
	       offsetof(struct cipher, salt) == 48 && sizeof(struct cipher) == 56, "struct cipher");

/*
 * Seals `length` bytes at `source` into the packet, whose SPI, sequence number and IV are in place, or opens those that are
 * in it. Returns whether it was sealed, or is authentic.
 */
static inline bool process_packet(const struct cipher *cipher, uint8_t *packet, const uint8_t *source,
				  uint32_t length, uint32_t sequence_high)
{
	uint8_t esn_aad[ESN_AAD_SIZE];
	struct text text = {
		.source = source,
		.target = packet + PAYLOAD,
		.icv = packet + PAYLOAD + length,
		.aad = packet,
		.aad_size = AAD_SIZE,
		.length = length,
	};

	memcpy(text.nonce, cipher->salt, SALT_SIZE);
	memcpy(text.nonce + SALT_SIZE, packet + ESP_IV, IV_SIZE);
	if (cipher->esn) {
		uint32_t high = __builtin_bswap32(sequence_high);

		memcpy(esn_aad, packet, ESP_SEQUENCE);
		memcpy(esn_aad + 4, &high, sizeof(high));
		memcpy(esn_aad + 8, packet + ESP_SEQUENCE, 4);
		text.aad = esn_aad;
		text.aad_size = ESN_AAD_SIZE;
	}
	return cipher->process(cipher, &text);
}

#endif
