/*
 * numeric_math.c - roots, powers, exponentials and logarithms of numerics, and what is left of arithmetic.
 *
 * The exact value is rounded to a scale that follows Postgres 15's rules (its documentation promises
 * none; the rules are those of numeric.c there): at least 16 significant digits, never fewer decimals
 * than the arguments have, at most 1000. Series are summed with enough limbs beyond that for the
 * rounding to be right; Postgres adds eight digits, so the two could differ once in 10^8 values at most.
 */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "where/numeric_rep.h"

#define EXP_ARGUMENT_MAX 6000         /* of e^x, from where on it counts as infinite or nothing */
#define GROUP_WEIGHT_MAX 32767        /* of numbers in groups of four digits */
#define FACTORIAL_MAX 32177           /* the last one that a numeric holds */
#define LOG10_E 0.434294481903252
#define LN_10 2.302585092994046
#define GUARD_LIMBS 4

static int32_t max32(int32_t a, int32_t b) { return a > b ? a : b; }
static int32_t min32(int32_t a, int32_t b) { return a < b ? a : b; }
static int32_t clamp_result_scale(int32_t scale) { return min32(max32(scale, 0), NUMERIC_RESULT_SCALE_MAX); }

static const struct numeric *fail(struct where_call *c, const char *message)
{
	where_fail(c, "%s", message);
	return NULL;
}

static const struct numeric *constant(struct where_call *c, int64_t v) { return numeric_small(c->mem, v, 0, 0); }

/* Rounds, packs and gives the scratch memory back. */
static const struct numeric *finish(struct where_call *c, struct arena *scratch, struct dec v, int32_t dscale)
{
	v = dec_round(scratch, &v, dscale);
	const struct numeric *r = numeric_make(c, &v, dscale);
	numeric_release(c, scratch);
	return r;
}

static int32_t group_weight(const struct dec *v)
{
	int32_t first;
	return numeric_group4(v, &first);
}

/* ---- series ----------------------------------------------------------------------------------------- */

static struct dec mul_to(struct arena *s, const struct dec *a, const struct dec *b, int32_t limbs)
{
	struct dec r = dec_mul(s, a, b);
	return dec_limit(r, limbs);
}

static struct dec from_double(struct arena *s, double x) /* |x| < 10^6, 12 decimals */
{
	struct dec d = dec_int(s, (int64_t)(x * 1e12));
	uint32_t space[DEC_SMALL_LIMBS];
	struct dec unit = dec_view(1, -12, false, space);
	return dec_mul(s, &d, &unit);
}

static bool negligible(const struct dec *term, const struct dec *sum, int32_t limbs)
{
	return term->n == 0 || term->w < sum->w - limbs - 1;
}

/* e^x for |x| < 10^6: the series at x / 2^halvings, squared back. */
static struct dec exp_limbs(struct arena *s, const struct dec *x, int32_t limbs)
{
	struct dec one = dec_int(s, 1);
	if (x->n == 0)
		return one;
	double size = fabs(numeric_dec_to_double(x));
	int halvings = size < 0x1p-8 ? 0 : ilogb(size) + 9;
	struct dec divisor = dec_int(s, (int64_t)1 << halvings);
	struct dec r = dec_div_limbs(s, x, &divisor, limbs + 1), sum = one, term = one;
	for (int64_t i = 1; !negligible(&term, &sum, limbs); i++) {
		struct dec n = dec_int(s, i), t = mul_to(s, &term, &r, limbs);
		term = dec_div_limbs(s, &t, &n, limbs);
		sum = dec_add(s, &sum, &term);
		sum = dec_limit(sum, limbs + 1);
	}
	for (; halvings > 0; halvings--)
		sum = mul_to(s, &sum, &sum, limbs + 1);
	return sum;
}

static struct dec mul_round(struct arena *s, const struct dec *a, const struct dec *b, int32_t scale)
{
	struct dec p = dec_mul(s, a, b);
	return dec_round(s, &p, scale);
}

