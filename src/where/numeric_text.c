/* numeric_text.c - numerics from and to text and floats. See numeric.h; numeric.c has the rest. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "where/numeric_rep.h"

#define EXPONENT_MAX (INT32_MAX / 2) /* written exponents from here on are refused */

/* ---- reading ------------------------------------------------------------------------------------------------ */

static bool is_blank(char ch) { return ch == ' ' || (ch >= '\t' && ch <= '\r'); }
static bool is_digit(char ch) { return ch >= '0' && ch <= '9'; }

static const struct numeric *bad_text(struct where_call *c)
{
	where_fail(c, "invalid input syntax for type numeric");
	return NULL;
}

static const struct numeric *parse_special(const char *p, size_t n)
{
	static const struct { const char *name; enum numeric_kind kind; } names[] = {
		{"nan", NUMERIC_NAN}, {"infinity", NUMERIC_INF}, {"+infinity", NUMERIC_INF}, {"-infinity", NUMERIC_NEG_INF},
		{"inf", NUMERIC_INF}, {"+inf", NUMERIC_INF}, {"-inf", NUMERIC_NEG_INF},
	};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strlen(names[i].name) == n && strncasecmp(names[i].name, p, n) == 0)
			return numeric_special(names[i].kind);
	return NULL;
}

/* Digits as they are written, and where the point is. */
struct digits {
	bool neg;
	const char *p;   /* the first digit or the point */
	size_t n;        /* bytes, the point included */
	int64_t point;   /* digits after the point, less the exponent: the value is digits * 10^-point */
	int64_t dscale;
};

/* C's strtol(), which Postgres uses here: blanks and a sign may come first. */
static const char *read_exponent(const char *p, const char *end, int64_t *out)
{
	while (p < end && is_blank(*p))
		p++;
	bool neg = p < end && *p == '-';
	if (p < end && (*p == '-' || *p == '+'))
		p++;
	if (p >= end || !is_digit(*p))
		return NULL;
	int64_t x = 0;
	for (; p < end && is_digit(*p); p++)
		x = x < INT32_MAX ? x * 10 + (*p - '0') : x;
	if (x >= EXPONENT_MAX)
		return NULL;
	*out = neg ? -x : x;
	return p;
}

static bool scan(const char *p, const char *end, struct digits *d)
{
	d->neg = p < end && *p == '-';
	if (p < end && (*p == '-' || *p == '+'))
		p++;
	d->p = p;
	const char *point = NULL;
	for (; p < end && (is_digit(*p) || (*p == '.' && point == NULL)); p++)
		if (*p == '.')
			point = p;
	d->n = (size_t)(p - d->p);
	if (d->n == (point != NULL))
		return false;
	int64_t after = point != NULL ? p - point - 1 : 0, exponent = 0;
	if (p < end && (*p == 'e' || *p == 'E')) {
		p = read_exponent(p + 1, end, &exponent);
		if (p == NULL)
			return false;
	}
	d->point = after - exponent;
	d->dscale = d->point < 0 ? 0 : d->point;
	return p == end;
}

/* Up to 18 digits after taking zeros away at both ends. */
static bool small_digits(const struct digits *d, int64_t *m, int64_t *e)
{
	uint64_t x = 0;
	int32_t used = 0, zeros = 0;
	for (const char *p = d->p, *end = d->p + d->n; p < end; p++) {
		if (*p == '.')
			continue;
		if (*p == '0') {
			zeros += x != 0;
			continue;
		}
		used += zeros + 1;
		if (used > SMALL_DIGITS)
			return false;
		x = x * dec_pow10[zeros + 1] + (uint64_t)(*p - '0');
		zeros = 0;
	}
	*m = d->neg ? -(int64_t)x : (int64_t)x;
	*e = x == 0 ? 0 : zeros - d->point;
	return true;
}

