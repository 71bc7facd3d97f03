/*
 * numeric.c - numerics: making them, order, hash, the four operations and rounding. Text and floats are in
 * numeric_text.c, roots, logarithms and the like in numeric_math.c, digits in decimal.c; numeric_rep.h says
 * how a value is held.
 */
#include "where/numeric.h"


#include "where/numeric_rep.h"

#define SMALL_LIMIT 1000000000000000000ll /* 10^18 */

static const struct numeric nan_value = {.kind = NUMERIC_NAN}, inf_value = {.kind = NUMERIC_INF},
                            neg_inf_value = {.kind = NUMERIC_NEG_INF};

/* ---- making values ---------------------------------------------------------------------------------- */

const struct numeric *numeric_special(enum numeric_kind kind)
{
	return kind == NUMERIC_NAN ? &nan_value : kind == NUMERIC_INF ? &inf_value : &neg_inf_value;
}

const struct numeric *numeric_overflow(struct where_call *c)
{
	where_fail(c, "value overflows numeric format");
	return NULL;
}

static struct numeric *fresh(struct arena *mem, enum numeric_kind kind, int32_t dscale)
{
	struct numeric *v = arena_alloc(mem, sizeof *v);
	v->kind = (uint8_t)kind;
	v->dscale = (uint16_t)dscale;
	v->e = 0;
	return v;
}

const struct numeric *numeric_small(struct arena *mem, int64_t m, int32_t e, int32_t dscale)
{
	struct numeric *v = fresh(mem, NUMERIC_SMALL, dscale);
	v->u.m = m;
	v->e = e;
	return v;
}

const struct numeric *numeric_large(struct arena *mem, struct dec v, int32_t dscale)
{
	struct numeric *r = fresh(mem, NUMERIC_LARGE, dscale);
	r->u.big = v;
	return r;
}

/* m * 10^e with |m| < 10^18: takes the trailing zeros away. */
static const struct numeric *small_stripped(struct arena *mem, int64_t m, int32_t e, int32_t dscale)
{
	if (m == 0)
		return numeric_small(mem, 0, 0, dscale);
	for (; m % 10 == 0; m /= 10)
		e++;
	return numeric_small(mem, m, e, dscale);
}

/* The same for a product or sum that may be longer; false: it is. */
static bool wide_stripped(struct arena *mem, dec_i128 m, int32_t e, int32_t dscale, const struct numeric **out)
{
	for (; m >= SMALL_LIMIT || m <= -SMALL_LIMIT; e++, m /= 10)
		if (m % 10 != 0)
			return false;
	*out = small_stripped(mem, (int64_t)m, e, dscale);
	return true;
}

const struct numeric *numeric_make(struct where_call *c, const struct dec *v, int32_t dscale)
{
	if (dscale < 0 || dscale > NUMERIC_SCALE_MAX || dec_exponent(v) > NUMERIC_EXPONENT_MAX)
		return numeric_overflow(c);
	uint64_t m;
	int32_t e;
	if (dec_is_small(v, &m, &e))
		return numeric_small(c->mem, v->neg ? -(int64_t)m : (int64_t)m, e, dscale);
	return numeric_large(c->mem, dec_copy(c->mem, v), dscale);
}

struct dec numeric_dec(const struct numeric *v, uint32_t space[DEC_SMALL_LIMBS])
{
	if (v->kind == NUMERIC_LARGE)
		return v->u.big;
	int64_t m = v->u.m;
	return dec_view(m < 0 ? (uint64_t)-m : (uint64_t)m, v->e, m < 0, space);
}

const struct numeric *numeric_from_scaled(struct arena *mem, int64_t value, int scale)
{
	if (value > -SMALL_LIMIT && value < SMALL_LIMIT)
		return small_stripped(mem, value, -scale, scale < 0 ? 0 : scale);
	const struct numeric *r;
	if (wide_stripped(mem, value, -scale, scale < 0 ? 0 : scale, &r))
		return r;
	struct dec d = dec_int(mem, value);
	uint32_t space[DEC_SMALL_LIMBS];
	struct dec unit = dec_view(1, -scale, false, space);
	return numeric_large(mem, dec_mul(mem, &d, &unit), scale < 0 ? 0 : scale);
}

