/* fn_numeric.c - numeric.h's functions in the form that conditions call. The table is in fn_number.c. */
#include "where/fn_numeric.h"

#define UNUSED __attribute__((unused))
#define FN(name) int fn_##name(struct where_call *c UNUSED, const struct where_value *args, struct where_value *out)
#define NUM(k) (args[k].u.numeric)

static int set(struct where_value *out, const struct numeric *v)
{
	if (v == NULL)
		return -1;
	*out = (struct where_value){.u.numeric = v, .is = WHERE_VALUE};
	return 0;
}

static int set_int(struct where_value *out, int64_t v)
{
	*out = where_int(v);
	return 0;
}

FN(numeric_eq) { return set_int(out, numeric_cmp(NUM(0), NUM(1)) == 0); }
FN(numeric_ne) { return set_int(out, numeric_cmp(NUM(0), NUM(1)) != 0); }
FN(numeric_lt) { return set_int(out, numeric_cmp(NUM(0), NUM(1)) < 0); }
FN(numeric_le) { return set_int(out, numeric_cmp(NUM(0), NUM(1)) <= 0); }
FN(numeric_gt) { return set_int(out, numeric_cmp(NUM(0), NUM(1)) > 0); }
FN(numeric_ge) { return set_int(out, numeric_cmp(NUM(0), NUM(1)) >= 0); }
FN(numeric_cmp) { return set_int(out, numeric_cmp(NUM(0), NUM(1))); }

FN(numeric_add) { return set(out, numeric_add(c, NUM(0), NUM(1))); }
FN(numeric_sub) { return set(out, numeric_sub(c, NUM(0), NUM(1))); }
FN(numeric_mul) { return set(out, numeric_mul(c, NUM(0), NUM(1))); }
FN(numeric_div) { return set(out, numeric_div(c, NUM(0), NUM(1))); }
FN(numeric_mod) { return set(out, numeric_mod(c, NUM(0), NUM(1))); }
FN(numeric_div_trunc) { return set(out, numeric_div_trunc(c, NUM(0), NUM(1))); }
FN(numeric_inc) { return set(out, numeric_add(c, NUM(0), numeric_from_int64(c->mem, 1))); }

FN(numeric_uplus) { return set(out, NUM(0)); }
FN(numeric_uminus) { return set(out, numeric_neg(c->mem, NUM(0))); }
FN(numeric_abs) { return set(out, numeric_sign(NUM(0)) < 0 ? numeric_neg(c->mem, NUM(0)) : NUM(0)); }
FN(numeric_sign)
{
	return set(out, numeric_is_nan(NUM(0)) ? NUM(0) : numeric_from_int64(c->mem, numeric_sign(NUM(0))));
}
FN(numeric_larger) { return set(out, numeric_cmp(NUM(0), NUM(1)) > 0 ? NUM(0) : NUM(1)); }
FN(numeric_smaller) { return set(out, numeric_cmp(NUM(0), NUM(1)) < 0 ? NUM(0) : NUM(1)); }

FN(numeric_round) { return set(out, numeric_round(c, NUM(0), (int32_t)args[1].u.i)); }
FN(numeric_trunc) { return set(out, numeric_trunc(c, NUM(0), (int32_t)args[1].u.i)); }
FN(round) { return set(out, numeric_round(c, NUM(0), 0)); }
FN(trunc) { return set(out, numeric_trunc(c, NUM(0), 0)); }
FN(numeric_ceil) { return set(out, numeric_ceil(c, NUM(0))); }
FN(numeric_floor) { return set(out, numeric_floor(c, NUM(0))); }

FN(numeric_sqrt) { return set(out, numeric_sqrt(c, NUM(0))); }
FN(numeric_exp) { return set(out, numeric_exp(c, NUM(0))); }
FN(numeric_ln) { return set(out, numeric_ln(c, NUM(0))); }
FN(numeric_log) { return set(out, numeric_log(c, NUM(0), NUM(1))); }
FN(log) { return set(out, numeric_log(c, numeric_from_int64(c->mem, 10), NUM(0))); }
FN(log10) { return fn_log(c, args, out); }
FN(numeric_power) { return set(out, numeric_power(c, NUM(0), NUM(1))); }
FN(numeric_gcd) { return set(out, numeric_gcd(c, NUM(0), NUM(1))); }
FN(numeric_lcm) { return set(out, numeric_lcm(c, NUM(0), NUM(1))); }
FN(numeric_fac) { return set(out, numeric_factorial(c, args[0].u.i)); }
FN(width_bucket_numeric)
{
	int32_t bucket;
	if (numeric_width_bucket(c, NUM(0), NUM(1), NUM(2), (int32_t)args[3].u.i, &bucket) < 0)
		return -1;
	return set_int(out, bucket);
}

/* NaN and infinities have no scale: NULL. */
static int scale_or_null(const struct numeric *v, int scale, struct where_value *out)
{
	if (!numeric_is_nan(v) && !numeric_is_inf(v, NULL))
		return set_int(out, scale);
	*out = where_null();
	return 0;
}
FN(numeric_scale) { return scale_or_null(NUM(0), numeric_scale(NUM(0)), out); }
FN(numeric_min_scale) { return scale_or_null(NUM(0), numeric_min_scale(NUM(0)), out); }
FN(numeric_trim_scale) { return set(out, numeric_trim_scale(c, NUM(0))); }
FN(numeric) { return set(out, numeric_apply_typmod(c, NUM(0), (int32_t)args[1].u.i)); }

FN(int2_numeric) { return set(out, numeric_from_int64(c->mem, (int16_t)args[0].u.i)); }
FN(int4_numeric) { return set(out, numeric_from_int64(c->mem, (int32_t)args[0].u.i)); }
FN(int8_numeric) { return set(out, numeric_from_int64(c->mem, args[0].u.i)); }
FN(float4_numeric) { return set(out, numeric_from_double(c, args[0].u.f, 6)); }
FN(float8_numeric) { return set(out, numeric_from_double(c, args[0].u.f, 15)); }

static int to_int(struct where_call *c, const struct numeric *v, int64_t min, int64_t max, const char *type,
                  struct where_value *out)
{
	int64_t i;
	return numeric_to_int(c, v, min, max, type, &i) < 0 ? -1 : set_int(out, i);
}
FN(numeric_int2) { return to_int(c, NUM(0), INT16_MIN, INT16_MAX, "smallint", out); }
FN(numeric_int4) { return to_int(c, NUM(0), INT32_MIN, INT32_MAX, "integer", out); }
FN(numeric_int8) { return to_int(c, NUM(0), INT64_MIN, INT64_MAX, "bigint", out); }

FN(numeric_float8)
{
	out->is = WHERE_VALUE;
	return numeric_to_double(c, NUM(0), &out->u.f);
}
FN(numeric_float4)
{
	out->is = WHERE_VALUE;
	return numeric_to_float(c, NUM(0), &out->u.f);
}

int numeric_text_in(struct where_call *c, const char *p, size_t n, struct where_value *out)
{
	const struct numeric *v = numeric_parse(c, p, n);
	return v == NULL ? -1 : set(out, numeric_apply_typmod(c, v, c->typmod));
}

int numeric_text_out(struct where_call *c UNUSED, const struct where_value *v, struct buf *text)
{
	numeric_format(v->u.numeric, text);
	return 0;
}

int numeric_value_cmp(const struct where_value *a, const struct where_value *b)
{
	return numeric_cmp(a->u.numeric, b->u.numeric);
}
uint64_t numeric_value_hash(const struct where_value *v) { return numeric_hash(v->u.numeric); }
