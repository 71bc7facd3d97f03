/*
 * utf8.h - code points in UTF-8.
 *
 * What comes from outside is checked once by utf8_valid(). The others take valid text (a database's is); on
 * anything else they stay inside the bytes given and always move on, nothing more. Pure, any thread.
 */
#ifndef BUSBAR_BASE_UTF8_H
#define BUSBAR_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UTF8_BYTES_MAX 4
#define UTF8_POINT_MAX 0x10FFFFu
#define UTF8_REPLACEMENT 0xFFFDu

/* No overlong forms, no surrogates, nothing beyond UTF8_POINT_MAX; NUL is a character. */
bool utf8_valid(const char *p, size_t len);

static inline bool utf8_is_continuation(char c) { return ((unsigned char)c & 0xC0) == 0x80; }

/* The start of the next character; `p` < `end`. */
static inline const char *utf8_next(const char *p, const char *end)
{
	p++;
	while (p < end && utf8_is_continuation(*p))
		p++;
	return p;
}

/* The start of the character before `p`; `start` < `p`. */
static inline const char *utf8_prev(const char *start, const char *p)
{
	p--;
	while (p > start && utf8_is_continuation(*p))
		p--;
	return p;
}

/* Decodes the character at `*p` < `end` and moves on; UTF8_REPLACEMENT if it is none. */
static inline uint32_t utf8_decode(const char **p, const char *end)
{
	const unsigned char *s = (const unsigned char *)*p;
	if (s[0] < 0x80) {
		(*p)++;
		return s[0];
	}
	const char *next = utf8_next(*p, end);
	size_t n = (size_t)(next - *p);
	*p = next;
	if (n == 2 && (s[0] & 0xE0) == 0xC0)
		return (uint32_t)(s[0] & 0x1F) << 6 | (s[1] & 0x3F);
	if (n == 3 && (s[0] & 0xF0) == 0xE0)
		return (uint32_t)(s[0] & 0x0F) << 12 | (uint32_t)(s[1] & 0x3F) << 6 | (s[2] & 0x3F);
	if (n == 4 && (s[0] & 0xF8) == 0xF0)
		return (uint32_t)(s[0] & 0x07) << 18 | (uint32_t)(s[1] & 0x3F) << 12 | (uint32_t)(s[2] & 0x3F) << 6 |
		       (s[3] & 0x3F);
	return UTF8_REPLACEMENT;
}

/* Writes `c` <= UTF8_POINT_MAX; the number of bytes. */
static inline size_t utf8_encode(char out[UTF8_BYTES_MAX], uint32_t c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xC0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3F));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xE0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3F));
		out[2] = (char)(0x80 | (c & 0x3F));
		return 3;
	}
	out[0] = (char)(0xF0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3F));
	out[2] = (char)(0x80 | (c >> 6 & 0x3F));
	out[3] = (char)(0x80 | (c & 0x3F));
	return 4;
}

/* Characters in n bytes. */
static inline size_t utf8_count(const char *p, size_t n)
{
	size_t count = 0;
	for (size_t i = 0; i < n; i++)
		count += !utf8_is_continuation(p[i]);
	return count;
}

/* Past `chars` characters, or `end`. */
static inline const char *utf8_skip(const char *p, const char *end, uint64_t chars)
{
	if (chars >= (uint64_t)(end - p))
		return end;
	for (; chars > 0 && p < end; chars--)
		p = utf8_next(p, end);
	return p;
}

#endif
