/*
 * fresh.c - values and patterns that no pool has: random ones of each type, and texts with a fault in them, which
 * input functions must refuse as Postgres does.
 */
#include <stdio.h>
#include <string.h>

#include "gen.h"

#define COUNT(a) ((uint32_t)(sizeof(a) / sizeof *(a)))
#define PICK(g, a) ((a)[gen_random(g, COUNT(a))])

static void digits(struct gen *g, struct buf *out, uint32_t n)
{
	for (; n > 0; n--)
		buf_putc(out, (char)('0' + gen_random(g, 10)));
}

static int64_t random_int(struct gen *g, uint32_t bits)
{
	uint64_t v = (uint64_t)gen_random(g, UINT32_MAX) << 32 | gen_random(g, UINT32_MAX);
	uint32_t keep = 1 + gen_random(g, bits - 1); /* small ones as often as large ones */
	int64_t n = (int64_t)(v >> (64 - keep));
	return gen_random(g, 2) ? n : -n;
}

static void number(struct gen *g, struct buf *out)
{
	static const char *const signs[] = {"", "", "-", "+"};
	buf_puts(out, PICK(g, signs));
	digits(g, out, 1 + gen_random(g, gen_random(g, 4) ? 4 : 25));
	if (gen_random(g, 2)) {
		buf_putc(out, '.');
		digits(g, out, gen_random(g, gen_random(g, 4) ? 4 : 22));
	}
	if (gen_random(g, 6) == 0)
		buf_printf(out, "e%d", (int)gen_random(g, 40) - 20);
}

static void floating(struct gen *g, struct buf *out)
{
	union {
		uint64_t bits;
		double v;
	} u;
	if (gen_random(g, 2)) {
		number(g, out);
		return;
	}
	u.bits = (uint64_t)gen_random(g, UINT32_MAX) << 32 | gen_random(g, UINT32_MAX);
	buf_printf(out, "%.*g", 6 + (int)gen_random(g, 12), u.v);
}

static void word(struct gen *g, struct buf *out)
{
	static const char *const letters[] = {"a", "b",  "c",  "A", "B",  "1",        "2",        " ",
	                                      "%", "_",  "\\", ".", "-",  "\xc3\xa4", "\xc3\x84", "\xf0\x9f\x98\x80",
	                                      "z", "\n", ",",  "'", "\"", "\xce\xa3", "\xc3\x9f", "{",
	                                      "}", "d",  "e",  "0"};
	for (uint32_t n = gen_random(g, 9); n > 0; n--)
		buf_puts(out, PICK(g, letters));
}

static void date(struct gen *g, struct buf *out)
{
	uint32_t y = gen_random(g, 4) ? 1990 + gen_random(g, 50) : 1 + gen_random(g, 9999), m = 1 + gen_random(g, 12),
			 d = 1 + gen_random(g, 31);
	static const char *const months[] = {"Jan", "february", "MAR",  "Apr", "May", "June",
	                                     "Jul", "aug",      "Sept", "oct", "Nov", "December"};
	switch (gen_random(g, 8)) {
	case 0:
		buf_printf(out, "%u/%u/%u", d, m, y);
		break;
	case 1:
		buf_printf(out, "%s %u, %u", months[m - 1], d, y);
		break;
	case 2:
		buf_printf(out, "%u-%s-%u", d, months[m - 1], y);
		break;
	case 3:
		buf_printf(out, "%04u%02u%02u", y, m, d);
		break;
	case 4:
		buf_printf(out, "%u.%u.%02u", d, m, y % 100);
		break;
	default:
		buf_printf(out, "%04u-%02u-%02u", y, m, d);
	}
}

static void clock_time(struct gen *g, struct buf *out)
{
	buf_printf(out, "%02u:%02u", gen_random(g, 25), gen_random(g, 60));
	if (gen_random(g, 4))
		buf_printf(out, ":%02u", gen_random(g, 61));
	if (gen_random(g, 3) == 0) {
		buf_putc(out, '.');
		digits(g, out, 1 + gen_random(g, 8));
	}
	if (gen_random(g, 10) == 0)
		buf_puts(out, gen_random(g, 2) ? " PM" : "am");
}

static void zone(struct gen *g, struct buf *out)
{
	static const char *const zones[] = {
		"Z",     "+00",  "-05",       "+05:30", " UTC", " EST", " Europe/Berlin", " America/New_York",
		"+0130", " PDT", "-11:59:59", " +2"};
	buf_puts(out, PICK(g, zones));
}