/*
 * Near 1 a logarithm, and near 0 an exponential, may lie half way between two results but for terms far
 * behind: what Postgres makes of those depends on how it rounds on the way. So these two take its steps,
 * each rounded to `scale`; with its eight digits more than are wanted for a logarithm.
 */
static struct dec ln_near_one(struct arena *s, const struct dec *v, int32_t scale)
{
	struct dec one = dec_int(s, 1), two = dec_int(s, 2);
	struct dec above = dec_sub(s, v, &one), below = dec_add(s, v, &one);
	struct dec sum = dec_div_round(s, &above, &below, scale + 8), power = sum;
	struct dec square = mul_round(s, &sum, &sum, scale + 8);
	for (int64_t i = 3; ; i += 2) {
		power = mul_round(s, &power, &square, scale + 8);
		struct dec n = dec_int(s, i), term = dec_div_round(s, &power, &n, scale + 8);
		if (term.n == 0)
			return mul_round(s, &sum, &two, scale);
		sum = dec_add(s, &sum, &term);
	}
}

/* 1 + x + x^2 / 2 + ... */
static struct dec exp_near_zero(struct arena *s, const struct dec *x, int32_t scale)
{
	struct dec sum = dec_int(s, 1), term = *x;
	for (int64_t i = 2; term.n > 0; i++) {
		sum = dec_add(s, &sum, &term);
		struct dec t = mul_round(s, &term, x, scale), n = dec_int(s, i);
		term = dec_div_round(s, &t, &n, scale);
	}
	return sum;
}

/* ln(v) near 1 as 2 atanh((v - 1) / (v + 1)), to that many limbs of the result. */
static struct dec ln_series(struct arena *s, const struct dec *v, int32_t limbs)
{
	struct dec one = dec_int(s, 1), two = dec_int(s, 2);
	struct dec above = dec_sub(s, v, &one), below = dec_add(s, v, &one);
	if (above.n == 0)
		return above;
	above = dec_limit(above, limbs + 2);
	below = dec_limit(below, limbs + 2);
	struct dec z = dec_div_limbs(s, &above, &below, limbs + 1), square = mul_to(s, &z, &z, limbs + 1);
	struct dec power = z, sum = z;
	for (int64_t i = 3; ; i += 2) {
		power = mul_to(s, &power, &square, limbs + 1);
		struct dec n = dec_int(s, i), term = dec_div_limbs(s, &power, &n, limbs);
		if (negligible(&term, &sum, limbs))
			break;
		sum = dec_add(s, &sum, &term);
		sum = dec_limit(sum, limbs + 1);
	}
	return dec_mul(s, &sum, &two);
}

/* Natural logarithm in floating point: of the first digits and the exponent. */
static double ln_double(const struct dec *v)
{
	double lead = 0;
	int32_t used = min32(v->n, 3);
	for (int32_t i = 0; i < used; i++)
		lead = lead * DEC_BASE + v->d[i];
	return log(lead) + (v->w - used + 1) * DEC_WIDTH * LN_10;
}

static bool near_one(const struct dec *v)
{
	uint32_t space[2][DEC_SMALL_LIMBS];
	struct dec low = dec_view(9, -1, false, space[0]), high = dec_view(11, -1, false, space[1]);
	return dec_cmp(v, &low) >= 0 && dec_cmp(v, &high) <= 0;
}

static struct dec ln_limbs(struct arena *s, const struct dec *v, int32_t limbs)
{
	/* v * e^-guess is within 10^-10 of 1 and has the rest of the logarithm. */
	struct dec guess = from_double(s, ln_double(v)), minus = dec_neg(guess);
	struct dec e = exp_limbs(s, &minus, limbs + 1), cut = dec_limit(*v, limbs + 1);
	struct dec ratio = mul_to(s, &cut, &e, limbs + 1), rest = ln_series(s, &ratio, limbs);
	return dec_add(s, &guess, &rest);
}

