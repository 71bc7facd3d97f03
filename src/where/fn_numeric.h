/*
 * fn_numeric.h - functions of numeric, for the tables in fn_number.c. Private to these two files.
 */
#ifndef BUSBAR_WHERE_FN_NUMERIC_H
#define BUSBAR_WHERE_FN_NUMERIC_H

#include "where/numeric.h"

/* Each is `fn_` and Postgres's internal name; functions written in SQL have their proname. */
#define WHERE_NUMERIC_FUNCTIONS(X) \
	X(numeric_eq) X(numeric_ne) X(numeric_lt) X(numeric_le) X(numeric_gt) X(numeric_ge) X(numeric_cmp) \
	X(numeric_add) X(numeric_sub) X(numeric_mul) X(numeric_div) X(numeric_mod) X(numeric_div_trunc) \
	X(numeric_uminus) X(numeric_uplus) X(numeric_abs) X(numeric_sign) X(numeric_inc) \
	X(numeric_larger) X(numeric_smaller) \
	X(numeric_round) X(numeric_trunc) X(round) X(trunc) X(numeric_ceil) X(numeric_floor) \
	X(numeric_sqrt) X(numeric_exp) X(numeric_ln) X(numeric_log) X(log) X(log10) X(numeric_power) \
	X(numeric_gcd) X(numeric_lcm) X(numeric_fac) X(width_bucket_numeric) \
	X(numeric_scale) X(numeric_min_scale) X(numeric_trim_scale) X(numeric) \
	X(int2_numeric) X(int4_numeric) X(int8_numeric) X(float4_numeric) X(float8_numeric) \
	X(numeric_int2) X(numeric_int4) X(numeric_int8) X(numeric_float4) X(numeric_float8)

#define WHERE_NUMERIC_DECLARE(name) \
	int fn_##name(struct where_call *c, const struct where_value *args, struct where_value *out);
WHERE_NUMERIC_FUNCTIONS(WHERE_NUMERIC_DECLARE)

#define WHERE_NUMERIC_ROW(name) {#name, fn_##name, NULL, NULL},
#define WHERE_IMPL_NUMERIC WHERE_NUMERIC_FUNCTIONS(WHERE_NUMERIC_ROW)

/* The parts of where_io. */
int numeric_text_in(struct where_call *c, const char *p, size_t n, struct where_value *out);
int numeric_text_out(struct where_call *c, const struct where_value *v, struct buf *text);
int numeric_value_cmp(const struct where_value *a, const struct where_value *b);
uint64_t numeric_value_hash(const struct where_value *v);

#endif