static const struct numeric *parse_large(struct where_call *c, const struct digits *d)
{
	/* Limbs from the last digit, which is worth 10^-point, to the first. */
	int64_t low = -d->point >= 0 ? -d->point / DEC_WIDTH : -((d->point + DEC_WIDTH - 1) / DEC_WIDTH);
	int32_t shift = (int32_t)(-d->point - low * DEC_WIDTH);
	size_t limbs = (d->n + DEC_WIDTH) / DEC_WIDTH + 1;
	struct dec v = {d->neg, 0, (int32_t)limbs, arena_alloc(c->mem, limbs * sizeof(uint32_t))};
	memset(v.d, 0, limbs * sizeof(uint32_t));
	size_t at = limbs - 1;
	for (const char *p = d->p + d->n; p > d->p;) {
		if (*--p == '.')
			continue;
		v.d[at] += (uint32_t)(*p - '0') * (uint32_t)dec_pow10[shift];
		if (++shift == DEC_WIDTH) {
			shift = 0;
			at--;
		}
	}
	v.w = (int32_t)(low + (int64_t)limbs - 1);
	v = dec_strip(v);
	if (dec_exponent(&v) > NUMERIC_EXPONENT_MAX)
		return numeric_overflow(c);
	return numeric_large(c->mem, v, (int32_t)d->dscale);
}

const struct numeric *numeric_parse(struct where_call *c, const char *p, size_t n)
{
	const char *end = p + n;
	while (p < end && is_blank(*p))
		p++;
	while (p < end && is_blank(end[-1]))
		end--;
	struct digits d;
	if (!scan(p, end, &d)) {
		const struct numeric *special = parse_special(p, (size_t)(end - p));
		return special != NULL ? special : bad_text(c);
	}
	int64_t m, e;
	bool small = small_digits(&d, &m, &e);
	if (d.dscale > NUMERIC_SCALE_MAX)
		return numeric_overflow(c);
	if (!small)
		return parse_large(c, &d);
	uint64_t size = (uint64_t)(m < 0 ? -m : m);
	if (e > NUMERIC_EXPONENT_MAX - SMALL_DIGITS &&
	    (e > NUMERIC_EXPONENT_MAX || size >= dec_pow10[NUMERIC_EXPONENT_MAX - e + 1]))
		return numeric_overflow(c);
	return numeric_small(c->mem, m, (int32_t)e, (int32_t)d.dscale);
}

/* ---- writing ------------------------------------------------------------------------------------------------ */

static size_t digits_of_u64(uint64_t x, char text[20])
{
	char rev[20];
	size_t n = 0;
	do
		rev[n++] = (char)('0' + x % 10);
	while ((x /= 10) > 0);
	for (size_t i = 0; i < n; i++)
		text[i] = rev[n - 1 - i];
	return n;
}

/* All digits of the limbs, the first one not zero; `text` has room for nine of each. */
static size_t digits_of_limbs(const struct dec *v, char *text)
{
	char first[20];
	size_t n = digits_of_u64(v->d[0], first);
	memcpy(text, first, n);
	for (int32_t i = 1; i < v->n; i++) {
		uint32_t limb = v->d[i];
		for (int k = DEC_WIDTH - 1; k >= 0; k--, limb /= 10)
			text[n + (size_t)k] = (char)('0' + limb % 10);
		n += DEC_WIDTH;
	}
	return n;
}

static char *put_zeros(char *to, size_t n)
{
	memset(to, '0', n);
	return to + n;
}

static char *put_digits(char *to, const char *digits, size_t n)
{
	memcpy(to, digits, n);
	return to + n;
}

/* digits * 10^e with `dscale` digits after the point, of which the given digits may be fewer or more. */
static void put_number(struct buf *out, bool neg, const char *digits, size_t n, int32_t e, size_t dscale)
{
	size_t whole = (int64_t)n + e > 0 ? (size_t)((int64_t)n + e) : 0;
	char *start = buf_room(out, whole + dscale + 3), *to = start;
	if (to == NULL)
		return;
	if (neg)
		*to++ = '-';
	if (whole == 0)
		*to++ = '0';
	size_t lead = whole < n ? whole : n;
	to = put_digits(to, digits, lead);
	to = put_zeros(to, whole - lead);
	if (dscale > 0) {
		*to++ = '.';
		size_t before = whole == 0 ? (size_t)(-e - (int64_t)n) : 0;
		before = before < dscale ? before : dscale;
		size_t rest = n - lead < dscale - before ? n - lead : dscale - before;
		to = put_zeros(to, before);
		to = put_digits(to, digits + lead, rest);
		to = put_zeros(to, dscale - before - rest);
	}
	buf_added(out, (size_t)(to - start));
}