static void stamp(struct gen *g, struct buf *out, bool with_zone)
{
	date(g, out);
	if (gen_random(g, 8)) {
		buf_puts(out, gen_random(g, 5) ? " " : "T");
		clock_time(g, out);
		if (with_zone ? gen_random(g, 6) : gen_random(g, 12) == 0)
			zone(g, out);
	}
	if (gen_random(g, 15) == 0)
		buf_puts(out, " BC");
}

static void span_of_time(struct gen *g, struct buf *out)
{
	static const char *const units[] = {
		"year", "years", "mon", "months", "week",   "d",       "days", "hour", "h",     "min",         "minutes",
		"sec",  "s",     "ms",  "us",     "decade", "century", "y",    "m",    "hours", "millisecond", "quarter"};
	static const char iso[] = "YMWDHMS";
	if (gen_random(g, 4) == 0) {
		buf_putc(out, 'P');
		for (uint32_t i = 0; i < 7; i++) {
			if (i == 4)
				buf_putc(out, 'T');
			if (gen_random(g, 2))
				buf_printf(out, "%d%s%c", (int)gen_random(g, 40) - 10, gen_random(g, 6) ? "" : ".5", iso[i]);
		}
		return;
	}
	for (uint32_t n = 1 + gen_random(g, 3); n > 0; n--)
		buf_printf(out, "%d%s %s ", (int)gen_random(g, 100) - 30, gen_random(g, 5) ? "" : ".25", PICK(g, units));
	if (gen_random(g, 4) == 0)
		clock_time(g, out);
	if (gen_random(g, 10) == 0)
		buf_puts(out, " ago");
}

static void json_string(struct gen *g, struct buf *out)
{
	static const char *const texts[] = {"a",  "b", "c",  "x",    "",     "\\n", "\\u00e4",        "\xc3\xa4",
	                                    "1",  "A", "aa", "\\\"", "\\\\", "ab",  "\\ud83d\\ude00", "/",
	                                    "\\/"};
	buf_printf(out, "\"%s\"", PICK(g, texts));
}

static void json(struct gen *g, struct buf *out, int depth)
{
	static const char *const blanks[] = {"", "", "", " ", "\n"}, *const plain[] = {"null", "true", "false", "0",  "1",
	                                                                               "-1",   "1.50", "1e2",   "[]", "{}"};
	uint32_t kind = gen_random(g, depth > 0 ? 6 : 3), n = gen_random(g, 4);
	buf_puts(out, PICK(g, blanks));
	if (kind == 0)
		json_string(g, out);
	else if (kind == 1)
		buf_printf(out, "%d", (int)gen_random(g, 10));
	else if (kind == 2)
		buf_puts(out, PICK(g, plain));
	else {
		buf_putc(out, kind == 3 ? '[' : '{');
		for (uint32_t i = 0; i < n; i++) {
			if (i > 0)
				buf_putc(out, ',');
			if (kind != 3)
				json_string(g, out), buf_putc(out, ':');
			json(g, out, depth - 1);
		}
		buf_putc(out, kind == 3 ? ']' : '}');
	}
	buf_puts(out, PICK(g, blanks));
}

static void hex(struct gen *g, struct buf *out, uint32_t n)
{
	for (; n > 0; n--)
		buf_putc(out, "0123456789abcdefABCDEF"[gen_random(g, 22)]);
}

static void uuid(struct gen *g, struct buf *out)
{
	for (uint32_t i = 0; i < 8; i++) {
		if (i >= 2 && i <= 5)
			buf_putc(out, '-');
		hex(g, out, 4);
	}
}

/* False: there is nothing but the pool for this type. */
static bool fresh(struct gen *g, uint32_t type, struct buf *out)
{
	switch (type) {
	case OID_INT2:
		buf_printf(out, "%lld", (long long)random_int(g, 16));
		return true;
	case OID_INT4:
		buf_printf(out, "%lld", (long long)random_int(g, 32));
		return true;
	case OID_INT8:
		buf_printf(out, "%lld", (long long)random_int(g, 63));
		return true;
	case OID_NUMERIC:
		number(g, out);
		return true;
	case OID_FLOAT4:
	case OID_FLOAT8:
		floating(g, out);
		return true;
	case OID_TEXT:
	case OID_VARCHAR:
	case OID_BPCHAR:
	case OID_NAME:
		word(g, out);
		return true;
	case OID_BYTEA:
		buf_puts(out, "\\x"), hex(g, out, 2 * gen_random(g, 9));
		return true;
	case OID_UUID:
		uuid(g, out);
		return true;
	case OID_DATE:
		date(g, out);
		return true;
	case OID_TIME:
		clock_time(g, out);
		return true;
	case OID_TIMETZ:
		clock_time(g, out), zone(g, out);
		return true;
	case OID_TIMESTAMP:
		stamp(g, out, false);
		return true;
	case OID_TIMESTAMPTZ:
		stamp(g, out, true);
		return true;
	case OID_INTERVAL:
		span_of_time(g, out);
		return true;
	case OID_JSON:
	case OID_JSONB:
		json(g, out, 3);
		return true;
	default:
		return false;
	}
}

