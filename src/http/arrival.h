/*
 * arrival.h - what of a request can be said from its first bytes, before libmicrohttpd has read any of them: whether
 * all of it is there, and whether it needs little memory. No state, any thread, no libmicrohttpd.
 */
#ifndef BUSBAR_HTTP_ARRIVAL_H
#define BUSBAR_HTTP_ARRIVAL_H

#include <stdbool.h>
#include <stddef.h>

/* So much is looked at: a request line of 10,000 bytes and the usual headers. */
#define ARRIVAL_BYTES_MAX 16384
/* A request above isn't a small one. */
#define ARRIVAL_SMALL_BYTES_MAX 3072
#define ARRIVAL_SMALL_LINES_MAX 24
/* A header that the response repeats (Origin) has so much room there. */
#define ARRIVAL_REPEATED_BYTES_MAX 256

struct arrival {
	bool whole; /* the bytes are one request without a body, and nothing behind it */
	bool small; /* whole, and a live GET: whoever waits is to take little memory, and its answer's headers are short */
};

void arrival_look(const char *p, size_t n, struct arrival *out);

#endif
