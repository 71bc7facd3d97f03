/*
 * fuzz_arrival.c - the look at a request's head: no byte beyond the input is read, and what is said of a request doesn't
 * depend on how much of what follows it has arrived.
 */
#include <stdlib.h>
#include <string.h>

#include "http/arrival.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arrival a, b;
	if (size > ARRIVAL_BYTES_MAX)
		return 0;
	char *copy = malloc(size > 0 ? size : 1); /* its end is the sanitizer's */
	if (size > 0)
		memcpy(copy, data, size);
	arrival_look(copy, size, &a);
	if (a.skip > size || (a.kind == ARRIVAL_WHOLE && (a.requests == 0 || a.bytes == 0)) ||
	    (a.kind == ARRIVAL_REFUSED && (a.status < 400 || a.why == NULL)) || (a.small && a.skip + a.bytes != size))
		abort();
	free(copy);
	/* A shorter piece of the same: never whole where the longer one is refused, nor the other way round. */
	for (size_t n = size > 64 ? size - 64 : 0; n < size; n++) {
		copy = malloc(n > 0 ? n : 1);
		if (n > 0)
			memcpy(copy, data, n);
		arrival_look(copy, n, &b);
		if (b.kind == ARRIVAL_WHOLE && (a.kind != ARRIVAL_WHOLE || b.bytes > a.bytes))
			abort();
		if (b.kind == ARRIVAL_REFUSED && a.kind != ARRIVAL_REFUSED)
			abort();
		free(copy);
	}
	return 0;
}