/* ---- e and logarithms ------------------------------------------------------------------------------- */

static int32_t limbs_for(int32_t digits) { return max32(digits, 0) / DEC_WIDTH + GUARD_LIMBS; }

/* The decimal exponent of ln(v), as Postgres estimates it: from the first two groups of four digits. */
static int32_t ln_exponent(struct arena *s, const struct dec *v)
{
	if (near_one(v)) {
		struct dec one = dec_int(s, 1), x = dec_sub(s, v, &one);
		int32_t first, group = numeric_group4(&x, &first);
		return x.n == 0 ? 0 : group * 4 + (int32_t)log10(first);
	}
	int32_t low = (group_weight(v) - 1) * 4;
	struct dec head = dec_trunc(s, v, -low);
	if (head.n == 0)
		return 0;
	struct dec whole = dec_trunc(s, v, -(low + 4));
	if (dec_cmp_abs(&whole, v) == 0) /* Postgres has one group then */
		low += 4;
	uint32_t space[DEC_SMALL_LIMBS];
	struct dec unit = dec_view(1, low, false, space), digits = dec_div_trunc(s, &head, &unit, 0);
	double ln = log(numeric_dec_to_double(&digits)) + low * LN_10;
	return (int32_t)log10(fabs(ln));
}

static struct dec ln_rounded(struct arena *s, const struct dec *v, int32_t exponent, int32_t scale)
{
	if (near_one(v))
		return ln_near_one(s, v, scale);
	struct dec r = ln_limbs(s, v, limbs_for(scale + exponent + 2));
	return dec_round(s, &r, scale);
}

const struct numeric *numeric_ln(struct where_call *c, const struct numeric *v)
{
	if (v->kind == NUMERIC_NAN)
		return v;
	int sign = numeric_sign(v);
	if (sign <= 0)
		return fail(c, sign < 0 ? "cannot take logarithm of a negative number" : "cannot take logarithm of zero");
	if (!numeric_finite(v))
		return v;
	struct arena s = ARENA_INIT;
	uint32_t space[DEC_SMALL_LIMBS];
	struct dec x = numeric_dec(v, space);
	int32_t exponent = ln_exponent(&s, &x);
	int32_t scale = clamp_result_scale(max32(NUMERIC_SIG_DIGITS_MIN - exponent, v->dscale));
	struct dec r = ln_rounded(&s, &x, exponent, scale);
	return finish(c, &s, r, scale);
}

const struct numeric *numeric_log(struct where_call *c, const struct numeric *base, const struct numeric *v)
{
	if (base->kind == NUMERIC_NAN || v->kind == NUMERIC_NAN)
		return numeric_special(NUMERIC_NAN);
	if (numeric_sign(base) < 0 || numeric_sign(v) < 0)
		return fail(c, "cannot take logarithm of a negative number");
	if (numeric_sign(base) == 0 || numeric_sign(v) == 0)
		return fail(c, "cannot take logarithm of zero");
	if (!numeric_finite(base))
		return numeric_finite(v) ? constant(c, 0) : numeric_special(NUMERIC_NAN);
	if (!numeric_finite(v))
		return v;
	struct arena s = ARENA_INIT;
	uint32_t space[2][DEC_SMALL_LIMBS];
	struct dec b = numeric_dec(base, space[0]), x = numeric_dec(v, space[1]);
	int32_t eb = ln_exponent(&s, &b), ex = ln_exponent(&s, &x);
	int32_t scale = max32(NUMERIC_SIG_DIGITS_MIN - (ex - eb), max32(base->dscale, v->dscale));
	scale = clamp_result_scale(scale);
	/* As in Postgres, so that a base too near 1 fails where it does. */
	struct dec lb = ln_rounded(&s, &b, eb, max32(scale + ex - 2 * eb + 8, 0));
	struct dec lx = ln_rounded(&s, &x, ex, max32(scale - eb + 8, 0));
	if (lb.n == 0) {
		numeric_release(c, &s);
		return fail(c, "division by zero");
	}
	return finish(c, &s, dec_div_round(&s, &lx, &lb, scale), scale);
}