const struct numeric *numeric_from_int64(struct arena *mem, int64_t v) { return numeric_from_scaled(mem, v, 0); }

const struct numeric *numeric_neg(struct arena *mem, const struct numeric *v)
{
	if (!numeric_finite(v))
		return v->kind == NUMERIC_NAN ? v : numeric_special(v->kind == NUMERIC_INF ? NUMERIC_NEG_INF : NUMERIC_INF);
	struct numeric *r = arena_dup(mem, v, sizeof *v);
	if (v->kind == NUMERIC_SMALL)
		r->u.m = -v->u.m;
	else
		r->u.big = dec_neg(v->u.big);
	return r;
}

/* Scratch for one operation: the call's arena if little is needed, else one that is given back at once. */
static struct arena *scratch_of(struct where_call *c, struct arena *own, const struct numeric *a,
                                const struct numeric *b)
{
	bool little = a->kind == NUMERIC_SMALL && b->kind == NUMERIC_SMALL;
	return little ? c->mem : own;
}

static const struct numeric *with_dscale(struct where_call *c, const struct numeric *v, int32_t dscale)
{
	if (v->dscale == dscale)
		return v;
	struct numeric *r = arena_dup(c->mem, v, sizeof *v);
	r->dscale = (uint16_t)dscale;
	return r;
}

/* ---- facts ------------------------------------------------------------------------------------------ */

bool numeric_is_nan(const struct numeric *v) { return v->kind == NUMERIC_NAN; }

bool numeric_is_inf(const struct numeric *v, int *sign)
{
	if (v->kind != NUMERIC_INF && v->kind != NUMERIC_NEG_INF)
		return false;
	if (sign != NULL)
		*sign = v->kind == NUMERIC_INF ? 1 : -1;
	return true;
}

int numeric_sign(const struct numeric *v)
{
	switch (v->kind) {
	case NUMERIC_SMALL: return (v->u.m > 0) - (v->u.m < 0);
	case NUMERIC_LARGE: return v->u.big.neg ? -1 : 1;
	case NUMERIC_INF: return 1;
	case NUMERIC_NEG_INF: return -1;
	default: return 0;
	}
}

int numeric_scale(const struct numeric *v) { return v->dscale; }

int numeric_min_scale(const struct numeric *v)
{
	if (v->kind == NUMERIC_SMALL)
		return v->e < 0 ? -v->e : 0;
	if (v->kind != NUMERIC_LARGE)
		return 0;
	const struct dec *d = &v->u.big;
	int32_t low = d->w - d->n + 1;
	if (low >= 0)
		return 0;
	int32_t scale = -low * DEC_WIDTH;
	for (uint32_t limb = d->d[d->n - 1]; limb % 10 == 0; limb /= 10)
		scale--;
	return scale;
}

bool numeric_is_integer(const struct numeric *v)
{
	switch (v->kind) {
	case NUMERIC_SMALL: return v->e >= 0;
	case NUMERIC_LARGE: return dec_is_integer(&v->u.big);
	default: return v->kind != NUMERIC_NAN;
	}
}

int32_t numeric_group4(const struct dec *v, int32_t *first)
{
	int32_t e = dec_exponent(v), group = e >= 0 ? e / 4 : -((-e + 3) / 4);
	*first = 0;
	if (v->n == 0)
		return 0;
	/* The first e - 4 group + 1 digits, from at most two limbs. */
	uint64_t top = (uint64_t)v->d[0] * DEC_BASE + (v->n > 1 ? v->d[1] : 0);
	int32_t have = e - v->w * DEC_WIDTH + 1 + DEC_WIDTH;
	*first = (int32_t)(top / dec_pow10[have - (e - 4 * group + 1)]);
	return group;
}

/* ---- order and hash --------------------------------------------------------------------------------- */

