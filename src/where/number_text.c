/* number_text.c - reading and writing integers, floats and booleans. See number_text.h. */
#include "where/number_text.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"

static bool is_blank(char ch) { return ch == ' ' || (ch >= '\t' && ch <= '\r'); }
static bool is_digit(char ch) { return ch >= '0' && ch <= '9'; }

static void trim(const char **p, const char **end)
{
	while (*p < *end && is_blank(**p))
		(*p)++;
	while (*p < *end && is_blank((*end)[-1]))
		(*end)--;
}

static int bad_text(struct where_call *c, const char *type)
{
	return where_fail(c, "invalid input syntax for type %s", type);
}

static int out_of_range(struct where_call *c, const char *type)
{
	return where_fail(c, "value is out of range for type %s", type);
}

/* ---- integers --------------------------------------------------------------------------------------- */

/* Sign and digits, nothing else; `over` if they don't fit. */
static bool scan_int(const char *p, const char *end, bool *neg, uint64_t *size, bool *over)
{
	trim(&p, &end);
	*neg = p < end && *p == '-';
	if (p < end && (*p == '-' || *p == '+'))
		p++;
	if (p == end)
		return false;
	uint64_t x = 0;
	*over = false;
	for (; p < end; p++) {
		if (!is_digit(*p))
			return false;
		*over |= __builtin_mul_overflow(x, 10u, &x);
		*over |= __builtin_add_overflow(x, (uint64_t)(*p - '0'), &x);
	}
	*size = x;
	return true;
}

int number_parse_int(struct where_call *c, const char *p, size_t n, int64_t min, int64_t max, const char *type,
                     int64_t *out)
{
	bool neg, over;
	uint64_t size;
	if (!scan_int(p, p + n, &neg, &size, &over))
		return bad_text(c, type);
	uint64_t limit = neg ? 0 - (uint64_t)min : (uint64_t)max;
	if (over || size > limit)
		return out_of_range(c, type);
	*out = neg ? (int64_t)(0 - size) : (int64_t)size;
	return 0;
}

/* Postgres reads it with strtoul(), and takes what is the same 32 bits as an int4, too. */
int number_parse_oid(struct where_call *c, const char *p, size_t n, int64_t *out)
{
	bool neg, over;
	uint64_t size;
	if (!scan_int(p, p + n, &neg, &size, &over))
		return bad_text(c, "oid");
	uint64_t v = neg ? 0 - size : size;
	uint32_t low = (uint32_t)v;
	if (over || (v != low && v != (uint64_t)(int64_t)(int32_t)low))
		return out_of_range(c, "oid");
	*out = low;
	return 0;
}