/* One character too few, too many, or another; never in the middle of one of UTF-8, never a NUL. */
static void spoil(struct gen *g, struct buf *out)
{
	static const char others[] = "0129 -+:./TZaePB{}\",[]\\xn'%_";
	if (out->len == 0 || out->len > 200)
		return;
	size_t at = gen_random(g, (uint32_t)out->len);
	char *p = out->data + at;
	for (size_t i = 0; i < out->len; i++)
		if ((unsigned char)out->data[i] >= 0x80)
			return;
	switch (gen_random(g, 3)) {
	case 0:
		*p = others[gen_random(g, sizeof others - 1)];
		break;
	case 1:
		memmove(p, p + 1, out->len - at);
		out->len--;
		break;
	default:
		buf_putc(out, 'x');
		p = out->data + at;
		memmove(p + 1, p, out->len - at - 1);
		*p = others[gen_random(g, sizeof others - 1)];
	}
}

bool gen_fresh(struct gen *g, uint32_t type, struct buf *out)
{
	if (!fresh(g, type, out))
		return false;
	if (gen_random(g, 12) == 0)
		spoil(g, out);
	return true;
}

/* ---- patterns --------------------------------------------------------------------------------------- */

static void regex(struct gen *g, struct buf *out, int depth)
{
	static const char *const atoms[] = {"a",        "b",           "c",           "A",   "1",   ".",
	                                    "[abc]",    "[^a]",        "[a-c]",       "\\d", "\\w", "\\s",
	                                    "\xc3\xa4", "[[:alpha:]]", "\\.",         "%",   "_",   "[[:digit:]b]",
	                                    "\\D",      "\\W",         "[\\d_]",      "\\n", "x",   " ",
	                                    "[^\\s]",   "-",           "[a\xc3\xa4]", "e",   "2"};
	static const char *const repeats[] = {"*", "+", "?", "{2}", "{1,2}", "{0,1}", "{2,}", "*?", "+?", "??", "{1,3}?"};
	for (uint32_t n = 1 + gen_random(g, 3); n > 0; n--) {
		if (depth > 0 && gen_random(g, 4) == 0) {
			buf_puts(out, gen_random(g, 3) ? "(" : "(?:");
			regex(g, out, depth - 1);
			if (gen_random(g, 2))
				buf_putc(out, '|'), regex(g, out, depth - 1);
			buf_putc(out, ')');
		} else
			buf_puts(out, PICK(g, atoms));
		if (gen_random(g, 4) == 0)
			buf_puts(out, PICK(g, repeats));
	}
}

void gen_regex(struct gen *g, struct buf *out)
{
	static const char *const starts[] = {"", "", "", "^", "(?i)", "\\m", "^(?:"}, *const ends[] = {"",    "",   "$",
	                                                                                               "\\M", "|b", "\\Z"};
	uint32_t s = gen_random(g, COUNT(starts));
	buf_puts(out, starts[s]);
	regex(g, out, 2);
	if (s == 6)
		buf_putc(out, ')');
	buf_puts(out, PICK(g, ends));
	if (gen_random(g, 15) == 0)
		spoil(g, out);
}

void gen_like(struct gen *g, struct buf *out)
{
	static const char *const parts[] = {"a",    "b",        "c",        "A", "%", "%", "_", "\\%", "\\_",
	                                    "\\\\", "\xc3\xa4", "\xc3\x84", "1", " ", "-", "d", "2",   "\\a"};
	buf_puts(out, "");
	for (uint32_t n = gen_random(g, 6); n > 0; n--)
		buf_puts(out, PICK(g, parts));
}

void gen_similar(struct gen *g, struct buf *out)
{
	static const char *const parts[] = {"a",        "b",  "c",      "%",     "_",    "(a|b)",  "[a-c]", "[^a]", "\\%",
	                                    "\xc3\xa4", "a+", "b*",     "(ab)?", "c{2}", "a{1,2}", ".",     "^",    "$",
	                                    "|",        "1",  "(a%|_)", "[%_]",  "\\.",  "-",      " "};
	buf_puts(out, "");
	for (uint32_t n = gen_random(g, 6); n > 0; n--)
		buf_puts(out, PICK(g, parts));
}