/* e^x at `scale`; false: too large. What is too small is 0. */
static bool exp_rounded(struct arena *s, const struct dec *x, int32_t scale, struct dec *out)
{
	double size = numeric_dec_to_double(x);
	*out = (struct dec){0};
	if (fabs(size) >= EXP_ARGUMENT_MAX)
		return size < 0;
	int32_t digits = 1 + (int32_t)(size * LOG10_E) + scale;
	if (fabs(size) <= 0.01) {
		struct dec sum = exp_near_zero(s, x, max32(digits, 0) + 7);
		*out = dec_round(s, &sum, scale);
		return true;
	}
	struct dec cut = dec_limit(*x, limbs_for(digits) + 2), r = exp_limbs(s, &cut, limbs_for(digits));
	*out = dec_round(s, &r, scale);
	return true;
}

static int32_t exp_scale(double exponent, int32_t dscale)
{
	return clamp_result_scale(max32(NUMERIC_SIG_DIGITS_MIN - (int32_t)exponent, dscale));
}

const struct numeric *numeric_exp(struct where_call *c, const struct numeric *v)
{
	if (v->kind == NUMERIC_NEG_INF)
		return constant(c, 0);
	if (!numeric_finite(v))
		return v;
	struct arena s = ARENA_INIT;
	uint32_t space[DEC_SMALL_LIMBS];
	struct dec x = numeric_dec(v, space), r;
	double exponent = numeric_dec_to_double(&x) * LOG10_E;
	exponent = fmin(fmax(exponent, -2 * NUMERIC_RESULT_SCALE_MAX), 2 * NUMERIC_RESULT_SCALE_MAX);
	int32_t scale = exp_scale(exponent, v->dscale);
	if (exp_rounded(&s, &x, scale, &r))
		return finish(c, &s, r, scale);
	numeric_release(c, &s);
	return numeric_overflow(c);
}

/* ---- roots and powers ------------------------------------------------------------------------------- */

const struct numeric *numeric_sqrt(struct where_call *c, const struct numeric *v)
{
	if (v->kind == NUMERIC_NAN || v->kind == NUMERIC_INF)
		return v;
	if (numeric_sign(v) < 0)
		return fail(c, "cannot take square root of a negative number");
	uint32_t space[DEC_SMALL_LIMBS];
	struct dec x = numeric_dec(v, space);
	int32_t scale = clamp_result_scale(max32(NUMERIC_SIG_DIGITS_MIN - (2 * group_weight(&x) + 1), v->dscale));
	int64_t limbs = x.w + 1 + 2 * (scale / DEC_WIDTH + 1); /* of the integer whose root is taken, by some divisions by half as many */
	if (!numeric_affords(c, limbs > 0 ? (uint64_t)(limbs * limbs) : 0))
		return NULL;
	struct arena s = ARENA_INIT;
	struct dec r = dec_sqrt(&s, &x, scale);
	return finish(c, &s, r, scale);
}

/* log10 of |v|, from its first four groups of four digits. */
static double log10_estimate(struct arena *s, const struct dec *v)
{
	int32_t low = (group_weight(v) - 3) * 4;
	struct dec head = dec_trunc(s, v, -low);
	uint32_t space[DEC_SMALL_LIMBS];
	struct dec unit = dec_view(1, low, false, space), digits = dec_div_trunc(s, &head, &unit, 0);
	return log10(fabs(numeric_dec_to_double(&digits))) + low;
}

/* Postgres rounds the steps of a power to scales of its own; the result shows them only where its guard
 * digits run out, which is why they are the same here. */
