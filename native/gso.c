// SPDX-License-Identifier: MIT
/*
 * Cuts a GSO packet into the segments that the kernel would have sent (net/ipv4/tcp_offload.c, tcp_gso_segment;
 * net/ipv4/udp_offload.c, __udp_gso_segment; net/ipv4/af_inet.c, inet_gso_segment), and seals all of them in one foreign
 * call. The payload stays where it is: each segment's headers go in front of its payload, over the end of the segment
 * before it, which has been encrypted elsewhere by then.
 */
#include "cipher.h"
#include "ip.h"

/* src/esp/segmentation.ts has the same layout, and has seen that the packet holds together. */
struct gso {
	/* Offset of the packet; bytes of its headers, of those before the transport header, and of its payload. */
	uint32_t packet;
	uint32_t headers;
	uint32_t transport;
	uint32_t payload;
	/* Bytes of each segment's payload, but for a shorter last one. */
	uint32_t segment_size;
	uint32_t segments;
	uint32_t v6;
	uint32_t udp;
	/* What is a segment's own, as the first has it, and all flags. */
	uint32_t id;
	uint32_t sequence;
	uint32_t flags;
	/*
	 * Sums over what every segment shares: the pseudo header with the transport header, and an IPv4 header, both without
	 * what is a segment's own.
	 */
	uint32_t shared;
	uint32_t ipv4;
	/* The headers, without what is a segment's own. */
	uint8_t template[];
};

_Static_assert(offsetof(struct gso, template) == 13 * 4, "struct gso");

/* How the segments are sealed. src/esp/segmentation.ts has the same layout. */
struct sealing {
	const struct cipher *cipher;
	/* Offset that the first is sealed to, each other behind the one before it. */
	uint32_t target;
	uint32_t spi;
	/* Of the first. The lower half of the sequence number does not overflow. */
	uint32_t sequence_high;
	uint32_t sequence;
	uint32_t iv_high;
	uint32_t iv_low;
	/* Bytes of each segment's headers that are not encrypted, and what the next of them is. */
	uint32_t skipped;
	uint32_t next_header;
	/* What the size of the ciphertext is a multiple of, a power of 2 up to MAX_ALIGNMENT. */
	uint32_t alignment;
	uint32_t unused;
};

_Static_assert(offsetof(struct sealing, target) == 2 * 4 && sizeof(struct sealing) == 12 * 4, "struct sealing");

/* What writes over the next segment's payload at most. */
#define MAX_ALIGNMENT 16
#define MAX_TRAILER_SIZE (MAX_ALIGNMENT - 1 + TRAILER_SIZE)

static uint32_t payload_of(const struct gso *gso, uint32_t index)
{
	uint32_t left = gso->payload - index * gso->segment_size;

	return left < gso->segment_size ? left : gso->segment_size;
}

/* 0 would mean none in UDP (RFC 768); for TCP it is the same number. */
static uint16_t checksum(const struct gso *gso, const uint8_t *payload, uint32_t size, uint32_t own)
{
	uint16_t length = __builtin_bswap16(gso->headers - gso->transport + size);
	uint16_t sum = ~sum_bytes(payload, size, gso->shared + length + own);

	return sum ? sum : 0xffff;
}

static void write_ipv4(const struct gso *gso, uint8_t *packet, uint32_t size, uint32_t index)
{
	uint16_t length = __builtin_bswap16(gso->headers + size);
	uint16_t id = __builtin_bswap16(gso->id + index);

	store16(packet + IPV4_TOTAL_LENGTH, length);
	store16(packet + IPV4_ID, id);
	store16(packet + IPV4_CHECKSUM, ~fold((uint64_t)gso->ipv4 + length + id));
}

