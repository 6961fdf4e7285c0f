/* SPDX-License-Identifier: MIT */
/* IP, TCP and UDP headers (RFC 791, 8200, 9293, 768) at any address, and the sum of RFC 1071 over them. */
#ifndef IP_H
#define IP_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define IPV4_TOTAL_LENGTH 2
#define IPV4_ID 4
#define IPV4_FRAGMENT 6
#define IPV4_TTL 8
#define IPV4_CHECKSUM 10
#define IPV4_SOURCE 12
#define IPV6_PAYLOAD_LENGTH 4
#define IPV6_HEADER_SIZE 40
#define TCP_SEQUENCE 4
#define TCP_ACKNOWLEDGMENT 8
#define TCP_FLAGS 13
#define TCP_CHECKSUM 16
#define TCP_URGENT 18
#define TCP_HEADER_SIZE 20
#define TCP_FIN 0x01
#define TCP_PSH 0x08
#define TCP_CWR 0x80
#define UDP_LENGTH 4
#define UDP_CHECKSUM 6

static inline uint16_t load16(const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static inline uint32_t load32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static inline uint64_t load64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static inline void store16(uint8_t *at, uint16_t value)
{
	memcpy(at, &value, sizeof(value));
}

/* Values in network byte order; the machine's own is little-endian (x86-64, arm64). */
static inline void store16be(uint8_t *at, uint16_t value)
{
	store16(at, __builtin_bswap16(value));
}

static inline void store32be(uint8_t *at, uint32_t value)
{
	value = __builtin_bswap32(value);
	memcpy(at, &value, sizeof(value));
}

/* Folds a ones' complement sum to 16 bits. */
static inline uint16_t fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/*
 * The ones' complement sum of up to 65535 bytes in the machine's byte order, folded to 16 bits and not inverted. Halves
 * are added up apart, in 32 bits, which the compiler does for many words at a time.
 * seed: a sum to go on from
 */
static inline uint16_t sum_bytes(const uint8_t *bytes, size_t length, uint32_t seed)
{
	uint32_t low = 0, high = 0;
	size_t at = 0;

	for (; at + 4 <= length; at += 4) {
		uint32_t word = load32(bytes + at);

		low += word & 0xffff;
		high += word >> 16;
	}
	if (at + 2 <= length) {
		low += load16(bytes + at);
		at += 2;
	}
	if (at < length)
		low += bytes[at];
	return fold((uint64_t)seed + low + high);
}

#endif