struct factor { struct dec v; int32_t dscale; };

static struct factor mul_scaled(struct arena *s, const struct factor *a, const struct factor *b, int32_t scale)
{
	scale = max32(min32(scale, a->dscale + b->dscale), 0);
	struct dec p = dec_mul(s, &a->v, &b->v);
	return (struct factor){dec_round(s, &p, scale), scale};
}

enum power_end { POWER_OK, POWER_TOO_LARGE, POWER_ZERO_DIVISOR, POWER_TOO_COSTLY };

/* A product of two hundred thousand digits takes longer than all that may be done: it is counted before. */
static bool affords_product(const struct arena *done, const struct arena *next, uint64_t most, const struct factor *a, const struct factor *b)
{
	uint64_t spent = done->work + next->work;
	return spent <= most && dec_mul_steps(&a->v, &b->v) <= most - spent;
}

/* `most`: steps in all. */
static enum power_end power_loop(struct arena *s, struct factor base, int64_t n, int32_t digits, int32_t scale, uint64_t most,
                                 struct dec *out)
{
	uint64_t mask = n < 0 ? (uint64_t)-n : (uint64_t)n;
	struct factor r = (mask & 1) != 0 ? base : (struct factor){dec_int(s, 1), 0};
	while ((mask >>= 1) > 0) {
		struct arena next = ARENA_INIT;
		if (!affords_product(s, &next, most, &base, &base))
			return POWER_TOO_COSTLY;
		struct factor square = mul_scaled(&next, &base, &base, digits - 8 * group_weight(&base.v));
		if ((mask & 1) && !affords_product(s, &next, most, &square, &r)) {
			arena_clear(&next);
			return POWER_TOO_COSTLY;
		}
		if (mask & 1)
			r = mul_scaled(&next, &square, &r, digits - 4 * (group_weight(&square.v) + group_weight(&r.v)));
		base = square;
		base.v = dec_copy(s, &base.v);
		r.v = dec_copy(s, &r.v);
		s->work += next.work;
		arena_clear(&next);
		if (group_weight(&base.v) > GROUP_WEIGHT_MAX || group_weight(&r.v) > GROUP_WEIGHT_MAX) {
			*out = (struct dec){0};
			return n < 0 ? POWER_OK : POWER_TOO_LARGE;
		}
	}
	if (n >= 0) {
		*out = dec_round(s, &r.v, scale);
		return POWER_OK;
	}
	if (r.v.n == 0)
		return POWER_ZERO_DIVISOR;
	struct dec one = dec_int(s, 1);
	*out = dec_div_round(s, &one, &r.v, scale);
	return POWER_OK;
}

static enum power_end power_int(struct arena *s, const struct dec *base, int32_t dscale, int64_t n, int32_t scale, uint64_t most,
                                struct dec *out)
{
	if (n == 0) {
		*out = dec_int(s, 1);
		return POWER_OK;
	}
	if (base->n == 0) {
		*out = *base;
		return n < 0 ? POWER_ZERO_DIVISOR : POWER_OK;
	}
	struct factor b = {*base, dscale};
	if (n == 1 || n == 2 || n == -1)
		return power_loop(s, b, n, 1 << 20, scale, most, out); /* exact */
	double f = (double)n * log10_estimate(s, base);
	if (f > 3.0 * GROUP_WEIGHT_MAX * 4)
		return POWER_TOO_LARGE;
	if (f + 1 < -scale || f + 1 < -NUMERIC_RESULT_SCALE_MAX) {
		*out = (struct dec){0};
		return POWER_OK;
	}
	int32_t digits = 1 + scale + (int32_t)f + (int32_t)log(fabs((double)n)) + 8;
	return power_loop(s, b, n, digits, scale, most, out);
}

