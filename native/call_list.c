// SPDX-License-Identifier: MIT
/*
 * Makes many calls of C functions in one: a foreign call from JavaScript costs about 20 ns for each argument, words in
 * memory next to nothing.
 */
#include <stddef.h>
#include <stdint.h>

#define MAX_ARGUMENTS 10

/* src/sys/call-list.ts has the same layout. */
struct call {
	/*
	 * Any function of at most ten integers and pointers: the calling conventions of x86-64 and arm64 (System V, AAPCS64)
	 * leave it to the caller to remove arguments, so that one which takes fewer never sees the others.
	 */
	uint64_t (*function)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
			     uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
	uint64_t arguments[MAX_ARGUMENTS];
	/* Of a narrower type the bits above are undefined. */
	uint64_t result;
};

static uint64_t make(struct call *call)
{
	const uint64_t *a = call->arguments;

	call->result = call->function(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9]);
	return call->result;
}

/* Ends with the first that returns a negative number. Returns how many did not. */
size_t call_until_error(struct call *calls, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if ((int64_t)make(&calls[i]) < 0)
			return i;
	return count;
}