static int cmp_small(const struct numeric *a, const struct numeric *b)
{
	int64_t x = a->u.m, y = b->u.m;
	if (a->e == b->e || x == 0 || y == 0 || (x < 0) != (y < 0))
		return (x > y) - (x < y);
	int32_t up = a->e - b->e;
	if (up > SMALL_DIGITS || up < -SMALL_DIGITS) /* then one has more digits before those of the other */
		return (up > 0) == (x > 0) ? 1 : -1;
	dec_i128 wx = x, wy = y;
	if (up > 0)
		wx *= dec_pow10[up];
	else
		wy *= dec_pow10[-up];
	return (wx > wy) - (wx < wy);
}

int numeric_cmp(const struct numeric *a, const struct numeric *b)
{
	if (a->kind == NUMERIC_SMALL && b->kind == NUMERIC_SMALL)
		return cmp_small(a, b);
	if (numeric_finite(a) && numeric_finite(b)) {
		uint32_t sa[DEC_SMALL_LIMBS], sb[DEC_SMALL_LIMBS];
		struct dec x = numeric_dec(a, sa), y = numeric_dec(b, sb);
		return dec_cmp(&x, &y);
	}
	static const int8_t rank[] = {[NUMERIC_NEG_INF] = 0, [NUMERIC_SMALL] = 1, [NUMERIC_LARGE] = 1,
	                              [NUMERIC_INF] = 2, [NUMERIC_NAN] = 3};
	return (rank[a->kind] > rank[b->kind]) - (rank[a->kind] < rank[b->kind]);
}

uint64_t numeric_hash(const struct numeric *v)
{
	if (v->kind == NUMERIC_SMALL)
		return where_hash_u64((uint64_t)v->u.m ^ where_hash_u64((uint64_t)(int64_t)v->e));
	if (v->kind != NUMERIC_LARGE)
		return where_hash_u64(0x6e756d00u + v->kind);
	const struct dec *d = &v->u.big;
	uint64_t h = where_hash_bytes(d->d, (size_t)d->n * sizeof *d->d);
	return where_hash_u64(h ^ ((uint64_t)(int64_t)d->w << 1 | d->neg));
}

/* ---- integers ---------------------------------------------------------------------------------------- */

static bool small_to_int64(const struct numeric *v, int64_t *out)
{
	int64_t m = v->u.m;
	if (v->e >= 0)
		return m == 0 ? (*out = 0, true) : v->e < 19 && !__builtin_mul_overflow(m, (int64_t)dec_pow10[v->e], out);
	if (v->e < -SMALL_DIGITS) {
		*out = 0;
		return true;
	}
	int64_t unit = (int64_t)dec_pow10[-v->e], rest = m % unit;
	*out = m / unit;
	if (rest < 0 ? -rest >= unit - -rest : rest >= unit - rest)
		*out += m < 0 ? -1 : 1;
	return true;
}

/* Rounded; false if it doesn't fit. Finite values only. */
static bool to_int64(const struct numeric *v, int64_t *out)
{
	if (v->kind == NUMERIC_SMALL)
		return small_to_int64(v, out);
	if (dec_exponent(&v->u.big) > 18)
		return false;
	struct arena scratch = ARENA_INIT;
	struct dec d = dec_round(&scratch, &v->u.big, 0);
	dec_i128 x = 0;
	for (int32_t i = 0; i <= d.w && d.n > 0; i++)
		x = x * DEC_BASE + (i < d.n ? d.d[i] : 0);
	x = d.neg ? -x : x;
	arena_clear(&scratch);
	*out = (int64_t)x;
	return x >= INT64_MIN && x <= INT64_MAX;
}

int numeric_to_int(struct where_call *c, const struct numeric *v, int64_t min, int64_t max, const char *type,
                   int64_t *out)
{
	if (!numeric_finite(v))
		return where_fail(c, "cannot convert %s to %s", v->kind == NUMERIC_NAN ? "NaN" : "infinity", type);
	if (!to_int64(v, out) || *out < min || *out > max)
		return where_fail(c, "%s out of range", type);
	return 0;
}

