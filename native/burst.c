// SPDX-License-Identifier: MIT
/*
 * Opens the datagrams of one received message in place, one after the other, as long as each continues a burst: what a
 * sender's GSO packet was cut into comes back as one, in one foreign call. What is not of that kind is left to the caller,
 * which knows all the others.
 */
#include "cipher.h"
#include "ip.h"

#define IPPROTO_IPIP 4
#define IPPROTO_IPV6 41

/* uapi/linux/uio.h */
struct iovec {
	uint64_t base;
	uint64_t length;
};

/* src/esp/burst.ts has the same layout. */
struct burst {
	const struct cipher *cipher;
	/* Where the payloads of those that join are noted. */
	struct iovec *iovecs;

	/* Offset of the first datagram, bytes of each, and how many may join. They lie next to each other. */
	uint32_t datagrams;
	uint32_t size;
	uint32_t count;
	/* What the first has: one more than the highest number that was accepted. The lower half does not overflow. */
	uint32_t spi;
	uint32_t sequence_high;
	uint32_t sequence;

	/* Offset of the first packet of the burst, whose headers, and their checksum in IPv4, have been looked at. */
	uint32_t head;
	/* Bytes of its headers, of those before the transport header, and of its payload. */
	uint32_t headers;
	uint32_t transport;
	uint32_t payload;
	uint32_t v6;
	uint32_t udp;
	/* How much greater the next packet's IPv4 identifier is than the first one's, and how much it grows: 1, or 0. */
	uint32_t id_ahead;
	uint32_t id_step;
	/* TCP sequence number of the next. */
	uint32_t tcp_sequence;
	/* Sum of the pseudo header, which is the same for all. */
	uint32_t pseudo;

	/* Set: what became of the datagram behind those that joined, an enum opened. */
	uint32_t next;
	uint32_t unused;
};

_Static_assert(offsetof(struct burst, datagrams) == 4 * 4 && offsetof(struct burst, head) == 10 * 4 &&
	       offsetof(struct burst, next) == 20 * 4 && sizeof(struct burst) == 22 * 4, "struct burst");

enum opened {
	/* It is as it came. */
	NOT_OPENED,
	/* It is authentic, and decrypted. */
	AUTHENTIC,
	/* It is not, and of no more use. */
	FORGED,
};

/* Sum of the identifier and the checksum of an IPv4 header. */
static uint16_t identity(const uint8_t *packet)
{
	return fold((uint64_t)load16(packet + IPV4_ID) + load16(packet + IPV4_CHECKSUM));
}

/*
 * Of headers without options, the first with a right checksum: that of the second is right then as well. The first word
 * holds the length, the second the fragment's fields, the third TTL and protocol.
 */
static bool continues_ipv4(const uint8_t *a, const uint8_t *b, uint16_t step)
{
	return load32(a) == load32(b) &&
	       load16(a + IPV4_FRAGMENT) == load16(b + IPV4_FRAGMENT) &&
	       (uint16_t)(__builtin_bswap16(load16(b + IPV4_ID)) - __builtin_bswap16(load16(a + IPV4_ID))) == step &&
	       load16(a + IPV4_TTL) == load16(b + IPV4_TTL) &&
	       load64(a + IPV4_SOURCE) == load64(b + IPV4_SOURCE) &&
	       identity(a) == identity(b);
}

static bool continues_tcp(const uint8_t *a, const uint8_t *b, uint32_t size, uint32_t sequence)
{
	return load32(a) == load32(b) &&
	       load32(b + TCP_SEQUENCE) == __builtin_bswap32(sequence) &&
	       load64(a + TCP_ACKNOWLEDGMENT) == load64(b + TCP_ACKNOWLEDGMENT) &&
	       load16(a + TCP_URGENT) == load16(b + TCP_URGENT) &&
	       memcmp(a + TCP_HEADER_SIZE, b + TCP_HEADER_SIZE, size - TCP_HEADER_SIZE) == 0;
}

/* The second must have a checksum. */
static bool continues_udp(const uint8_t *a, const uint8_t *b)
{
	return load32(a) == load32(b) && load16(a + UDP_LENGTH) == load16(b + UDP_LENGTH) &&
	       load16(b + UDP_CHECKSUM) != 0;
}

/* Whether the inner packet has the headers of the burst's first, but for what counts up, and a right checksum. */
static bool continues(const struct burst *burst, const uint8_t *head, const uint8_t *packet, uint32_t index)
{
	const uint8_t *a = head + burst->transport;
	const uint8_t *b = packet + burst->transport;
	uint32_t transport_headers = burst->headers - burst->transport;

	if (burst->v6 ? memcmp(head, packet, IPV6_HEADER_SIZE) != 0 :
			!continues_ipv4(head, packet, burst->id_ahead + index * burst->id_step))
		return false;
	if (burst->udp ? !continues_udp(a, b) :
			 !continues_tcp(a, b, transport_headers, burst->tcp_sequence + index * burst->payload))
		return false;
	return sum_bytes(b, transport_headers + burst->payload, burst->pseudo) == 0xffff;
}

/* Whether the decrypted text holds a packet as long as the burst's first, and nothing behind but a trailer for it. */
static bool fits(const struct burst *burst, const uint8_t *text, uint32_t size)
{
	uint32_t padding = text[size - TRAILER_SIZE];

	return size == burst->headers + burst->payload + padding + TRAILER_SIZE &&
	       text[size - 1] == (burst->v6 ? IPPROTO_IPV6 : IPPROTO_IPIP);
}

/* Returns how many joined. */
uint32_t burst_open(struct burst *burst, uint8_t *packets)
{
	const uint8_t *head = packets + burst->head;
	uint32_t index;

	burst->next = NOT_OPENED;
	if (burst->size < PAYLOAD + burst->headers + burst->payload + TRAILER_SIZE + ICV_SIZE)
		return 0;
	for (index = 0; index < burst->count; index++) {
		uint8_t *packet = packets + burst->datagrams + index * burst->size;
		uint8_t *text = packet + PAYLOAD;
		uint32_t size = burst->size - PAYLOAD - ICV_SIZE;

		if (load32(packet) != __builtin_bswap32(burst->spi) ||
		    load32(packet + ESP_SEQUENCE) != __builtin_bswap32(burst->sequence + index))
			break;
		if (!process_packet(burst->cipher, packet, text, size, burst->sequence_high)) {
			burst->next = FORGED;
			break;
		}
		if (!fits(burst, text, size) || !continues(burst, head, text, index)) {
			burst->next = AUTHENTIC;
			break;
		}
		burst->iovecs[index].base = (uint64_t)(text + burst->headers);
		burst->iovecs[index].length = burst->payload;
	}
	return index;
}
