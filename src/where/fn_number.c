/*
 * fn_number.c - functions of bool, int2, int4, int8, oid, float4 and float8, and the table of all functions
 * on numbers. Those of numeric are in fn_numeric.c, text forms in number_text.c.
 *
 * An oid and an int4 are the same 32 bits to Postgres and casts between them do nothing, so arguments are
 * read through the type that the function is for.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "where/fn_numeric.h"
#include "where/number_text.h"

#define UNUSED __attribute__((unused))
#define FN(name) static int name(struct where_call *c UNUSED, const struct where_value *args, struct where_value *out)

#define I2(k) ((int16_t)args[k].u.i)
#define I4(k) ((int32_t)args[k].u.i)
#define I8(k) ((int64_t)args[k].u.i)
#define OID(k) ((uint32_t)args[k].u.i)
#define BOOL(k) ((args[k].u.i & 1) != 0)
#define F4(k) ((float)args[k].u.f)
#define F8(k) (args[k].u.f)

static int set_int(struct where_value *out, int64_t v)
{
	*out = where_int(v);
	return 0;
}

static int set_float(struct where_value *out, double v)
{
	*out = where_float(v);
	return 0;
}

/* ---- comparisons ------------------------------------------------------------------------------------ */

/* Six operators and the btree function of a pair of types; the rest are expressions. */
#define COMPARISONS(name, btree, equal, less, order) \
	FN(name##eq) { return set_int(out, equal); } \
	FN(name##ne) { return set_int(out, !(equal)); } \
	FN(name##lt) { return set_int(out, less); } \
	FN(name##ge) { return set_int(out, !(less)); } \
	FN(name##le) { return set_int(out, (order) <= 0); } \
	FN(name##gt) { return set_int(out, (order) > 0); } \
	FN(btree) { return set_int(out, order); }
#define ORDER(a, b) (((a) > (b)) - ((a) < (b)))
#define PLAIN_COMPARISONS(name, btree, a, b) COMPARISONS(name, btree, (a) == (b), (a) < (b), ORDER(a, b))

PLAIN_COMPARISONS(boolean, btboolcmp, BOOL(0), BOOL(1))
COMPARISONS(int2, btint2cmp, I2(0) == I2(1), I2(0) < I2(1), I2(0) - I2(1))
PLAIN_COMPARISONS(int24, btint24cmp, I2(0), I4(1))
PLAIN_COMPARISONS(int28, btint28cmp, I2(0), I8(1))
PLAIN_COMPARISONS(int42, btint42cmp, I4(0), I2(1))
PLAIN_COMPARISONS(int4, btint4cmp, I4(0), I4(1))
PLAIN_COMPARISONS(int48, btint48cmp, I4(0), I8(1))
PLAIN_COMPARISONS(int82, btint82cmp, I8(0), I2(1))
PLAIN_COMPARISONS(int84, btint84cmp, I8(0), I4(1))
PLAIN_COMPARISONS(int8, btint8cmp, I8(0), I8(1))
PLAIN_COMPARISONS(oid, btoidcmp, OID(0), OID(1))

/* NaN is equal to itself and greater than all. A float4 is held exactly: one function for all pairs. */
static int cmp_float(double a, double b)
{
	if (isnan(a) || isnan(b))
		return (isnan(a) ? 1 : 0) - (isnan(b) ? 1 : 0);
	return ORDER(a, b);
}
COMPARISONS(float, btfloatcmp, cmp_float(F8(0), F8(1)) == 0, cmp_float(F8(0), F8(1)) < 0, cmp_float(F8(0), F8(1)))

/* The boolean of a transition step; here for completeness of what the catalog has. */
FN(booland) { return set_int(out, BOOL(0) && BOOL(1)); }
FN(boolor) { return set_int(out, BOOL(0) || BOOL(1)); }

/* ---- integer arithmetic ----------------------------------------------------------------------------- */

static int int_result(struct where_call *c, struct where_value *out, int64_t v, int64_t min, int64_t max,
                      const char *type)
{
	if (v < min || v > max)
		return where_fail(c, "%s out of range", type);
	return set_int(out, v);
}

static int int2_result(struct where_call *c, struct where_value *out, int64_t v)
{
	return int_result(c, out, v, INT16_MIN, INT16_MAX, "smallint");
}

static int int4_result(struct where_call *c, struct where_value *out, int64_t v)
{
	return int_result(c, out, v, INT32_MIN, INT32_MAX, "integer");
}

static int int8_overflow(struct where_call *c) { return where_fail(c, "bigint out of range"); }
static int by_zero(struct where_call *c) { return where_fail(c, "division by zero"); }

/* Types whose results fit in 64 bits: computed there, then checked. */
#define NARROW_ARITHMETIC(name, a, b, result) \
	FN(name##pl) { return result(c, out, (int64_t)(a) + (b)); } \
	FN(name##mi) { return result(c, out, (int64_t)(a) - (b)); } \
	FN(name##mul) { return result(c, out, (int64_t)(a) * (b)); } \
	FN(name##div) { return (b) == 0 ? by_zero(c) : result(c, out, (int64_t)(a) / (b)); }
NARROW_ARITHMETIC(int2, I2(0), I2(1), int2_result)
NARROW_ARITHMETIC(int24, I2(0), I4(1), int4_result)
NARROW_ARITHMETIC(int42, I4(0), I2(1), int4_result)
NARROW_ARITHMETIC(int4, I4(0), I4(1), int4_result)

static int int8_divide(struct where_call *c, int64_t a, int64_t b, struct where_value *out)
{
	if (b == 0)
		return by_zero(c);
	if (a == INT64_MIN && b == -1)
		return int8_overflow(c);
	return set_int(out, a / b);
}

#define WIDE(name, builtin, a, b) \
	FN(name) \
	{ \
		int64_t v; \
		return builtin((int64_t)(a), (int64_t)(b), &v) ? int8_overflow(c) : set_int(out, v); \
	}
#define WIDE_ARITHMETIC(name, a, b) \
	WIDE(name##pl, __builtin_add_overflow, a, b) \
	WIDE(name##mi, __builtin_sub_overflow, a, b) \
	WIDE(name##mul, __builtin_mul_overflow, a, b) \
	FN(name##div) { return int8_divide(c, a, b, out); }
WIDE_ARITHMETIC(int8, I8(0), I8(1))
WIDE_ARITHMETIC(int28, I2(0), I8(1))
WIDE_ARITHMETIC(int82, I8(0), I2(1))
WIDE_ARITHMETIC(int48, I4(0), I8(1))
WIDE_ARITHMETIC(int84, I8(0), I4(1))

static int modulo(struct where_call *c, int64_t a, int64_t b, struct where_value *out)
{
	if (b == 0)
		return by_zero(c);
	return set_int(out, b == -1 ? 0 : a % b);
}
FN(int2mod) { return modulo(c, I2(0), I2(1), out); }
FN(int4mod) { return modulo(c, I4(0), I4(1), out); }
FN(int8mod) { return modulo(c, I8(0), I8(1), out); }

FN(int2um) { return int2_result(c, out, -(int64_t)I2(0)); }
FN(int4um) { return int4_result(c, out, -(int64_t)I4(0)); }
FN(int8um) { return I8(0) == INT64_MIN ? int8_overflow(c) : set_int(out, -I8(0)); }
FN(int2abs) { return I2(0) < 0 ? int2um(c, args, out) : set_int(out, I2(0)); }
FN(int4abs) { return I4(0) < 0 ? int4um(c, args, out) : set_int(out, I4(0)); }
FN(int8abs) { return I8(0) < 0 ? int8um(c, args, out) : set_int(out, I8(0)); }
FN(int4inc) { return int4_result(c, out, (int64_t)I4(0) + 1); }
FN(int8inc) { return I8(0) == INT64_MAX ? int8_overflow(c) : set_int(out, I8(0) + 1); }
FN(int8dec) { return I8(0) == INT64_MIN ? int8_overflow(c) : set_int(out, I8(0) - 1); }

FN(same)
{
	*out = args[0];
	return 0;
}

/* Shifts take the count modulo the width of a machine word, as the processors that Postgres runs on do. */
#define BITS(name, get, bits, type) \
	FN(name##and) { return set_int(out, get(0) & get(1)); } \
	FN(name##or) { return set_int(out, get(0) | get(1)); } \
	FN(name##xor) { return set_int(out, get(0) ^ get(1)); } \
	FN(name##not) { return set_int(out, ~get(0)); } \
	FN(name##shl) { return set_int(out, (type)((uint64_t)get(0) << (I4(1) & (bits - 1)))); } \
	FN(name##shr) { return set_int(out, get(0) >> (I4(1) & (bits - 1))); }
BITS(int2, I2, 32, int16_t)
BITS(int4, I4, 32, int32_t)
BITS(int8, I8, 64, int64_t)

static uint64_t size_of(int64_t v) { return v < 0 ? 0 - (uint64_t)v : (uint64_t)v; }

static uint64_t gcd(int64_t a, int64_t b)
{
	uint64_t x = size_of(a), y = size_of(b);
	while (y != 0) {
		uint64_t rest = x % y;
		x = y;
		y = rest;
	}
	return x;
}

static int gcd_result(struct where_call *c, int64_t a, int64_t b, uint64_t max, const char *type,
                      struct where_value *out)
{
	uint64_t g = gcd(a, b);
	return g > max ? where_fail(c, "%s out of range", type) : set_int(out, (int64_t)g);
}

static int lcm_result(struct where_call *c, int64_t a, int64_t b, uint64_t max, const char *type,
                      struct where_value *out)
{
	uint64_t v;
	if (a == 0 || b == 0)
		return set_int(out, 0);
	if (__builtin_mul_overflow(size_of(a) / gcd(a, b), size_of(b), &v) || v > max)
		return where_fail(c, "%s out of range", type);
	return set_int(out, (int64_t)v);
}
FN(int4gcd) { return gcd_result(c, I4(0), I4(1), INT32_MAX, "integer", out); }
FN(int8gcd) { return gcd_result(c, I8(0), I8(1), INT64_MAX, "bigint", out); }
FN(int4lcm) { return lcm_result(c, I4(0), I4(1), INT32_MAX, "integer", out); }
FN(int8lcm) { return lcm_result(c, I8(0), I8(1), INT64_MAX, "bigint", out); }

#define EXTREMES(name, get) \
	FN(name##larger) { return set_int(out, get(0) > get(1) ? get(0) : get(1)); } \
	FN(name##smaller) { return set_int(out, get(0) < get(1) ? get(0) : get(1)); }
EXTREMES(int2, I2)
EXTREMES(int4, I4)
EXTREMES(int8, I8)
EXTREMES(oid, OID)

/* ---- casts among integers and floats ---------------------------------------------------------------- */

FN(to_int2) { return int2_result(c, out, I8(0)); }
FN(to_int4) { return int4_result(c, out, I8(0)); }
FN(int2_widen) { return set_int(out, I2(0)); }
FN(int4_widen) { return set_int(out, I4(0)); }
FN(i4toi2) { return int2_result(c, out, I4(0)); }
FN(i8tooid) { return int_result(c, out, I8(0), 0, UINT32_MAX, "OID"); }
FN(oidtoi8) { return set_int(out, OID(0)); }
FN(int4_bool) { return set_int(out, I4(0) != 0); }
FN(bool_int4) { return set_int(out, BOOL(0)); }
FN(booltext)
{
	*out = BOOL(0) ? where_bytes("true", 4) : where_bytes("false", 5);
	return 0;
}
FN(i2tod) { return set_float(out, (double)I2(0)); }
FN(i4tod) { return set_float(out, (double)I4(0)); }
FN(i8tod) { return set_float(out, (double)I8(0)); }
FN(i4tof) { return set_float(out, (double)(float)I4(0)); }
FN(i8tof) { return set_float(out, (double)(float)I8(0)); }

/* Half to even; `end` is the first number above, exact as a double. */
static int float_to_int(struct where_call *c, double v, double end, const char *type, struct where_value *out)
{
	v = rint(v);
	if (!(v >= -end && v < end))
		return where_fail(c, "%s out of range", type);
	return set_int(out, (int64_t)v);
}
FN(dtoi2) { return float_to_int(c, F8(0), 0x1p15, "smallint", out); }
FN(dtoi4) { return float_to_int(c, F8(0), 0x1p31, "integer", out); }
FN(dtoi8) { return float_to_int(c, F8(0), 0x1p63, "bigint", out); }

static int overflow(struct where_call *c) { return where_fail(c, "value out of range: overflow"); }
static int underflow(struct where_call *c) { return where_fail(c, "value out of range: underflow"); }

FN(dtof)
{
	float v = (float)F8(0);
	if (isinf(v) && !isinf(F8(0)))
		return overflow(c);
	if (v == 0 && F8(0) != 0)
		return underflow(c);
	return set_float(out, (double)v);
}

/* ---- float arithmetic ------------------------------------------------------------------------------- */

/* A sum, difference or product of finite numbers must be finite, a product of others than zero not zero. */
static int sum_result(struct where_call *c, double v, double a, double b, struct where_value *out)
{
	return isinf(v) && !isinf(a) && !isinf(b) ? overflow(c) : set_float(out, v);
}

static int product_result(struct where_call *c, double v, double a, double b, struct where_value *out)
{
	if (isinf(v) && !isinf(a) && !isinf(b))
		return overflow(c);
	return v == 0 && a != 0 && b != 0 ? underflow(c) : set_float(out, v);
}

static int quotient_result(struct where_call *c, double v, double a, double b, struct where_value *out)
{
	if (b == 0 && !isnan(a))
		return by_zero(c);
	if (isinf(v) && !isinf(a))
		return overflow(c);
	return v == 0 && a != 0 && !isinf(b) ? underflow(c) : set_float(out, v);
}

/* A quotient that is refused must not be computed: whatever it is given here, NaN / 0 is NaN. */
#define FLOAT_ARITHMETIC(name, get) \
	FN(name##pl) { return sum_result(c, (double)(get(0) + get(1)), get(0), get(1), out); } \
	FN(name##mi) { return sum_result(c, (double)(get(0) - get(1)), get(0), get(1), out); } \
	FN(name##mul) { return product_result(c, (double)(get(0) * get(1)), get(0), get(1), out); } \
	FN(name##div) \
	{ \
		double v = get(1) == 0 ? (double)NAN : (double)(get(0) / get(1)); \
		return quotient_result(c, v, get(0), get(1), out); \
	}
FLOAT_ARITHMETIC(float4, F4)
FLOAT_ARITHMETIC(float8, F8)

FN(float_um) { return set_float(out, -F8(0)); }
FN(float_abs) { return set_float(out, fabs(F8(0))); }
FN(float_larger) { return set_float(out, cmp_float(F8(0), F8(1)) > 0 ? F8(0) : F8(1)); }
FN(float_smaller) { return set_float(out, cmp_float(F8(0), F8(1)) < 0 ? F8(0) : F8(1)); }

FN(dround) { return set_float(out, rint(F8(0))); }
FN(dceil) { return set_float(out, ceil(F8(0))); }
FN(dfloor) { return set_float(out, floor(F8(0))); }
FN(dtrunc) { return set_float(out, trunc(F8(0))); }
FN(dsign) { return set_float(out, F8(0) > 0 ? 1 : F8(0) < 0 ? -1 : 0); }

/* ---- roots, powers, logarithms ---------------------------------------------------------------------- */

FN(dsqrt)
{
	if (F8(0) < 0)
		return where_fail(c, "cannot take square root of a negative number");
	return set_float(out, sqrt(F8(0)));
}
FN(dcbrt) { return set_float(out, cbrt(F8(0))); }

/* POSIX's pow() with an infinite argument. */
static double pow_infinite(double x, double y)
{
	if (isinf(y)) {
		double size = fabs(x);
		return size == 1 ? 1 : (y > 0) == (size > 1) ? INFINITY : 0;
	}
	if (y == 0)
		return 1;
	if (x > 0)
		return y > 0 ? x : 0;
	bool odd = y / 2 != floor(y / 2);
	if (y > 0)
		return odd ? x : -x;
	return odd ? -0.0 : 0.0;
}

FN(dpow)
{
	double x = F8(0), y = F8(1);
	if (isnan(x) || isnan(y))
		return set_float(out, x == 1 || y == 0 ? 1 : NAN);
	if (x == 0 && y < 0)
		return where_fail(c, "zero raised to a negative power is undefined");
	if (x < 0 && floor(y) != y)
		return where_fail(c, "a negative number raised to a non-integer power yields a complex result");
	if (isinf(x) || isinf(y))
		return set_float(out, pow_infinite(x, y));
	errno = 0;
	double v = pow(x, y);
	if (isinf(v) || (errno == ERANGE && v != 0))
		return overflow(c);
	return v == 0 && x != 0 ? underflow(c) : set_float(out, v);
}

FN(dexp)
{
	double x = F8(0);
	if (isnan(x) || isinf(x))
		return set_float(out, x < 0 ? 0 : x);
	errno = 0;
	double v = exp(x);
	if (isinf(v) || (errno == ERANGE && v != 0))
		return overflow(c);
	return v == 0 ? underflow(c) : set_float(out, v);
}

static int logarithm(struct where_call *c, double x, double (*f)(double), struct where_value *out)
{
	if (x == 0)
		return where_fail(c, "cannot take logarithm of zero");
	if (x < 0)
		return where_fail(c, "cannot take logarithm of a negative number");
	return set_float(out, f(x));
}
FN(dlog1) { return logarithm(c, F8(0), log, out); }
FN(dlog10) { return logarithm(c, F8(0), log10, out); }

/* ---- trigonometry ----------------------------------------------------------------------------------- */

static int bad_input(struct where_call *c) { return where_fail(c, "input is out of range"); }

/* Of angles: not of infinities. */
static int of_angle(struct where_call *c, double x, double (*f)(double), struct where_value *out)
{
	return isinf(x) ? bad_input(c) : set_float(out, isnan(x) ? x : f(x));
}

static int within(struct where_call *c, double x, double low, double high, double (*f)(double), struct where_value *out)
{
	return x < low || x > high ? bad_input(c) : set_float(out, isnan(x) ? x : f(x));
}

static double cotangent(double x) { return 1 / tan(x); }

FN(dsin) { return of_angle(c, F8(0), sin, out); }
FN(dcos) { return of_angle(c, F8(0), cos, out); }
FN(dtan) { return of_angle(c, F8(0), tan, out); }
FN(dcot) { return of_angle(c, F8(0), cotangent, out); }
FN(dasin) { return within(c, F8(0), -1, 1, asin, out); }
FN(dacos) { return within(c, F8(0), -1, 1, acos, out); }
FN(datan) { return set_float(out, isnan(F8(0)) ? F8(0) : atan(F8(0))); }
FN(datan2) { return set_float(out, atan2(F8(0), F8(1))); }
FN(dsinh) { return set_float(out, sinh(F8(0))); }
FN(dcosh) { return set_float(out, cosh(F8(0))); }
FN(dtanh) { return set_float(out, tanh(F8(0))); }
FN(dasinh) { return set_float(out, asinh(F8(0))); }
FN(dacosh) { return within(c, F8(0), 1, INFINITY, acosh, out); }
FN(datanh) { return within(c, F8(0), -1, 1, atanh, out); }

#define RADIANS_PER_DEGREE 0.0174532925199432957692
FN(degrees)
{
	double v = F8(0) / RADIANS_PER_DEGREE;
	return quotient_result(c, v, F8(0), RADIANS_PER_DEGREE, out);
}
FN(radians) { return product_result(c, F8(0) * RADIANS_PER_DEGREE, F8(0), RADIANS_PER_DEGREE, out); }

/*
 * In degrees, exact at multiples of 30 and 45: each function is scaled by what libm has at such a point.
 * `volatile` keeps a compiler from computing that with other digits than libm has at run time.
 */
static volatile double deg_30 = 30, deg_60 = 60, deg_45 = 45, half = 0.5, unit = 1;

static double sin_to_30(double x)
{
	double at = sin(deg_30 * RADIANS_PER_DEGREE), v = sin(x * RADIANS_PER_DEGREE);
	return v / at / 2;
}

static double cos_to_60(double x)
{
	double at = 1 - cos(deg_60 * RADIANS_PER_DEGREE), v = 1 - cos(x * RADIANS_PER_DEGREE);
	return 1 - v / at / 2;
}

/* 0 to 90 degrees */
static double sin_quadrant(double x) { return x <= 30 ? sin_to_30(x) : cos_to_60(90 - x); }
static double cos_quadrant(double x) { return x <= 60 ? cos_to_60(x) : sin_to_30(90 - x); }

/* Brings an angle to 0..90; the signs of sine and cosine there. */
static double to_quadrant(double x, int *sin_sign, int *cos_sign)
{
	x = fmod(x, 360);
	*sin_sign = *cos_sign = 1;
	if (x < 0) {
		x = -x;
		*sin_sign = -1;
	}
	if (x > 180) {
		x = 360 - x;
		*sin_sign = -*sin_sign;
	}
	if (x > 90) {
		x = 180 - x;
		*cos_sign = -1;
	}
	return x;
}

static double sin_degrees(double x)
{
	int s, k;
	x = to_quadrant(x, &s, &k);
	return s * sin_quadrant(x);
}

static double cos_degrees(double x)
{
	int s, k;
	x = to_quadrant(x, &s, &k);
	return k * cos_quadrant(x);
}

static double tan_degrees(double x)
{
	int s, k;
	x = to_quadrant(x, &s, &k);
	double at = sin_quadrant(deg_45) / cos_quadrant(deg_45), v = sin_quadrant(x) / cos_quadrant(x);
	v = s * k * (v / at);
	return v == 0 ? 0 : v; /* no minus zero */
}

static double cot_degrees(double x)
{
	int s, k;
	x = to_quadrant(x, &s, &k);
	double at = cos_quadrant(deg_45) / sin_quadrant(deg_45), v = cos_quadrant(x) / sin_quadrant(x);
	v = s * k * (v / at);
	return v == 0 ? 0 : v;
}

static double asin_part(double x) { return asin(x) / asin(half) * 30; }
static double acos_part(double x) { return acos(x) / acos(half) * 60; }
static double asin_quadrant(double x) { return x <= 0.5 ? asin_part(x) : 90 - acos_part(x); }
static double acos_quadrant(double x) { return x <= 0.5 ? 90 - asin_part(x) : acos_part(x); }
static double asin_degrees(double x) { return x >= 0 ? asin_quadrant(x) : -asin_quadrant(-x); }
static double acos_degrees(double x) { return x >= 0 ? acos_quadrant(x) : 90 + asin_quadrant(-x); }

FN(dsind) { return of_angle(c, F8(0), sin_degrees, out); }
FN(dcosd) { return of_angle(c, F8(0), cos_degrees, out); }
FN(dtand) { return of_angle(c, F8(0), tan_degrees, out); }
FN(dcotd) { return of_angle(c, F8(0), cot_degrees, out); }
FN(dasind) { return within(c, F8(0), -1, 1, asin_degrees, out); }
FN(dacosd) { return within(c, F8(0), -1, 1, acos_degrees, out); }
FN(datand) { return set_float(out, atan(F8(0)) / atan(unit) * 45); }
FN(datan2d) { return set_float(out, atan2(F8(0), F8(1)) / atan(unit) * 45); }

/* ---- width_bucket ----------------------------------------------------------------------------------- */

FN(width_bucket)
{
	double v = F8(0), low = F8(1), high = F8(2);
	int32_t count = I4(3);
	if (count <= 0)
		return where_fail(c, "count must be greater than zero");
	if (isnan(v) || isnan(low) || isnan(high))
		return where_fail(c, "operand, lower bound, and upper bound cannot be NaN");
	if (isinf(low) || isinf(high))
		return where_fail(c, "lower and upper bounds must be finite");
	if (low == high)
		return where_fail(c, "lower bound cannot equal upper bound");
	bool up = low < high;
	if (up ? v < low : v > low)
		return set_int(out, 0);
	if (up ? v >= high : v <= high)
		return int4_result(c, out, (int64_t)count + 1);
	/* Postgres 15 doesn't care about rounding and overflow here; the processor makes the least integer of what
	 * doesn't fit. */
	double bucket = up ? count * (v - low) / (high - low) + 1 : count * (low - v) / (low - high) + 1;
	return set_int(out, bucket >= 1 && bucket < 0x1p31 ? (int32_t)bucket : INT32_MIN);
}

/* ---- text ------------------------------------------------------------------------------------------- */

static int int_in(struct where_call *c, const char *p, size_t n, int64_t min, int64_t max, const char *type,
                  struct where_value *out)
{
	out->is = WHERE_VALUE;
	return number_parse_int(c, p, n, min, max, type, &out->u.i);
}

#define IN(name) static int name(struct where_call *c, const char *p, size_t n, struct where_value *out)
#define OUT(name) static int name(struct where_call *c UNUSED, const struct where_value *v, struct buf *text)
IN(int2_in) { return int_in(c, p, n, INT16_MIN, INT16_MAX, "smallint", out); }
IN(int4_in) { return int_in(c, p, n, INT32_MIN, INT32_MAX, "integer", out); }
IN(int8_in) { return int_in(c, p, n, INT64_MIN, INT64_MAX, "bigint", out); }
IN(oid_in)
{
	out->is = WHERE_VALUE;
	return number_parse_oid(c, p, n, &out->u.i);
}
IN(float4_in)
{
	out->is = WHERE_VALUE;
	return number_parse_float4(c, p, n, &out->u.f);
}
IN(float8_in)
{
	out->is = WHERE_VALUE;
	return number_parse_float8(c, p, n, &out->u.f);
}
IN(bool_in)
{
	bool b;
	if (number_parse_bool(c, p, n, &b) < 0)
		return -1;
	*out = where_bool(b);
	return 0;
}

static int put_int(struct buf *text, int64_t v)
{
	number_put_int(text, v);
	return 0;
}
OUT(int2_out) { return put_int(text, (int16_t)v->u.i); }
OUT(int4_out) { return put_int(text, (int32_t)v->u.i); }
OUT(int8_out) { return put_int(text, v->u.i); }
OUT(oid_out) { return put_int(text, (uint32_t)v->u.i); }
OUT(bool_out)
{
	buf_putc(text, v->u.i ? 't' : 'f');
	return 0;
}
OUT(float4_out)
{
	number_put_float4(text, v->u.f);
	return 0;
}
OUT(float8_out)
{
	number_put_float8(text, v->u.f);
	return 0;
}

#define CMP(name, type) \
	static int name(const struct where_value *a, const struct where_value *b) \
	{ \
		return ORDER((type)a->u.i, (type)b->u.i); \
	}
CMP(cmp_int4, int32_t)
CMP(cmp_int8, int64_t)
CMP(cmp_oid, uint32_t)
static int cmp_f(const struct where_value *a, const struct where_value *b) { return cmp_float(a->u.f, b->u.f); }

/* Integers of one value have one hash whatever their width, and so have floats. */
static uint64_t hash_int4(const struct where_value *v) { return where_hash_u64((uint64_t)(int64_t)(int32_t)v->u.i); }
static uint64_t hash_int8(const struct where_value *v) { return where_hash_u64((uint64_t)v->u.i); }
static uint64_t hash_oid(const struct where_value *v) { return where_hash_u64((uint32_t)v->u.i); }
static uint64_t hash_float(const struct where_value *v)
{
	double x = isnan(v->u.f) ? (double)NAN : v->u.f == 0 ? 0 : v->u.f;
	uint64_t bits;
	memcpy(&bits, &x, sizeof bits);
	return where_hash_u64(bits);
}

const struct where_io where_io_number[] = {
	{"bool", bool_in, bool_out, cmp_int8, hash_int8},
	{"int2", int2_in, int2_out, cmp_int8, hash_int8},
	{"int4", int4_in, int4_out, cmp_int4, hash_int4},
	{"int8", int8_in, int8_out, cmp_int8, hash_int8},
	{"oid", oid_in, oid_out, cmp_oid, hash_oid},
	{"float4", float4_in, float4_out, cmp_f, hash_float},
	{"float8", float8_in, float8_out, cmp_f, hash_float},
	{"numeric", numeric_text_in, numeric_text_out, numeric_value_cmp, numeric_value_hash},
	{NULL, NULL, NULL, NULL, NULL},
};

/* ---- the table -------------------------------------------------------------------------------------- */

#define ROW(prosrc, fn) {prosrc, fn, NULL, NULL}
#define SAME(fn) ROW(#fn, fn)
#define COMPARED(name, btree) \
	SAME(name##eq), SAME(name##ne), SAME(name##lt), SAME(name##le), SAME(name##gt), SAME(name##ge), SAME(btree)
#define COMPARED_AS(name, fn, btree, cmp) \
	ROW(name "eq", fn##eq), ROW(name "ne", fn##ne), ROW(name "lt", fn##lt), ROW(name "le", fn##le), \
	ROW(name "gt", fn##gt), ROW(name "ge", fn##ge), ROW(btree, cmp)
#define FLOAT_COMPARED(name, btree) COMPARED_AS(name, float, btree, btfloatcmp)
#define FOUR(name) SAME(name##pl), SAME(name##mi), SAME(name##mul), SAME(name##div)
#define FLOAT_FOUR(name) \
	ROW(name "pl", float8pl), ROW(name "mi", float8mi), ROW(name "mul", float8mul), ROW(name "div", float8div)
#define BITWISE(name) SAME(name##and), SAME(name##or), SAME(name##xor), SAME(name##not), SAME(name##shl), SAME(name##shr)
#define UNARY(name) SAME(name##um), SAME(name##abs), ROW(#name "up", same)
#define EXTREME(name) SAME(name##larger), SAME(name##smaller)

const struct where_impl where_impl_number[] = {
	COMPARED_AS("bool", boolean, "btboolcmp", btboolcmp), COMPARED(int2, btint2cmp), COMPARED(int24, btint24cmp),
	COMPARED(int28, btint28cmp),
	COMPARED(int42, btint42cmp), COMPARED(int4, btint4cmp), COMPARED(int48, btint48cmp), COMPARED(int82, btint82cmp),
	COMPARED(int84, btint84cmp), COMPARED(int8, btint8cmp), COMPARED(oid, btoidcmp),
	FLOAT_COMPARED("float4", "btfloat4cmp"), FLOAT_COMPARED("float48", "btfloat48cmp"),
	FLOAT_COMPARED("float84", "btfloat84cmp"), FLOAT_COMPARED("float8", "btfloat8cmp"),
	ROW("booland_statefunc", booland), ROW("boolor_statefunc", boolor),

	FOUR(int2), FOUR(int24), FOUR(int28), FOUR(int42), FOUR(int4), FOUR(int48), FOUR(int82), FOUR(int84), FOUR(int8),
	SAME(int2mod), SAME(int4mod), SAME(int8mod),
	UNARY(int2), UNARY(int4), UNARY(int8), SAME(int4inc), SAME(int8inc), SAME(int8dec),
	BITWISE(int2), BITWISE(int4), BITWISE(int8),
	SAME(int4gcd), SAME(int8gcd), SAME(int4lcm), SAME(int8lcm),
	EXTREME(int2), EXTREME(int4), EXTREME(int8), EXTREME(oid),

	ROW("int82", to_int2), ROW("int84", to_int4), ROW("int28", int2_widen), ROW("i2toi4", int2_widen),
	ROW("int48", int4_widen), SAME(i4toi2), SAME(i8tooid), SAME(oidtoi8), SAME(int4_bool), SAME(bool_int4),
	SAME(booltext),
	SAME(i2tod), ROW("i2tof", i2tod), SAME(i4tod), SAME(i8tod), SAME(i4tof), SAME(i8tof),
	SAME(dtoi2), SAME(dtoi4), SAME(dtoi8), ROW("ftoi2", dtoi2), ROW("ftoi4", dtoi4), ROW("ftoi8", dtoi8),
	SAME(dtof), ROW("ftod", same),

	FOUR(float4), FOUR(float8), FLOAT_FOUR("float48"), FLOAT_FOUR("float84"),
	ROW("float4um", float_um), ROW("float8um", float_um), ROW("float4up", same), ROW("float8up", same),
	ROW("float4abs", float_abs), ROW("float8abs", float_abs),
	ROW("float4larger", float_larger), ROW("float8larger", float_larger),
	ROW("float4smaller", float_smaller), ROW("float8smaller", float_smaller),
	SAME(dround), SAME(dceil), SAME(dfloor), SAME(dtrunc), SAME(dsign),
	SAME(dsqrt), SAME(dcbrt), SAME(dpow), SAME(dexp), SAME(dlog1), SAME(dlog10),
	SAME(dsin), SAME(dcos), SAME(dtan), SAME(dcot), SAME(dasin), SAME(dacos), SAME(datan), SAME(datan2),
	SAME(dsinh), SAME(dcosh), SAME(dtanh), SAME(dasinh), SAME(dacosh), SAME(datanh), SAME(degrees), SAME(radians),
	SAME(dsind), SAME(dcosd), SAME(dtand), SAME(dcotd), SAME(dasind), SAME(dacosd), SAME(datand), SAME(datan2d),
	ROW("width_bucket_float8", width_bucket),

	WHERE_IMPL_NUMERIC
	{NULL, NULL, NULL, NULL},
};