int numeric_to_int64(struct where_call *c, const struct numeric *v, int64_t *out)
{
	return numeric_to_int(c, v, INT64_MIN, INT64_MAX, "bigint", out);
}

/* ---- sums and products ------------------------------------------------------------------------------ */

static int32_t max32(int32_t a, int32_t b) { return a > b ? a : b; }
static int32_t min32(int32_t a, int32_t b) { return a < b ? a : b; }

/* Both small, their exponents near: the sum as one integer. */
static bool add_small(struct arena *mem, const struct numeric *a, const struct numeric *b, int sign,
                      const struct numeric **out)
{
	if (a->kind != NUMERIC_SMALL || b->kind != NUMERIC_SMALL)
		return false;
	int32_t low = min32(a->e, b->e), up = max32(a->e, b->e) - low;
	if (up > SMALL_DIGITS)
		return false;
	dec_i128 x = a->u.m, y = (dec_i128)b->u.m * sign;
	if (a->e > low)
		x *= dec_pow10[up];
	else
		y *= dec_pow10[up];
	return wide_stripped(mem, x + y, low, max32(a->dscale, b->dscale), out) && 
	       (*out)->e < NUMERIC_EXPONENT_MAX - SMALL_DIGITS;
}

static const struct numeric *add_special(const struct numeric *a, const struct numeric *b, int sign)
{
	int sa = 0, sb = 0;
	if (a->kind == NUMERIC_NAN || b->kind == NUMERIC_NAN)
		return &nan_value;
	bool ia = numeric_is_inf(a, &sa), ib = numeric_is_inf(b, &sb);
	sb *= sign;
	if (ia && ib && sa != sb)
		return &nan_value;
	return (ia ? sa : sb) > 0 ? &inf_value : &neg_inf_value;
}

static const struct numeric *add(struct where_call *c, const struct numeric *a, const struct numeric *b, int sign)
{
	const struct numeric *r;
	if (add_small(c->mem, a, b, sign, &r))
		return r;
	if (!numeric_finite(a) || !numeric_finite(b))
		return add_special(a, b, sign);
	uint32_t sa[DEC_SMALL_LIMBS], sb[DEC_SMALL_LIMBS];
	struct dec x = numeric_dec(a, sa), y = numeric_dec(b, sb);
	struct arena own = ARENA_INIT, *scratch = scratch_of(c, &own, a, b);
	struct dec sum = sign > 0 ? dec_add(scratch, &x, &y) : dec_sub(scratch, &x, &y);
	r = numeric_make(c, &sum, max32(a->dscale, b->dscale));
	numeric_release(c, &own);
	return r;
}

const struct numeric *numeric_add(struct where_call *c, const struct numeric *a, const struct numeric *b)
{
	return add(c, a, b, 1);
}

const struct numeric *numeric_sub(struct where_call *c, const struct numeric *a, const struct numeric *b)
{
	return add(c, a, b, -1);
}

static const struct numeric *signed_inf(int sign) { return sign > 0 ? &inf_value : &neg_inf_value; }

const struct numeric *numeric_mul(struct where_call *c, const struct numeric *a, const struct numeric *b)
{
	if (!numeric_finite(a) || !numeric_finite(b)) {
		int sign = numeric_sign(a) * numeric_sign(b); /* 0: NaN, or zero times infinity */
		return sign == 0 ? &nan_value : signed_inf(sign);
	}
	int32_t dscale = a->dscale + b->dscale;
	const struct numeric *r;
	bool small = a->kind == NUMERIC_SMALL && b->kind == NUMERIC_SMALL && dscale <= NUMERIC_SCALE_MAX;
	if (small && wide_stripped(c->mem, (dec_i128)a->u.m * b->u.m, a->e + b->e, dscale, &r) &&
	    r->e < NUMERIC_EXPONENT_MAX - SMALL_DIGITS)
		return r;
	uint32_t sa[DEC_SMALL_LIMBS], sb[DEC_SMALL_LIMBS];
	struct dec x = numeric_dec(a, sa), y = numeric_dec(b, sb);
	if (!numeric_affords(c, dec_mul_steps(&x, &y)))
		return NULL;
	struct arena own = ARENA_INIT, *scratch = scratch_of(c, &own, a, b);
	struct dec d = dec_mul(scratch, &x, &y);
	if (dscale > NUMERIC_SCALE_MAX) {
		dscale = NUMERIC_SCALE_MAX;
		d = dec_round(scratch, &d, dscale);
	}
	r = numeric_make(c, &d, dscale);
	numeric_release(c, &own);
	return r;
}