void number_put_int(struct buf *out, int64_t v)
{
	if (v < 0)
		buf_putc(out, '-');
	buf_put_u64(out, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

/* ---- reading floats --------------------------------------------------------------------------------- */

/* Up to 15 digits and a power of ten up to 22, both exact in a double: one operation gives the nearest. */
static bool parse_short(const char *p, const char *end, double *out)
{
	static const double exact[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
	if (end - p > 17)
		return false;
	bool neg = p < end && *p == '-';
	p += neg;
	uint64_t x = 0;
	int digits = 0, decimals = 0;
	bool point = false;
	for (; p < end; p++) {
		if (*p == '.' && !point) {
			point = true;
			continue;
		}
		if (!is_digit(*p) || ++digits > 15)
			return false;
		x = x * 10 + (uint64_t)(*p - '0');
		decimals += point;
	}
	if (digits == 0)
		return false;
	double v = (double)x / exact[decimals];
	*out = neg ? -v : v;
	return true;
}

static bool parse_named(const char *p, size_t n, double *out)
{
	static const struct { const char *name; double value; } names[] = {
		{"nan", NAN}, {"infinity", INFINITY}, {"+infinity", INFINITY}, {"-infinity", -INFINITY},
		{"inf", INFINITY}, {"+inf", INFINITY}, {"-inf", -INFINITY},
	};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strlen(names[i].name) == n && strncasecmp(names[i].name, p, n) == 0) {
			*out = names[i].value;
			return true;
		}
	return false;
}

/* Through C's functions, which want a NUL. */
static int parse_long(struct where_call *c, const char *p, size_t n, bool single, const char *type, double *out)
{
	char few[64], *text = n < sizeof few ? few : mem_alloc(n + 1), *stop;
	memcpy(text, p, n);
	text[n] = '\0';
	errno = 0;
	double v = single ? (double)strtof(text, &stop) : strtod(text, &stop);
	bool range = errno == ERANGE && (v == 0 || isinf(v)), whole = stop == text + n;
	if (text != few)
		free(text);
	if (!whole)
		return bad_text(c, type);
	if (range)
		return out_of_range(c, type);
	*out = v;
	return 0;
}

static int parse_float(struct where_call *c, const char *p, size_t n, bool single, const char *type, double *out)
{
	const char *end = p + n;
	trim(&p, &end);
	if (p == end)
		return bad_text(c, type);
	if (!single && parse_short(p, end, out))
		return 0;
	if (parse_named(p, (size_t)(end - p), out))
		return 0;
	return parse_long(c, p, (size_t)(end - p), single, type, out);
}

int number_parse_float8(struct where_call *c, const char *p, size_t n, double *out)
{
	return parse_float(c, p, n, false, "double precision", out);
}

int number_parse_float4(struct where_call *c, const char *p, size_t n, double *out)
{
	return parse_float(c, p, n, true, "real", out);
}

/* ---- writing floats --------------------------------------------------------------------------------- */

struct kind { bool single; int sure, most; }; /* digits that every number keeps, and that are always enough */
static const struct kind kinds[] = {{false, DBL_DIG, 17}, {true, FLT_DIG, 9}};

static double read_back(const struct kind *k, const char *text)
{
	return k->single ? (double)strtof(text, NULL) : strtod(text, NULL);
}

/*
 * A decimal exactly half way to the next float would read back, by rounding to even, but Postgres
 * doesn't use those. Such a decimal of 17 digits is only possible for whole numbers and halves: compare
 * all digits of the half-way points with it.
 */
static bool is_halfway(const struct kind *k, double v, const char *text)
{
	double size = fabs(v);
	if (size < (k->single ? 0x1p22 : 0x1p51) || size > 1e60)
		return false;
	char all[96], short_form[96];
	for (int side = 0; side < 2; side++) {
		double to = side ? INFINITY : 0;
		double next = k->single ? (double)nextafterf((float)size, (float)to) : nextafter(size, to);
		if (isinf(next))
			continue;
		long double middle = ((long double)size + (long double)next) / 2;
		snprintf(all, sizeof all, "%.*Le", 70, middle);
		/* The digits of `text`, then nothing but zeros. */
		snprintf(short_form, sizeof short_form, "%s", text[0] == '-' ? text + 1 : text);
		char *e = strchr(short_form, 'e'), *all_e = strchr(all, 'e');
		size_t n = (size_t)(e - short_form);
		if (strcmp(e, all_e) == 0 && strncmp(short_form, all, n) == 0 && strspn(all + n,
			"0.") == (size_t)(all_e - all) - n)
			return true;
	}
	return false;
}

static bool keeps(const struct kind *k, double v, const char *text)
{
	return read_back(k, text) == v && !is_halfway(k, v, text);
}

/* Moves the last digit of d.ddde+xx by one; false if that would carry into other digits. */
static bool neighbour(char *text, int step)
{
	char *last = strchr(text, 'e') - 1;
	if (*last == (step > 0 ? '9' : '0'))
		return false;
	*last = (char)(*last + step);
	return true;
}

/* As d.ddde+xx. Next to a power of two the gaps differ, so that the nearest decimal of a length may lie
 * outside of what reads back while its neighbour is inside. */
static void shortest(const struct kind *k, double v, char text[48])
{
	/* Subnormal numbers have fewer digits that tell them apart. */
	int first = fabs(v) < (k->single ? (double)FLT_MIN : DBL_MIN) ? 1 : k->sure;
	for (int digits = first; digits < k->most; digits++) {
		snprintf(text, 48, "%.*e", digits - 1, v);
		if (keeps(k, v, text))
			return;
		for (int step = -1; step <= 1; step += 2) {
			char other[48];
			memcpy(other, text, 48);
			if (neighbour(other, step) && keeps(k, v, other)) {
				memcpy(text, other, 48);
				return;
			}
		}
	}
	snprintf(text, 48, "%.*e", k->most - 1, v);
}

/* From d.ddde+xx: the same with trailing zeros gone, or without exponent. */
static void put_decimal(struct buf *out, const char *text, int plain_below)
{
	if (*text == '-') {
		buf_putc(out, '-');
		text++;
	}
	const char *e = strchr(text, 'e');
	int exponent = (int)strtol(e + 1, NULL, 10), n = 0;
	char digits[24];
	for (const char *p = text; p < e; p++)
		if (*p != '.')
			digits[n++] = *p;
	while (n > 1 && digits[n - 1] == '0')
		n--;
	if (exponent < -4 || exponent >= plain_below) {
		buf_putc(out, digits[0]);
		if (n > 1)
			buf_putc(out, '.');
		buf_put(out, digits + 1, (size_t)n - 1);
		buf_printf(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
		return;
	}
	if (exponent < 0) {
		buf_put(out, "0.000", (size_t)(1 - exponent)); /* "0." and -exponent - 1 zeros */
		buf_put(out, digits, (size_t)n);
		return;
	}
	int whole = exponent + 1 < n ? exponent + 1 : n;
	buf_put(out, digits, (size_t)whole);
	for (int i = whole; i < exponent + 1; i++)
		buf_putc(out, '0');
	if (n > whole) {
		buf_putc(out, '.');
		buf_put(out, digits + whole, (size_t)(n - whole));
	}
}

static void put_float(struct buf *out, double v, const struct kind *k)
{
	if (isnan(v) || isinf(v)) {
		buf_puts(out, isnan(v) ? "NaN" : v > 0 ? "Infinity" : "-Infinity");
		return;
	}
	if (v == 0) {
		buf_puts(out, signbit(v) ? "-0" : "0");
		return;
	}
	char text[48];
	shortest(k, v, text);
	put_decimal(out, text, k->sure);
}

void number_put_float8(struct buf *out, double v) { put_float(out, v, &kinds[0]); }
void number_put_float4(struct buf *out, double v) { put_float(out, v, &kinds[1]); }

/* ---- booleans --------------------------------------------------------------------------------------- */

int number_parse_bool(struct where_call *c, const char *p, size_t n, bool *out)
{
	static const struct { const char *word; size_t least; bool value; } words[] = {
		{"true", 1, true}, {"false", 1, false}, {"yes", 1, true}, {"no", 1, false},
		{"on", 2, true}, {"off", 2, false}, {"1", 1, true}, {"0", 1, false},
	};
	const char *end = p + n;
	trim(&p, &end);
	n = (size_t)(end - p);
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (n >= words[i].least && n <= strlen(words[i].word) && strncasecmp(p, words[i].word, n) == 0) {
			*out = words[i].value;
			return 0;
		}
	return bad_text(c, "boolean");
}