static const struct numeric *power_whole(struct where_call *c, const struct numeric *base, int64_t n)
{
	struct arena s = ARENA_INIT;
	uint32_t space[DEC_SMALL_LIMBS];
	struct dec b = numeric_dec(base, space), r;
	int32_t scale = clamp_result_scale(max32(NUMERIC_SIG_DIGITS_MIN, base->dscale));
	enum power_end end = power_int(&s, &b, base->dscale, n, scale, where_work_left(c), &r);
	if (end == POWER_OK)
		return finish(c, &s, r, scale);
	numeric_release(c, &s);
	if (end == POWER_TOO_COSTLY) {
		(void)where_too_costly(c);
		return NULL;
	}
	return end == POWER_TOO_LARGE ? numeric_overflow(c) : fail(c, "division by zero");
}

/* e^(exponent * ln(base)) for a base > 0. */
static const struct numeric *power_real(struct where_call *c, const struct numeric *base,
                                        const struct numeric *exponent, bool neg)
{
	struct arena s = ARENA_INIT;
	uint32_t space[2][DEC_SMALL_LIMBS];
	struct dec b = numeric_dec(base, space[0]), x = numeric_dec(exponent, space[1]), r;
	b.neg = false;
	/* A first estimate of the result's exponent, from eight digits. */
	int32_t e = ln_exponent(&s, &b), first_scale = max32(8 - e, 0);
	struct dec ln = ln_rounded(&s, &b, e, first_scale), product = dec_mul(&s, &ln, &x);
	product = dec_round(&s, &product, first_scale);
	double value = numeric_dec_to_double(&product);
	if (fabs(value) > EXP_ARGUMENT_MAX * 1.003333333333333333) {
		numeric_release(c, &s);
		return value > 0 ? numeric_overflow(c) : numeric_small(c->mem, 0, 0, NUMERIC_RESULT_SCALE_MAX);
	}
	value *= LOG10_E;
	int32_t scale = exp_scale(value, max32(base->dscale, exponent->dscale));
	int32_t local = max32(max32(scale + (int32_t)value, 0) - e + 8, 0);
	ln = ln_rounded(&s, &b, e, local);
	product = dec_mul(&s, &ln, &x);
	product = dec_round(&s, &product, local);
	if (!exp_rounded(&s, &product, scale, &r)) {
		numeric_release(c, &s);
		return numeric_overflow(c);
	}
	return finish(c, &s, neg ? dec_neg(r) : r, scale);
}

static bool is_one(const struct numeric *v, int64_t one)
{
	return v->kind == NUMERIC_SMALL && v->u.m == one && v->e == 0;
}

static bool is_odd(const struct numeric *v)
{
	if (!numeric_finite(v) || !numeric_is_integer(v))
		return false;
	uint32_t space[DEC_SMALL_LIMBS];
	struct dec d = numeric_dec(v, space);
	return dec_is_odd(&d);
}

/* POSIX's pow() where NaN or an infinity is involved; the arguments have passed the checks on signs. */
static const struct numeric *power_special(struct where_call *c, const struct numeric *x, const struct numeric *y)
{
	if (is_one(x, 1) || numeric_sign(y) == 0)
		return constant(c, 1);
	if (numeric_sign(x) == 0)
		return constant(c, 0);
	if (!numeric_finite(y)) {
		if (is_one(x, -1))
			return constant(c, 1);
		struct numeric one = {.kind = NUMERIC_SMALL, .u.m = 1}, minus = {.kind = NUMERIC_SMALL, .u.m = -1};
		bool large = numeric_cmp(x, &one) > 0 || numeric_cmp(x, &minus) < 0;
		return large == (numeric_sign(y) > 0) ? numeric_special(NUMERIC_INF) : constant(c, 0);
	}
	if (numeric_sign(y) < 0)
		return constant(c, 0);
	return numeric_special(x->kind == NUMERIC_NEG_INF && is_odd(y) ? NUMERIC_NEG_INF : NUMERIC_INF);
}