/* ---- quotients -------------------------------------------------------------------------------------- */

int32_t numeric_div_scale(const struct dec *a, int32_t scale_a, const struct dec *b, int32_t scale_b)
{
	int32_t first_a, first_b, weight = numeric_group4(a, &first_a) - numeric_group4(b, &first_b);
	if (first_a <= first_b)
		weight--;
	int32_t scale = NUMERIC_SIG_DIGITS_MIN - weight * 4;
	return min32(max32(max32(scale, 0), max32(scale_a, scale_b)), NUMERIC_RESULT_SCALE_MAX);
}

/* What NaN, infinities and zero divisors come to, for `/` and div(); NULL with *failed, or with nothing said. */
static const struct numeric *div_special(struct where_call *c, const struct numeric *a, const struct numeric *b,
                                         bool *failed)
{
	*failed = false;
	if (a->kind == NUMERIC_NAN || b->kind == NUMERIC_NAN)
		return &nan_value;
	if (numeric_sign(b) == 0) {
		*failed = true;
		where_fail(c, "division by zero");
		return NULL;
	}
	if (!numeric_finite(a))
		return numeric_finite(b) ? signed_inf(numeric_sign(a) * numeric_sign(b)) : &nan_value;
	return numeric_finite(b) ? NULL : numeric_small(c->mem, 0, 0, 0);
}

static const struct numeric *divide(struct where_call *c, const struct numeric *a, const struct numeric *b, bool whole)
{
	bool failed;
	const struct numeric *r = div_special(c, a, b, &failed);
	if (r != NULL || failed)
		return r;
	uint32_t sa[DEC_SMALL_LIMBS], sb[DEC_SMALL_LIMBS];
	struct dec x = numeric_dec(a, sa), y = numeric_dec(b, sb);
	int32_t scale = whole ? 0 : numeric_div_scale(&x, a->dscale, &y, b->dscale);
	if (!numeric_affords(c, dec_div_steps(&x, &y, scale)))
		return NULL;
	struct arena own = ARENA_INIT, *scratch = scratch_of(c, &own, a, b);
	struct dec q = whole ? dec_div_trunc(scratch, &x, &y, 0) : dec_div_round(scratch, &x, &y, scale);
	r = numeric_make(c, &q, scale);
	numeric_release(c, &own);
	return r;
}

const struct numeric *numeric_div(struct where_call *c, const struct numeric *a, const struct numeric *b)
{
	return divide(c, a, b, false);
}

const struct numeric *numeric_div_trunc(struct where_call *c, const struct numeric *a, const struct numeric *b)
{
	return divide(c, a, b, true);
}

/* Both small: the rest of two integers of one exponent. */
static bool mod_small(struct arena *mem, const struct numeric *a, const struct numeric *b, const struct numeric **out)
{
	if (a->kind != NUMERIC_SMALL || b->kind != NUMERIC_SMALL)
		return false;
	int32_t low = min32(a->e, b->e), up = max32(a->e, b->e) - low;
	if (up > SMALL_DIGITS)
		return false;
	dec_i128 x = a->u.m, y = b->u.m;
	if (a->e > low)
		x *= dec_pow10[up];
	else
		y *= dec_pow10[up];
	return wide_stripped(mem, x % y, low, max32(a->dscale, b->dscale), out);
}

