/*
 * numeric.h - Postgres's numeric: exact decimals with a display scale, NaN and infinities.
 *
 * Results have the value and the scale that Postgres's functions give (src/backend/utils/adt/numeric.c is
 * the reference for the rules; nothing is taken from it). Values are immutable and live in the arena
 * they were made in. Functions that can fail return NULL after where_fail().
 */
#ifndef BUSBAR_WHERE_NUMERIC_H
#define BUSBAR_WHERE_NUMERIC_H

#include "where/value.h"

/* numeric_in: blanks around, 1e5, NaN, Infinity */
const struct numeric *numeric_parse(struct where_call *c, const char *p, size_t n);
void numeric_format(const struct numeric *v, struct buf *out);                      /* numeric_out */
int numeric_cmp(const struct numeric *a, const struct numeric *b); /* NaN is equal to NaN and greater than all */
uint64_t numeric_hash(const struct numeric *v);                    /* 1.0 and 1.00 have the same */
bool numeric_is_nan(const struct numeric *v);
bool numeric_is_inf(const struct numeric *v, int *sign);
int numeric_sign(const struct numeric *v); /* -1 0 1; NaN: 0 */

const struct numeric *numeric_from_int64(struct arena *mem, int64_t v);
/* value * 10^-scale, with that display scale */
const struct numeric *numeric_from_scaled(struct arena *mem, int64_t value, int scale);
const struct numeric *numeric_from_double(struct where_call *c, double v, int digits /* 15 float8, 6 float4 */);
int numeric_to_int64(struct where_call *c, const struct numeric *v, int64_t *out); /* rounds half away from zero */
int numeric_to_double(struct where_call *c, const struct numeric *v, double *out); /* as numeric::float8 */
int numeric_to_float(struct where_call *c, const struct numeric *v, double *out);  /* as numeric::float4 */
/* Rounds half away from zero; fails outside min..max in the name of `type`. */
int numeric_to_int(struct where_call *c, const struct numeric *v, int64_t min, int64_t max, const char *type,
                   int64_t *out);

const struct numeric *numeric_add(struct where_call *c, const struct numeric *a, const struct numeric *b);
const struct numeric *numeric_sub(struct where_call *c, const struct numeric *a, const struct numeric *b);
const struct numeric *numeric_mul(struct where_call *c, const struct numeric *a, const struct numeric *b);
const struct numeric *numeric_div(struct where_call *c, const struct numeric *a, const struct numeric *b);
const struct numeric *numeric_mod(struct where_call *c, const struct numeric *a, const struct numeric *b);
const struct numeric *numeric_round(struct where_call *c, const struct numeric *v, int scale);
const struct numeric *numeric_trunc(struct where_call *c, const struct numeric *v, int scale);
const struct numeric *numeric_neg(struct arena *mem, const struct numeric *v);
int numeric_scale(const struct numeric *v);     /* digits shown after the point; NaN, infinities: 0 */
int numeric_min_scale(const struct numeric *v); /* digits needed after the point */
bool numeric_is_integer(const struct numeric *v); /* infinities are, NaN isn't */
const struct numeric *numeric_trim_scale(struct where_call *c, const struct numeric *v);
/* numeric(precision, scale) coercion; typmod as pg_attribute.atttypmod, -1: none */
const struct numeric *numeric_apply_typmod(struct where_call *c, const struct numeric *v, int32_t typmod);

/* ---- numeric_math.c: results rounded to the scales that Postgres 15 chooses ---- */
const struct numeric *numeric_sqrt(struct where_call *c, const struct numeric *v);
const struct numeric *numeric_exp(struct where_call *c, const struct numeric *v);
const struct numeric *numeric_ln(struct where_call *c, const struct numeric *v);
const struct numeric *numeric_log(struct where_call *c, const struct numeric *base, const struct numeric *v);
const struct numeric *numeric_power(struct where_call *c, const struct numeric *base, const struct numeric *exponent);
const struct numeric *numeric_div_trunc(struct where_call *c, const struct numeric *a, const struct numeric *b);
const struct numeric *numeric_ceil(struct where_call *c, const struct numeric *v);
const struct numeric *numeric_floor(struct where_call *c, const struct numeric *v);
const struct numeric *numeric_gcd(struct where_call *c, const struct numeric *a, const struct numeric *b);
const struct numeric *numeric_lcm(struct where_call *c, const struct numeric *a, const struct numeric *b);
const struct numeric *numeric_factorial(struct where_call *c, int64_t n);
/* 0 and the bucket, or -1 */
int numeric_width_bucket(struct where_call *c, const struct numeric *v, const struct numeric *low,
                         const struct numeric *high, int32_t count, int32_t *out);

#endif
