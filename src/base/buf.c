/* buf.c - growing bytes with a maximum; JSON escaping. */
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void buf_init(struct buf *b, size_t max_bytes)
{
	*b = (struct buf)BUF_INIT(max_bytes);
}

void buf_clear(struct buf *b)
{
	free(b->data);
	buf_init(b, b->max);
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->failed = false;
	if (b->data != NULL)
		b->data[0] = '\0';
}

void buf_trim(struct buf *b)
{
	if (b->data == NULL || b->cap == b->len + 1)
		return;
	b->data = mem_realloc(b->data, b->len + 1);
	b->cap = b->len + 1;
}

char *buf_grow(struct buf *b, size_t n)
{
	REQUIRE(b->max < SIZE_MAX && b->len <= b->max); /* there is a NUL behind them */
	if (b->failed || n > b->max || b->len > b->max - n) {
		b->failed = true;
		return NULL;
	}
	size_t need = b->len + n + 1;
	if (need > b->cap) {
		size_t cap = b->cap ? b->cap : 64;
		while (cap < need)
			cap += cap / 2 + 16;
		if (cap > b->max + 1)
			cap = b->max + 1;
		b->data = mem_realloc(b->data, cap);
		b->cap = cap;
	}
	return b->data + b->len;
}

void buf_put_u64(struct buf *b, uint64_t v)
{
	char text[20];
	size_t at = sizeof text;
	do {
		text[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v > 0);
	buf_put(b, text + at, sizeof text - at);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	char *to = n < 0 ? NULL : buf_room(b, (size_t)n);
	if (to != NULL) {
		vsnprintf(to, (size_t)n + 1, fmt, again);
		buf_added(b, (size_t)n);
	}
	va_end(again);
}

/* How a byte is escaped: 0 as it is, 'u' as \u00XX, else the letter behind the backslash. */
static const char escape_table[256] = {
	[0] = 'u', [1] = 'u', [2] = 'u', [3] = 'u', [4] = 'u', [5] = 'u', [6] = 'u', [7] = 'u',
	[8] = 'b', [9] = 't', [10] = 'n', [11] = 'u', [12] = 'f', [13] = 'r', [14] = 'u', [15] = 'u',
	[16] = 'u', [17] = 'u', [18] = 'u', [19] = 'u', [20] = 'u', [21] = 'u', [22] = 'u', [23] = 'u',
	[24] = 'u', [25] = 'u', [26] = 'u', [27] = 'u', [28] = 'u', [29] = 'u', [30] = 'u', [31] = 'u',
	['"'] = '"', ['\\'] = '\\',
};

#define EVERY_BYTE(c) (UINT64_C(0x0101010101010101) * (c))

/*
 * Eight bytes at once: the high bit of those that aren't plain. Only the first such mark is sure (a borrow may set
 * one above it), which is all that is asked for.
 */
static uint64_t special_bytes(uint64_t x)
{
	uint64_t quote = x ^ EVERY_BYTE('"'), backslash = x ^ EVERY_BYTE('\\');
	return (((x - EVERY_BYTE(0x20)) & ~x) | ((quote - EVERY_BYTE(1)) & ~quote) | ((backslash - EVERY_BYTE(1)) & ~backslash)) &
	       EVERY_BYTE(0x80);
}

size_t json_plain_run(const char *p, size_t n)
{
	size_t i = 0;
	for (uint64_t x; n - i >= sizeof x; i += sizeof x) {
		memcpy(&x, p + i, sizeof x);
		uint64_t special = special_bytes(x);
		if (special == 0)
			continue;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
		return i + (size_t)__builtin_ctzll(special) / 8;
#else
		break;
#endif
	}
	while (i < n && escape_table[(unsigned char)p[i]] == 0)
		i++;
	return i;
}

void buf_json_escape(struct buf *b, const char *p, size_t n)
{
	static const char hex[] = "0123456789ABCDEF";
	for (;;) {
		size_t run = json_plain_run(p, n);
		buf_put(b, p, run);
		if (run == n)
			return;
		unsigned char c = (unsigned char)p[run];
		char how = escape_table[c];
		if (how == 'u') {
			char text[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
			buf_put(b, text, 6);
		} else {
			char text[2] = {'\\', how};
			buf_put(b, text, 2);
		}
		p += run + 1;
		n -= run + 1;
	}
}

void buf_json_string(struct buf *b, const char *p, size_t n)
{
	buf_putc(b, '"');
	buf_json_escape(b, p, n);
	buf_putc(b, '"');
}

char *buf_detach(struct buf *b, size_t *len)
{
	if (b->failed)
		return NULL;
	buf_put(b, "", 0);
	char *p = b->data;
	if (len != NULL)
		*len = b->len;
	buf_init(b, b->max);
	return p;
}