const struct numeric *numeric_mod(struct where_call *c, const struct numeric *a, const struct numeric *b)
{
	if (a->kind == NUMERIC_NAN || b->kind == NUMERIC_NAN)
		return &nan_value;
	if (numeric_sign(b) == 0) {
		where_fail(c, "division by zero");
		return NULL;
	}
	if (!numeric_finite(a))
		return &nan_value;
	if (!numeric_finite(b))
		return a;
	const struct numeric *r;
	if (mod_small(c->mem, a, b, &r))
		return r;
	uint32_t sa[DEC_SMALL_LIMBS], sb[DEC_SMALL_LIMBS];
	struct dec x = numeric_dec(a, sa), y = numeric_dec(b, sb);
	if (!numeric_affords(c, 2 * dec_div_steps(&x, &y, 0))) /* and as much for its product */
		return NULL;
	struct arena own = ARENA_INIT, *scratch = scratch_of(c, &own, a, b);
	struct dec q = dec_div_trunc(scratch, &x, &y, 0), part = dec_mul(scratch, &q, &y), rest = dec_sub(scratch, &x,
		&part);
	r = numeric_make(c, &rest, max32(a->dscale, b->dscale));
	numeric_release(c, &own);
	return r;
}

/* ---- rounding --------------------------------------------------------------------------------------- */

static const struct numeric *cut(struct where_call *c, const struct numeric *v, int32_t scale, bool round)
{
	if (!numeric_finite(v))
		return v;
	int32_t dscale = max32(scale, 0);
	if (numeric_min_scale(v) <= scale)
		return with_dscale(c, v, dscale);
	uint32_t space[DEC_SMALL_LIMBS];
	struct dec d = numeric_dec(v, space);
	struct arena own = ARENA_INIT, *scratch = scratch_of(c, &own, v, v);
	d = round ? dec_round(scratch, &d, scale) : dec_trunc(scratch, &d, scale);
	const struct numeric *r = numeric_make(c, &d, dscale);
	numeric_release(c, &own);
	return r;
}

/* Beyond these nothing changes any more, or there is no such scale. */
static int32_t clamp_scale(int32_t scale)
{
	return max32(min32(scale, NUMERIC_SCALE_MAX), -(NUMERIC_EXPONENT_MAX + 2));
}

const struct numeric *numeric_round(struct where_call *c, const struct numeric *v, int scale)
{
	return cut(c, v, clamp_scale(scale), true);
}

const struct numeric *numeric_trunc(struct where_call *c, const struct numeric *v, int scale)
{
	return cut(c, v, clamp_scale(scale), false);
}

const struct numeric *numeric_trim_scale(struct where_call *c, const struct numeric *v)
{
	return numeric_finite(v) ? with_dscale(c, v, numeric_min_scale(v)) : v;
}

static const struct numeric *whole_towards(struct where_call *c, const struct numeric *v, int away_if)
{
	const struct numeric *r = cut(c, v, 0, false);
	if (r == NULL || numeric_is_integer(v) || v->kind == NUMERIC_NAN || numeric_sign(v) != away_if)
		return r;
	struct numeric step = {.kind = NUMERIC_SMALL, .u.m = away_if};
	return numeric_add(c, r, &step);
}

const struct numeric *numeric_ceil(struct where_call *c, const struct numeric *v) { return whole_towards(c, v, 1); }
const struct numeric *numeric_floor(struct where_call *c, const struct numeric *v) { return whole_towards(c, v, -1); }

const struct numeric *numeric_apply_typmod(struct where_call *c, const struct numeric *v, int32_t typmod)
{
	if (typmod < 4 || v->kind == NUMERIC_NAN)
		return v;
	int32_t bits = typmod - 4, precision = bits >> 16 & 0xffff, scale = ((bits & 0x7ff) ^ 1024) - 1024;
	bool fits = numeric_finite(v);
	const struct numeric *r = fits ? cut(c, v, scale, true) : v;
	if (r != NULL && fits && numeric_sign(r) != 0) {
		uint32_t space[DEC_SMALL_LIMBS];
		struct dec d = numeric_dec(r, space);
		fits = dec_exponent(&d) + 1 <= precision - scale;
	}
	if (r != NULL && !fits) {
		where_fail(c, "numeric field overflow");
		return NULL;
	}
	return r;
}