void numeric_format(const struct numeric *v, struct buf *out)
{
	char text[20];
	switch (v->kind) {
	case NUMERIC_NAN: buf_puts(out, "NaN"); return;
	case NUMERIC_INF: buf_puts(out, "Infinity"); return;
	case NUMERIC_NEG_INF: buf_puts(out, "-Infinity"); return;
	case NUMERIC_SMALL: {
		if (v->u.m == 0) {
			put_number(out, false, "", 0, 0, v->dscale);
			return;
		}
		size_t n = digits_of_u64((uint64_t)(v->u.m < 0 ? -v->u.m : v->u.m), text);
		put_number(out, v->u.m < 0, text, n, v->e, v->dscale);
		return;
	}
	default: {
		const struct dec *d = &v->u.big;
		char *digits = mem_alloc((size_t)d->n * DEC_WIDTH);
		size_t n = digits_of_limbs(d, digits);
		put_number(out, d->neg, digits, n, (d->w - d->n + 1) * DEC_WIDTH, v->dscale);
		free(digits);
	}
	}
}

/* ---- floats ------------------------------------------------------------------------------------------------- */

/* The digits as C reads them, "-123e-5", on the heap. */
static char *text_for_c(const struct numeric *v)
{
	uint32_t space[DEC_SMALL_LIMBS];
	struct dec d = numeric_dec(v, space);
	size_t cap = (size_t)d.n * DEC_WIDTH + 24, n = 0;
	char *text = mem_alloc(cap);
	if (d.n == 0)
		text[n++] = '0';
	else {
		text[0] = '-';
		n = d.neg;
		n += digits_of_limbs(&d, text + n);
	}
	snprintf(text + n, cap - n, "e%d", (int)((d.w - d.n + 1) * DEC_WIDTH));
	return text;
}

static double to_double(const struct numeric *v)
{
	static const double exact[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14,
	                               1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
	if (v->kind == NUMERIC_SMALL && v->u.m < (1ll << 53) && v->u.m > -(1ll << 53)) {
		double m = (double)v->u.m;
		if (v->e == 0)
			return m;
		if (v->e < 0 && v->e >= -22) /* one rounding, of exact operands */
			return m / exact[-v->e];
		if (v->e > 0 && v->e <= 22)
			return m * exact[v->e];
	}
	char *text = text_for_c(v);
	double x = strtod(text, NULL);
	free(text);
	return x;
}

double numeric_dec_to_double(const struct dec *v)
{
	struct numeric whole = {.kind = NUMERIC_LARGE, .u.big = *v};
	return v->n == 0 ? 0 : to_double(&whole);
}

static bool special_to_double(const struct numeric *v, double *out)
{
	if (numeric_finite(v))
		return false;
	*out = v->kind == NUMERIC_NAN ? (double)NAN : v->kind == NUMERIC_INF ? (double)INFINITY : -(double)INFINITY;
	return true;
}

int numeric_to_double(struct where_call *c, const struct numeric *v, double *out)
{
	if (special_to_double(v, out))
		return 0;
	*out = to_double(v);
	if (isinf(*out) || (*out == 0 && numeric_sign(v) != 0))
		return where_fail(c, "value is out of range for type double precision");
	return 0;
}

int numeric_to_float(struct where_call *c, const struct numeric *v, double *out)
{
	if (special_to_double(v, out))
		return 0;
	char *text = text_for_c(v);
	*out = (double)strtof(text, NULL);
	free(text);
	if (isinf(*out) || (*out == 0 && numeric_sign(v) != 0))
		return where_fail(c, "value is out of range for type real");
	return 0;
}

const struct numeric *numeric_from_double(struct where_call *c, double v, int digits)
{
	if (isnan(v))
		return numeric_special(NUMERIC_NAN);
	if (isinf(v))
		return numeric_special(v > 0 ? NUMERIC_INF : NUMERIC_NEG_INF);
	char text[64];
	int n = snprintf(text, sizeof text, "%.*g", digits, v);
	return numeric_parse(c, text, (size_t)n);
}
