/*
 * arrival.h - a request's head as it arrives, looked at before libmicrohttpd has read any of it: whether all of it is
 * there, where it ends, whether it can be read in one way only, and whether it needs little memory. No state, any
 * thread, no libmicrohttpd.
 *
 * Proxies and servers that disagree about where a request ends let one client speak in the name of another; so what
 * RFC 9112 lets a server refuse is refused. libmicrohttpd 0.9.75 isn't strict (it takes two lengths, blanks before a
 * colon, folded lines), and its own error pages have two heads: it gets only what has passed here.
 */
#ifndef BUSBAR_HTTP_ARRIVAL_H
#define BUSBAR_HTTP_ARRIVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* So much is looked at; no head is larger. */
#define ARRIVAL_BYTES_MAX 32768
/* A request line: method, target and version. More is a 414. */
#define ARRIVAL_LINE_BYTES_MAX 10000
/* A head, with what the library keeps beside it: a structure for each line and each cookie, and a copy of these. More is
 * a 431. */
#define ARRIVAL_HEAD_BYTES_MAX 28000
#define ARRIVAL_FIELD_BYTES 80
/* A request above isn't a small one. */
#define ARRIVAL_SMALL_BYTES_MAX 3072
#define ARRIVAL_SMALL_LINES_MAX 24
/* A header that the response repeats (Origin) has so much room there. */
#define ARRIVAL_REPEATED_BYTES_MAX 256

enum arrival_kind {
	ARRIVAL_PARTIAL, /* not all of its head is there yet */
	ARRIVAL_WHOLE,
	ARRIVAL_REFUSED,
};

struct arrival {
	enum arrival_kind kind;
	size_t skip;       /* bytes of empty lines before it, which belong to no request */
	uint64_t bytes;    /* WHOLE: of it and of others right behind it, with their bodies, which may still be to come */
	unsigned requests; /* WHOLE: how many that are */
	bool endless;      /* WHOLE: where the last one's body ends isn't known (it is chunked) */
	bool small;        /* one request without a body and nothing behind it, a live GET: whoever waits is to take little
	                      memory, and its answer's headers are short */
	unsigned status;   /* REFUSED: of the answer, */
	const char *why;   /* a text that lives for ever; */
	bool head;         /* to a HEAD request */
};

/* `n` bytes at `p`, all that have arrived or the first ARRIVAL_BYTES_MAX of them. */
void arrival_look(const char *p, size_t n, struct arrival *out);

/* What the fields of a head say together about the request's framing. Begins with zeroes. */
struct arrival_fields {
	unsigned hosts, lengths, codings;
	uint64_t length;
	unsigned status; /* 0: nothing is wrong so far */
	const char *why;
};

void arrival_field(struct arrival_fields *f, const char *name, size_t name_len, const char *value, size_t len);
/* After the last one. `minor`: of the version, HTTP/1.x. */
void arrival_fields_end(struct arrival_fields *f, int minor);

#endif