const struct numeric *numeric_power(struct where_call *c, const struct numeric *base, const struct numeric *exponent)
{
	if (base->kind == NUMERIC_NAN || exponent->kind == NUMERIC_NAN) {
		bool one = is_one(base, 1) || (exponent->kind == NUMERIC_SMALL && exponent->u.m == 0);
		return one ? constant(c, 1) : numeric_special(NUMERIC_NAN);
	}
	if (numeric_sign(base) == 0 && numeric_sign(exponent) < 0)
		return fail(c, "zero raised to a negative power is undefined");
	if (numeric_sign(base) < 0 && !numeric_is_integer(exponent))
		return fail(c, "a negative number raised to a non-integer power yields a complex result");
	if (!numeric_finite(base) || !numeric_finite(exponent))
		return power_special(c, base, exponent);
	int64_t n;
	struct where_call probe = *c; /* for its own reason */
	if (numeric_is_integer(exponent) && numeric_to_int(&probe, exponent, INT32_MIN, INT32_MAX, "integer", &n) == 0)
		return power_whole(c, base, n);
	if (numeric_sign(base) == 0)
		return numeric_small(c->mem, 0, 0, NUMERIC_SIG_DIGITS_MIN);
	return power_real(c, base, exponent, numeric_sign(base) < 0 && is_odd(exponent));
}

/* ---- integers --------------------------------------------------------------------------------------- */

/*
 * Euclid's steps are about twice as many as the smaller number has digits, each as long as it. Limited, so
 * that a client can't have that done with a hundred thousand digits in every row.
 */
#define GCD_LIMBS_MAX 400

static bool gcd(struct where_call *c, struct arena *s, struct dec a, struct dec b, struct dec *out)
{
	int32_t low = min32(a.w - a.n, b.w - b.n);
	if (min32(a.w, b.w) - low > GCD_LIMBS_MAX) {
		where_fail(c, "too many digits for a greatest common divisor");
		return false;
	}
	a.neg = b.neg = false;
	struct arena step[2] = {ARENA_INIT, ARENA_INIT}; /* the numbers at hand are in one of them */
	bool affordable = true;
	for (int k = 0; b.n > 0 && affordable; k = 1 - k) {
		struct arena *mem = &step[k];
		affordable = step[0].work + step[1].work <= where_work_left(c);
		struct dec q = dec_div_trunc(mem, &a, &b, 0), part = dec_mul(mem, &q, &b), rest = dec_sub(mem, &a, &part);
		a = dec_copy(mem, &b);
		b = dec_copy(mem, &rest);
		arena_reset(&step[1 - k]);
	}
	*out = dec_copy(s, &a);
	numeric_release(c, &step[0]);
	numeric_release(c, &step[1]);
	return affordable || where_too_costly(c) == 0;
}

const struct numeric *numeric_gcd(struct where_call *c, const struct numeric *a, const struct numeric *b)
{
	if (!numeric_finite(a) || !numeric_finite(b))
		return numeric_special(NUMERIC_NAN);
	struct arena s = ARENA_INIT;
	uint32_t space[2][DEC_SMALL_LIMBS];
	struct dec d;
	if (!gcd(c, &s, numeric_dec(a, space[0]), numeric_dec(b, space[1]), &d)) {
		arena_clear(&s);
		return NULL;
	}
	return finish(c, &s, d, max32(a->dscale, b->dscale));
}

