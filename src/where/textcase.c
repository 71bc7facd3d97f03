/* textcase.c - case mapping, see textcase.h. */
#include "base/utf8.h"
#include "where/textcase.h"

#include <string.h>
#include <wctype.h>

#include "where/textfn.h"

#define EACH_BYTE(b) (UINT64_C(0x0101010101010101) * (b))

struct range { uint32_t from, to; };

/* SpecialCasing.txt: characters whose upper case is several characters, or depends on what is around. */
static const struct range special_upper[] = {
	{0xDF, 0xDF}, {0x149, 0x149}, {0x1F0, 0x1F0}, {0x390, 0x390}, {0x3B0, 0x3B0}, {0x587, 0x587}, {0x1E96, 0x1E9A},
	{0x1F50, 0x1F56}, {0x1F80, 0x1FAF}, {0x1FB2, 0x1FBC}, {0x1FC2, 0x1FCC}, {0x1FD2, 0x1FD7}, {0x1FE2, 0x1FE7},
	{0x1FF2, 0x1FFC}, {0xFB00, 0xFB06}, {0xFB13, 0xFB17},
};
static const struct range special_lower[] = {{0x130, 0x130}, {0x3A3, 0x3A3}};
/* Characters whose title case isn't their upper case, and Georgian, where libcs differ. */
static const struct range special_title[] = {{0x1C4, 0x1CC}, {0x1F1, 0x1F3}, {0x10D0, 0x10FF}, {0x1C90, 0x1CBF}};

static bool in_ranges(const struct range *r, size_t n, uint32_t c)
{
	for (size_t i = 0; i < n; i++)
		if (c >= r[i].from && c <= r[i].to)
			return true;
	return false;
}

static inline char ascii_lower(char ch) { return ch >= 'A' && ch <= 'Z' ? (char)(ch | 0x20) : ch; }
static inline char ascii_upper(char ch) { return ch >= 'a' && ch <= 'z' ? (char)(ch & ~0x20) : ch; }
static inline bool ascii_alnum(char ch)
{
	return (ch >= '0' && ch <= '9') || ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'z');
}

static bool all_ascii(const char *p, size_t n)
{
	uint64_t word, seen = 0;
	size_t i = 0;
	for (; i + sizeof word <= n; i += sizeof word) {
		memcpy(&word, p + i, sizeof word);
		seen |= word;
	}
	for (; i < n; i++)
		seen |= (unsigned char)p[i];
	return (seen & EACH_BYTE(0x80)) == 0;
}

static int unknown_case(struct where_call *c)
{
	return where_fail(c, "upper and lower case under the collation \"%s\" are known to the database only",
	                  c->collation->name);
}

enum mapping { LOWER, UPPER, INITCAP };

static bool is_special(const struct where_collation *collation, enum mapping m, uint32_t ch)
{
	if (collation->provider == 'b')
		return m == INITCAP ? in_ranges(special_title, ARRAY_LEN(special_title), ch)
		                    : m == UPPER && in_ranges(special_title + 2, 2, ch);
	if (collation->provider != 'i')
		return false;
	return (m != UPPER && in_ranges(special_lower, ARRAY_LEN(special_lower), ch)) ||
	       (m != LOWER && in_ranges(special_upper, ARRAY_LEN(special_upper), ch)) ||
	       (m != LOWER && in_ranges(special_title, ARRAY_LEN(special_title), ch));
}

static int map_ascii(struct where_call *c, enum mapping m, const char *p, size_t n, struct where_value *out)
{
	char *to = textfn_room(c, n);
	if (to == NULL)
		return -1;
	bool inside = false;
	for (size_t i = 0; i < n; i++) {
		to[i] = m == LOWER || inside ? ascii_lower(p[i]) : ascii_upper(p[i]);
		inside = m == INITCAP && ascii_alnum(to[i]);
	}
	*out = where_bytes(to, n);
	return 0;
}

static int map_wide(struct where_call *c, enum mapping m, const char *p, size_t n, struct where_value *out)
{
	locale_t ctype = c->collation->ctype;
	char *start = textfn_room(c, utf8_count(p, n) * UTF8_BYTES_MAX + UTF8_BYTES_MAX), *to = start;
	if (to == NULL)
		return -1;
	bool inside = false;
	for (const char *end = p + n; p < end;) {
		if ((unsigned char)*p < 0x80 && c->collation->ascii_known) {
			*to = m == LOWER || inside ? ascii_lower(*p) : ascii_upper(*p);
			inside = m == INITCAP && ascii_alnum(*to);
			to++;
			p++;
			continue;
		}
		uint32_t ch = utf8_decode(&p, end);
		if (ch >= 0x80 && is_special(c->collation, m, ch))
			return where_fail(c, "the case of U+%04X under the collation \"%s\" is known to the database only", ch,
			                  c->collation->name);
		wint_t mapped = m == LOWER || inside ? towlower_l((wint_t)ch, ctype) : towupper_l((wint_t)ch, ctype);
		inside = m == INITCAP && iswalnum_l(mapped, ctype);
		to += utf8_encode(to, (uint32_t)mapped);
	}
	*out = where_bytes(start, (size_t)(to - start));
	return 0;
}

/* ICU finds words by Unicode's rules: the same as ours where there is nothing but letters, digits and blanks. */
static bool simple_words(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!ascii_alnum(p[i]) && p[i] != ' ')
			return false;
	return true;
}

static int map(struct where_call *c, enum mapping m, const char *p, size_t n, struct where_value *out)
{
	const struct where_collation *collation = c->collation;
	if (collation->ascii_case)
		return map_ascii(c, m, p, n, out);
	if (m == INITCAP && collation->provider == 'i' && (!simple_words(p, n) || collation->ctype == (locale_t)0))
		return unknown_case(c);
	if (all_ascii(p, n) && collation->ascii_known)
		return map_ascii(c, m, p, n, out);
	if (collation->ctype == (locale_t)0)
		return unknown_case(c);
	return map_wide(c, m, p, n, out);
}

int textcase_lower(struct where_call *c, const char *p, size_t n, struct where_value *out)
{
	return map(c, LOWER, p, n, out);
}

int textcase_upper(struct where_call *c, const char *p, size_t n, struct where_value *out)
{
	return map(c, UPPER, p, n, out);
}

int textcase_initcap(struct where_call *c, const char *p, size_t n, struct where_value *out)
{
	return map(c, INITCAP, p, n, out);
}

/* Eight ASCII characters at once: adding leaves the top bit of those from A on, and of those beyond Z. */
static uint64_t lower_word(uint64_t w)
{
	uint64_t from_a = w + EACH_BYTE(0x80 - 'A'), beyond_z = w + EACH_BYTE(0x80 - 'Z' - 1);
	return w | (from_a & ~beyond_z & EACH_BYTE(0x80)) >> 2;
}

bool textcase_lower_ascii(const struct where_collation *collation, const char *p, size_t n, char *out, size_t room)
{
	uint64_t word, seen = 0;
	size_t i = 0;
	if (n > room || !collation->ascii_known)
		return false;
	for (; i + sizeof word <= n; i += sizeof word) {
		memcpy(&word, p + i, sizeof word);
		seen |= word;
		word = lower_word(word);
		memcpy(out + i, &word, sizeof word);
	}
	for (; i < n; i++) {
		seen |= (unsigned char)p[i];
		out[i] = ascii_lower(p[i]);
	}
	return (seen & EACH_BYTE(0x80)) == 0;
}
