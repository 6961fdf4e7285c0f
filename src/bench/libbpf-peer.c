// SPDX-License-Identifier: MIT
/*
 * The C half of `bench libbpf`: the same work as src/bench/libbpf.ts does through libbpf-ts.
 *
 *   libbpf-peer OBJECT CASE COUNT    prints the ns that the work took
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static struct bpf_object *load(const char *path)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);

	if (!object || bpf_object__load(object))
		fail(path);
	return object;
}

static uint64_t sum;

static int on_event(void *context, void *data, size_t size)
{
	sum += *(uint64_t *)data;
	return 0;
}

static uint64_t ring(struct bpf_object *object, uint64_t count)
{
	char packet[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = packet, .data_size_in = sizeof(packet), .repeat = count / 1000);
	struct ring_buffer *ring = ring_buffer__new(bpf_object__find_map_fd_by_name(object, "events"), on_event, NULL, NULL);
	uint64_t started;

	if (!ring || bpf_prog_test_run_opts(bpf_program__fd(bpf_object__find_program_by_name(object, "emit")), &run))
		fail("emit");
	started = now();
	if ((uint64_t)ring_buffer__consume(ring) != count)
		fail("consume");
	return now() - started;
}

static uint64_t table(struct bpf_object *object, const char *name, uint32_t count)
{
	int fd = bpf_object__find_map_fd_by_name(object, "table");
	uint64_t *keys = calloc(count, 8), *values = calloc(count, 8), started, cursor = 0;
	uint32_t done = count;

	for (uint32_t i = 0; i < count; i++)
		keys[i] = values[i] = i;
	started = now();
	if (!strcmp(name, "update")) {
		for (uint32_t i = 0; i < count; i++)
			if (bpf_map_update_elem(fd, &keys[i], &values[i], BPF_ANY))
				fail(name);
		return now() - started;
	}
	if (bpf_map_update_batch(fd, keys, values, &done, NULL))
		fail("update batch");
	if (!strcmp(name, "update batch"))
		return now() - started;
	started = now();
	if (!strcmp(name, "lookup")) {
		for (uint32_t i = 0; i < count; i++)
			if (bpf_map_lookup_elem(fd, &keys[i], &values[i]))
				fail(name);
		return now() - started;
	}
	for (void *from = NULL;; from = &cursor) {
		done = 4096;
		int result = bpf_map_lookup_batch(fd, from, &cursor, keys, values, &done, NULL);

		for (uint32_t i = 0; i < done; i++)
			sum += values[i];
		if (result)
			return now() - started;
	}
}

int main(int argc, char **argv)
{
	uint64_t count = argc > 3 ? strtoull(argv[3], NULL, 10) : 0, took;

	if (count == 0)
		return 2;
	libbpf_set_print(NULL);
	if (!strcmp(argv[2], "load")) {
		uint64_t started = now();

		for (uint64_t i = 0; i < count; i++)
			bpf_object__close(load(argv[1]));
		took = now() - started;
	} else {
		struct bpf_object *object = load(argv[1]);

		took = !strcmp(argv[2], "ring") ? ring(object, count) : table(object, argv[2], count);
		bpf_object__close(object);
	}
	printf("%llu\n", (unsigned long long)took);
	return 0;
}
