/*
 * httpres.h - an incremental parser of HTTP/1.x responses, and of the event stream inside one.
 *
 * Bytes go in as they come, in pieces of any size; body bytes (chunked coding removed) come out through a
 * callback. Only headers that the bench needs are kept. One response after the other on one connection:
 * httpres_feed() stops at the end of a response and says how much it took. Anything that isn't HTTP is an
 * error with a text. No allocation but for a header line or chunk line cut in two by a read.
 */
#ifndef BUSBAR_BENCH_HTTPRES_H
#define BUSBAR_BENCH_HTTPRES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define HTTP_LINE_BYTES_MAX 65536 /* a schema header of a wide table is some kilobytes */
#define HTTP_HANDLE_MAX 96
#define HTTP_OFFSET_MAX 48
#define HTTP_CURSOR_MAX 24

enum http_state {
	HTTP_STATUS, /* at the start of a response */
	HTTP_HEADERS,
	HTTP_BODY_LENGTH,
	HTTP_BODY_CLOSE, /* until the connection closes */
	HTTP_CHUNK_SIZE,
	HTTP_CHUNK_DATA,
	HTTP_CHUNK_END,
	HTTP_TRAILERS,
	HTTP_DONE,
};

struct httpres {
	enum http_state state;
	int status;
	uint64_t left; /* bytes of the body or of the chunk */
	bool chunked, has_length, close, event_stream;
	bool up_to_date;        /* the electric-up-to-date header is there */
	int retry_after_s;      /* 0: none */
	char handle[HTTP_HANDLE_MAX], offset[HTTP_OFFSET_MAX], cursor[HTTP_CURSOR_MAX], server[40];
	uint64_t body_bytes;
	struct buf line; /* the beginning of a line whose end hasn't come */
	const char *error;
};

/* Body bytes; false stops the parser with an error (set by the callee). */
typedef bool http_body_fn(void *ctx, const char *data, size_t len);

void httpres_init(struct httpres *p);
void httpres_next(struct httpres *p); /* ready for the next response; keeps the memory */
void httpres_clear(struct httpres *p);

/* How many bytes were used, or -1 with p->error. state is HTTP_DONE when the response has ended. */
ptrdiff_t httpres_feed(struct httpres *p, const char *data, size_t len, http_body_fn *body, void *ctx);

/* The peer closed: 0 if that ends the response rightly, -1 with p->error if it was cut. */
int httpres_eof(struct httpres *p);

/*
 * The event stream of SSE: joins what follows `data:` in each line, and gives it to the callback at the empty
 * line that ends the event. Comments, other fields and empty events are skipped.
 */
struct sse {
	struct buf line, data;
	uint64_t comments; /* keep-alives seen */
};

void sse_init(struct sse *s);
void sse_clear(struct sse *s);
bool sse_feed(struct sse *s, const char *data, size_t len, http_body_fn *event, void *ctx);

#endif