const struct numeric *numeric_lcm(struct where_call *c, const struct numeric *a, const struct numeric *b)
{
	if (!numeric_finite(a) || !numeric_finite(b))
		return numeric_special(NUMERIC_NAN);
	struct arena s = ARENA_INIT;
	uint32_t space[2][DEC_SMALL_LIMBS];
	struct dec x = numeric_dec(a, space[0]), y = numeric_dec(b, space[1]), r = {0}, d;
	if (x.n > 0 && y.n > 0) {
		if (!gcd(c, &s, x, y, &d)) {
			arena_clear(&s);
			return NULL;
		}
		struct dec q = x;
		bool affordable = numeric_affords(c, dec_div_steps(&x, &d, 0));
		if (affordable) {
			q = dec_div_trunc(&s, &x, &d, 0);
			affordable = numeric_affords(c, dec_mul_steps(&q, &y));
		}
		if (!affordable) {
			numeric_release(c, &s);
			return NULL;
		}
		r = dec_mul(&s, &q, &y);
		r.neg = false;
	}
	return finish(c, &s, r, max32(a->dscale, b->dscale));
}

/* 2 * 3 * ... * n, in place. */
const struct numeric *numeric_factorial(struct where_call *c, int64_t n)
{
	if (n < 0)
		return fail(c, "factorial of a negative number is undefined");
	if (n > FACTORIAL_MAX)
		return numeric_overflow(c);
	if (where_spend(c, (uint64_t)(n * n / 2)) != 0)
		return NULL;
	int32_t cap = (int32_t)(n / 2) + 2, at = cap - 1; /* fewer than 4.5 digits for each factor */
	struct dec v = {false, 0, 0, mem_zalloc((size_t)cap * sizeof(uint32_t))};
	v.d[at] = 1;
	for (uint64_t k = 2; k <= (uint64_t)n; k++) {
		uint64_t carry = 0;
		for (int32_t i = cap - 1; i >= at; i--) {
			uint64_t t = v.d[i] * k + carry;
			v.d[i] = (uint32_t)(t % DEC_BASE);
			carry = t / DEC_BASE;
		}
		if (carry > 0)
			v.d[--at] = (uint32_t)carry;
	}
	struct dec r = dec_strip((struct dec){false, cap - 1 - at, cap - at, v.d + at});
	const struct numeric *out = numeric_make(c, &r, 0);
	free(v.d);
	return out;
}

int numeric_width_bucket(struct where_call *c, const struct numeric *v, const struct numeric *low,
                         const struct numeric *high, int32_t count, int32_t *out)
{
	if (count <= 0)
		return where_fail(c, "count must be greater than zero");
	if (v->kind == NUMERIC_NAN || low->kind == NUMERIC_NAN || high->kind == NUMERIC_NAN)
		return where_fail(c, "operand, lower bound, and upper bound cannot be NaN");
	if (!numeric_finite(low) || !numeric_finite(high))
		return where_fail(c, "lower and upper bounds must be finite");
	int order = numeric_cmp(low, high);
	if (order == 0)
		return where_fail(c, "lower bound cannot equal upper bound");
	if (numeric_cmp(v, low) * order > 0) {
		*out = 0;
		return 0;
	}
	if (numeric_cmp(v, high) * order <= 0) {
		if (count == INT32_MAX)
			return where_fail(c, "integer out of range");
		*out = count + 1;
		return 0;
	}
	struct arena s = ARENA_INIT;
	uint32_t space[3][DEC_SMALL_LIMBS];
	struct dec x = numeric_dec(v, space[0]), from = numeric_dec(low, space[1]), to = numeric_dec(high, space[2]);
	struct dec n = dec_int(&s, count), width = dec_sub(&s, &to, &from), part = dec_sub(&s, &x, &from);
	part = dec_mul(&s, &part, &n);
	/* Postgres 15 rounds the quotient, which may lift it to the next bucket, even to count + 1. */
	int32_t dscale = max32(v->dscale, low->dscale), scale = numeric_div_scale(&part, dscale, &width,
		max32(low->dscale, high->dscale));
	struct dec q = dec_div_round(&s, &part, &width, scale), whole = dec_trunc(&s, &q, 0);
	int64_t bucket = (int64_t)numeric_dec_to_double(&whole) + 1;
	numeric_release(c, &s);
	*out = (int32_t)bucket;
	return bucket > INT32_MAX ? where_fail(c, "integer out of range") : 0;
}