static void write_tcp(const struct gso *gso, uint8_t *tcp, const uint8_t *payload, uint32_t size, uint32_t index)
{
	uint32_t sequence = __builtin_bswap32(gso->sequence + index * gso->segment_size);
	uint8_t flags = gso->flags;

	/* Only the last segment ends the burst, and only the first reports a reduced window (RFC 3168 section 6.1.2). */
	if (index + 1 < gso->segments)
		flags &= ~(TCP_FIN | TCP_PSH);
	if (index > 0)
		flags &= ~TCP_CWR;
	tcp[TCP_FLAGS] = flags;
	memcpy(tcp + TCP_SEQUENCE, &sequence, sizeof(sequence));
	/* The flags are the second byte of a word. */
	store16(tcp + TCP_CHECKSUM,
		checksum(gso, payload, size, (sequence & 0xffff) + (sequence >> 16) + ((uint32_t)flags << 8)));
}

static void write_udp(const struct gso *gso, uint8_t *udp, const uint8_t *payload, uint32_t size)
{
	uint16_t length = __builtin_bswap16(gso->headers - gso->transport + size);

	store16(udp + UDP_LENGTH, length);
	store16(udp + UDP_CHECKSUM, checksum(gso, payload, size, length));
}

/*
 * Writes the headers of a segment in front of its payload. To be called in order, when the segment before is of no more
 * use. Returns the segment's size; it begins at the packet plus the payload before it.
 */
uint32_t gso_write_headers(const struct gso *gso, uint8_t *packets, uint32_t index)
{
	uint8_t *segment = packets + gso->packet + index * gso->segment_size;
	const uint8_t *payload = segment + gso->headers;
	uint32_t size = payload_of(gso, index);

	memcpy(segment, gso->template, gso->headers);
	if (gso->v6)
		store16be(segment + IPV6_PAYLOAD_LENGTH, gso->headers - IPV6_HEADER_SIZE + size);
	else
		write_ipv4(gso, segment, size, index);
	if (gso->udp)
		write_udp(gso, segment + gso->transport, payload, size);
	else
		write_tcp(gso, segment + gso->transport, payload, size, index);
	return gso->headers + size;
}

/* Padding 1, 2, 3.., pad length and next header (RFC 4303 section 2.4). */
static void write_trailer(uint8_t *end, uint32_t padding, uint8_t next_header)
{
	for (uint32_t i = 0; i < padding; i++)
		end[i] = i + 1;
	end[padding] = padding;
	end[padding + 1] = next_header;
}

static void write_esp_header(uint8_t *packet, const struct sealing *sealing, uint32_t index)
{
	uint64_t iv = ((uint64_t)sealing->iv_high << 32 | sealing->iv_low) + index;

	store32be(packet, sealing->spi);
	store32be(packet + ESP_SEQUENCE, sealing->sequence + index);
	store32be(packet + ESP_IV, iv >> 32);
	store32be(packet + ESP_IV + 4, iv);
}

/*
 * Seals every segment of the packet. MAX_TRAILER_SIZE bytes behind it must be there, which are as before afterwards.
 * Returns how many were sealed before one failed.
 */
uint32_t gso_seal(const struct gso *gso, const struct sealing *sealing, uint8_t *packets)
{
	uint8_t *target = packets + sealing->target;
	uint32_t index;

	for (index = 0; index < gso->segments; index++) {
		uint8_t *segment = packets + gso->packet + index * gso->segment_size;
		uint8_t *source = segment + sealing->skipped;
		uint32_t length = gso_write_headers(gso, packets, index) - sealing->skipped;
		uint32_t padding = -(length + TRAILER_SIZE) & (sealing->alignment - 1);
		uint32_t text = length + padding + TRAILER_SIZE;
		uint8_t behind[MAX_TRAILER_SIZE];
		bool sealed;

		memcpy(behind, source + length, MAX_TRAILER_SIZE);
		write_trailer(source + length, padding, sealing->next_header);
		write_esp_header(target, sealing, index);
		sealed = process_packet(sealing->cipher, target, source, text, sealing->sequence_high);
		memcpy(source + length, behind, MAX_TRAILER_SIZE);
		if (!sealed)
			break;
		target += PAYLOAD + text + ICV_SIZE;
	}
	return index;
}
