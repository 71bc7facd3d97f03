/*
 * buf.h - growing bytes, born with a maximum.
 *
 * A put that would pass `max` (or a put after one that failed) changes nothing and sets `failed`;
 * check it once at the end. `data` is NUL terminated after the first put, the NUL isn't counted.
 * One thread at a time.
 */
#ifndef BUSBAR_BASE_BUF_H
#define BUSBAR_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/require.h"

struct buf {
	char *data;
	size_t len, cap, max;
	bool failed;
};

#define BUF_INIT(max_bytes) {NULL, 0, 0, (max_bytes), false}

void buf_init(struct buf *b, size_t max_bytes);
void buf_clear(struct buf *b); /* frees the memory; usable again afterwards */
void buf_reset(struct buf *b); /* empties it and keeps the memory */
void buf_trim(struct buf *b);  /* gives back what it doesn't use: what is in it may move */

char *buf_grow(struct buf *b, size_t n); /* buf_room() when the memory isn't there yet */

/* Room for n more bytes at the end; NULL (and failed) past max. Commit with buf_added(). */
static inline char *buf_room(struct buf *b, size_t n)
{
	/* cap is never more than max + 1, and a failed buffer takes nothing more. */
	return n < b->cap - b->len && !b->failed ? b->data + b->len : buf_grow(b, n);
}

static inline void buf_added(struct buf *b, size_t n)
{
	REQUIRE(n < b->cap - b->len);
	b->len += n;
	b->data[b->len] = '\0';
}

static inline void buf_put(struct buf *b, const void *p, size_t n)
{
	char *to = buf_room(b, n);
	if (to == NULL)
		return;
	if (n > 0)
		memcpy(to, p, n);
	buf_added(b, n);
}

static inline void buf_puts(struct buf *b, const char *s) { buf_put(b, s, strlen(s)); }

static inline void buf_putc(struct buf *b, char c)
{
	char *to = buf_room(b, 1);
	if (to == NULL)
		return;
	*to = c;
	buf_added(b, 1);
}

void buf_put_u64(struct buf *b, uint64_t v); /* decimal */
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* How many bytes from p on stand for themselves inside a JSON string: up to the first `"`, `\` or control character. */
size_t json_plain_run(const char *p, size_t n);

/* The inside of a JSON string: `"`, `\` and control characters escaped (as Jason does: \b \f \n \r \t
 * and \u00XX), everything else as it is, `/` included. */
void buf_json_escape(struct buf *b, const char *p, size_t n);
/* The same with the quotes around it. */
void buf_json_string(struct buf *b, const char *p, size_t n);

/* Over memory of somebody else's: never grows, fails where that ends, and isn't cleared. */
static inline void buf_over(struct buf *b, char *memory, size_t size)
{
	REQUIRE(size > 0);
	*b = (struct buf){.data = memory, .cap = size, .max = size - 1};
}

/* Gives the bytes to the caller (free()); the buffer is empty afterwards. Never NULL unless failed. */
char *buf_detach(struct buf *b, size_t *len);

#endif
