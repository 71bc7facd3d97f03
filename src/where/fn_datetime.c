/*
 * fn_datetime.c - functions on date, time, timetz, timestamp, timestamptz and interval.
 *
 * The tables at the end name them as pg_proc.prosrc does (proname for functions written in SQL). Session time zone is UTC, so a
 * timestamptz is computed with as a timestamp wherever no other zone is named. What would depend on the current time fails.
 */
#include "where/datetime.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "where/numeric.h"
#include "where/timezone.h"
#include "where/types.h"

typedef struct where_call call;
typedef struct where_value value;

/* ---- values ----------------------------------------------------------------------------------------- */

static value interval_value(call *c, int64_t months, int64_t days, int64_t us)
{
	struct where_interval *v = arena_alloc(c->mem, sizeof *v);
	*v = (struct where_interval){.us = us, .days = (int32_t)days, .months = (int32_t)months};
	return (value){.u.interval = v, .is = WHERE_VALUE};
}

static value timetz_value(call *c, int64_t us, int32_t zone)
{
	struct where_timetz *v = arena_alloc(c->mem, sizeof *v);
	*v = (struct where_timetz){.us = us, .zone = zone};
	return (value){.u.timetz = v, .is = WHERE_VALUE};
}

static value numeric_value(const struct numeric *v)
{
	return (value){.u.numeric = v, .is = WHERE_VALUE};
}

static int stamp_range(call *c) { return where_fail(c, "timestamp out of range"); }
static int date_range(call *c) { return where_fail(c, "date out of range"); }
static int interval_range(call *c) { return where_fail(c, "interval out of range"); }

static int64_t wrap_add(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); }
static int64_t wrap_sub(int64_t a, int64_t b) { return (int64_t)((uint64_t)a - (uint64_t)b); }

static int64_t floor_mod(int64_t a, int64_t b)
{
	int64_t r = a % b;
	return r < 0 ? r + b : r;
}

/* ---- order, equality, hash -------------------------------------------------------------------------- */

static int cmp_i64(int64_t a, int64_t b)
{
	return a < b ? -1 : a > b;
}

static int cmp_int(const value *a, const value *b)
{
	return cmp_i64(a->u.i, b->u.i);
}

static int cmp_timetz(const value *a, const value *b)
{
	const struct where_timetz *x = a->u.timetz, *y = b->u.timetz;
	int order = cmp_i64(x->us + x->zone * DT_SECOND, y->us + y->zone * DT_SECOND);
	return order != 0 ? order : cmp_i64(x->zone, y->zone);
}

/* A month is 30 days, a day 24 hours: in 128 bits. */
__extension__ typedef __int128 wide;

static wide interval_span(const struct where_interval *v)
{
	return (wide)v->us + ((wide)v->months * 30 + v->days) * DT_DAY;
}

static int cmp_interval(const value *a, const value *b)
{
	wide x = interval_span(a->u.interval), y = interval_span(b->u.interval);
	return x < y ? -1 : x > y;
}

static uint64_t hash_int(const value *v)
{
	return where_hash_u64((uint64_t)v->u.i);
}

static uint64_t hash_timetz(const value *v)
{
	return where_hash_u64((uint64_t)(v->u.timetz->us * 131071 + v->u.timetz->zone));
}

static uint64_t hash_interval(const value *v)
{
	wide span = interval_span(v->u.interval);
	return where_hash_u64((uint64_t)span ^ where_hash_u64((uint64_t)(span >> 64)));
}

/* Later than every finite timestamp, before infinity: a date that no timestamp can be. */
static int cmp_date_stamp(const value *d, const value *t)
{
	if (!dt_date_finite(d->u.i))
		return cmp_i64(d->u.i == DATE_INFINITY ? TIMESTAMP_INFINITY : TIMESTAMP_NEG_INFINITY, t->u.i);
	if (d->u.i >= DT_STAMP_END_DATE)
		return t->u.i == TIMESTAMP_INFINITY ? -1 : 1;
	return cmp_i64(d->u.i * DT_DAY, t->u.i);
}

static int cmp_stamp_date(const value *t, const value *d)
{
	return -cmp_date_stamp(d, t);
}

#define COMPARE_ONE(name, cmp, test) \
	static int fn_##name(call *c, const value *a, value *out) \
	{ \
		(void)c; \
		int order = cmp(&a[0], &a[1]); \
		*out = where_bool(order test 0); \
		return 0; \
	}
#define COMPARE(prefix, suffix, cmp) \
	COMPARE_ONE(prefix##_eq##suffix, cmp, ==) \
	COMPARE_ONE(prefix##_ne##suffix, cmp, !=) \
	COMPARE_ONE(prefix##_lt##suffix, cmp, <) \
	COMPARE_ONE(prefix##_le##suffix, cmp, <=) \
	COMPARE_ONE(prefix##_gt##suffix, cmp, >) \
	COMPARE_ONE(prefix##_ge##suffix, cmp, >=) \
	static int fn_##prefix##_cmp##suffix(call *c, const value *a, value *out) \
	{ \
		(void)c; \
		*out = where_int(cmp(&a[0], &a[1])); \
		return 0; \
	}
#define EXTREMES(prefix, cmp) \
	static int fn_##prefix##_larger(call *c, const value *a, value *out) \
	{ \
		(void)c; \
		*out = cmp(&a[0], &a[1]) > 0 ? a[0] : a[1]; \
		return 0; \
	} \
	static int fn_##prefix##_smaller(call *c, const value *a, value *out) \
	{ \
		(void)c; \
		*out = cmp(&a[0], &a[1]) < 0 ? a[0] : a[1]; \
		return 0; \
	}

COMPARE(int, , cmp_int) /* date, time, timestamp and timestamptz */
COMPARE(timetz, , cmp_timetz)
COMPARE(interval, , cmp_interval)
COMPARE(date, _stamp, cmp_date_stamp)
COMPARE(stamp, _date, cmp_stamp_date)
EXTREMES(int, cmp_int)
EXTREMES(timetz, cmp_timetz)
EXTREMES(interval, cmp_interval)

/* ---- input and output -------------------------------------------------------------------------------- */

static int date_in(call *c, const char *p, size_t n, value *out)
{
	out->is = WHERE_VALUE;
	return dt_read_date(c, p, n, &out->u.i);
}

static int time_in(call *c, const char *p, size_t n, value *out)
{
	out->is = WHERE_VALUE;
	return dt_read_time(c, p, n, c->typmod, &out->u.i);
}

static int timetz_in(call *c, const char *p, size_t n, value *out)
{
	struct where_timetz v;
	size_t time = c->printed ? dt_printed_zone(p, n, &v.zone) : 0;
	if (time > 0 ? dt_read_time(c, p, time, -1, &v.us) != 0 : dt_read_timetz(c, p, n, c->typmod, &v) != 0)
		return -1;
	*out = timetz_value(c, v.us, v.zone);
	return 0;
}

static int timestamp_in(call *c, const char *p, size_t n, value *out)
{
	out->is = WHERE_VALUE;
	return dt_read_stamp(c, p, n, false, c->typmod, &out->u.i);
}

static int timestamptz_in(call *c, const char *p, size_t n, value *out)
{
	out->is = WHERE_VALUE;
	return dt_read_stamp(c, p, n, true, c->typmod, &out->u.i);
}

static int interval_in(call *c, const char *p, size_t n, value *out)
{
	struct where_interval v;
	if (dt_read_interval(c, p, n, c->typmod, &v) != 0)
		return -1;
	*out = interval_value(c, v.months, v.days, v.us);
	return 0;
}

static int date_out(call *c, const value *v, struct buf *text)
{
	(void)c;
	dt_put_date(text, v->u.i);
	return 0;
}

static int time_out(call *c, const value *v, struct buf *text)
{
	(void)c;
	dt_put_time(text, v->u.i);
	return 0;
}

static int timetz_out(call *c, const value *v, struct buf *text)
{
	(void)c;
	dt_put_time(text, v->u.timetz->us);
	dt_put_zone(text, v->u.timetz->zone);
	return 0;
}

static int timestamp_out(call *c, const value *v, struct buf *text)
{
	return dt_put_stamp(c, text, v->u.i, false);
}

static int timestamptz_out(call *c, const value *v, struct buf *text)
{
	return dt_put_stamp(c, text, v->u.i, true);
}

static int interval_out(call *c, const value *v, struct buf *text)
{
	(void)c;
	dt_put_interval(text, v->u.interval);
	return 0;
}

/* ---- precision --------------------------------------------------------------------------------------- */

static int scale_typmod(call *c, const value *a, int32_t *typmod)
{
	*typmod = c->nargs >= 2 ? (int32_t)a[1].u.i : c->typmod;
	return *typmod > 6 || *typmod < -1 ? where_fail(c, "precision must be between 0 and 6") : 0;
}

static int fn_time_scale(call *c, const value *a, value *out)
{
	int32_t typmod;
	if (scale_typmod(c, a, &typmod) != 0)
		return -1;
	*out = typmod < 0 ? a[0] : where_int(dt_round(a[0].u.i, typmod));
	return 0;
}

static int fn_timetz_scale(call *c, const value *a, value *out)
{
	int32_t typmod;
	const struct where_timetz *v = a[0].u.timetz;
	if (scale_typmod(c, a, &typmod) != 0)
		return -1;
	*out = typmod < 0 ? a[0] : timetz_value(c, dt_round(v->us, typmod), v->zone);
	return 0;
}

static int fn_stamp_scale(call *c, const value *a, value *out)
{
	int32_t typmod;
	if (scale_typmod(c, a, &typmod) != 0)
		return -1;
	*out = typmod < 0 || !dt_stamp_finite(a[0].u.i) ? a[0] : where_int(dt_round(a[0].u.i, typmod));
	return 0;
}

static int fn_interval_scale(call *c, const value *a, value *out)
{
	struct where_interval v = *a[0].u.interval;
	if (dt_interval_typmod(c, &v, c->nargs >= 2 ? (int32_t)a[1].u.i : c->typmod) != 0)
		return -1;
	*out = interval_value(c, v.months, v.days, v.us);
	return 0;
}

/* ---- casts ------------------------------------------------------------------------------------------- */

static int date_to_stamp(call *c, int64_t date, int64_t *stamp)
{
	*stamp = 0;
	if (!dt_date_finite(date))
		*stamp = date == DATE_INFINITY ? TIMESTAMP_INFINITY : TIMESTAMP_NEG_INFINITY;
	else if (date >= DT_STAMP_END_DATE)
		return where_fail(c, "date out of range for timestamp");
	else
		*stamp = date * DT_DAY;
	return 0;
}

static int fn_date_timestamp(call *c, const value *a, value *out)
{
	out->is = WHERE_VALUE;
	return date_to_stamp(c, a[0].u.i, &out->u.i);
}

/* In UTC nothing changes; but rounding to fewer digits may have gone beyond the last moment, which is noticed here. */
static int fn_stamp_same(call *c, const value *a, value *out)
{
	*out = a[0];
	return dt_stamp_finite(a[0].u.i) && !dt_stamp_valid(a[0].u.i) ? stamp_range(c) : 0;
}

static int fn_stamp_date(call *c, const value *a, value *out)
{
	int64_t t = a[0].u.i;
	if (!dt_stamp_finite(t)) {
		*out = where_int(t == TIMESTAMP_INFINITY ? DATE_INFINITY : DATE_NEG_INFINITY);
		return 0;
	}
	if (t < DT_STAMP_MIN)
		return stamp_range(c);
	*out = where_int((t - floor_mod(t, DT_DAY)) / DT_DAY);
	return 0;
}

static int fn_stamp_time(call *c, const value *a, value *out)
{
	(void)c;
	*out = dt_stamp_finite(a[0].u.i) ? where_int(floor_mod(a[0].u.i, DT_DAY)) : where_null();
	return 0;
}

static int fn_stamp_timetz(call *c, const value *a, value *out)
{
	*out = dt_stamp_finite(a[0].u.i) ? timetz_value(c, floor_mod(a[0].u.i, DT_DAY), 0) : where_null();
	return 0;
}

static int fn_time_timetz(call *c, const value *a, value *out)
{
	*out = timetz_value(c, a[0].u.i, 0);
	return 0;
}

static int fn_timetz_time(call *c, const value *a, value *out)
{
	(void)c;
	*out = where_int(a[0].u.timetz->us);
	return 0;
}

static int fn_time_interval(call *c, const value *a, value *out)
{
	*out = interval_value(c, 0, 0, a[0].u.i);
	return 0;
}

static int fn_interval_time(call *c, const value *a, value *out)
{
	(void)c;
	*out = where_int(floor_mod(a[0].u.interval->us, DT_DAY));
	return 0;
}

static int join_date_time(call *c, int64_t date, int64_t us, value *out)
{
	int64_t t;
	if (date_to_stamp(c, date, &t) != 0)
		return -1;
	if (dt_stamp_finite(t) && (__builtin_add_overflow(t, us, &t) || !dt_stamp_valid(t)))
		return stamp_range(c);
	*out = where_int(t);
	return 0;
}

static int fn_date_pl_time(call *c, const value *a, value *out)
{
	return join_date_time(c, a[0].u.i, a[1].u.i, out);
}

static int fn_time_pl_date(call *c, const value *a, value *out)
{
	return join_date_time(c, a[1].u.i, a[0].u.i, out);
}

static int fn_date_pl_timetz(call *c, const value *a, value *out)
{
	return join_date_time(c, a[0].u.i, a[1].u.timetz->us + a[1].u.timetz->zone * DT_SECOND, out);
}

static int fn_timetz_pl_date(call *c, const value *a, value *out)
{
	return join_date_time(c, a[1].u.i, a[0].u.timetz->us + a[0].u.timetz->zone * DT_SECOND, out);
}

/* ---- sums -------------------------------------------------------------------------------------------- */

static int add_to_date(call *c, int64_t date, int64_t days, value *out)
{
	int64_t sum = date + days;
	if (!dt_date_finite(date))
		sum = date;
	else if (!dt_date_valid(sum))
		return date_range(c);
	*out = where_int(sum);
	return 0;
}

static int fn_date_pli(call *c, const value *a, value *out) { return add_to_date(c, a[0].u.i, a[1].u.i, out); }
static int fn_date_mii(call *c, const value *a, value *out) { return add_to_date(c, a[0].u.i, -a[1].u.i, out); }
static int fn_integer_pl_date(call *c, const value *a, value *out) { return add_to_date(c, a[1].u.i, a[0].u.i, out); }

static int fn_date_mi(call *c, const value *a, value *out)
{
	if (!dt_date_finite(a[0].u.i) || !dt_date_finite(a[1].u.i))
		return where_fail(c, "cannot subtract infinite dates");
	*out = where_int(a[0].u.i - a[1].u.i);
	return 0;
}

static int add_months(int64_t *t, int32_t months)
{
	struct dt_fields f;
	if (dt_split(*t, &f) != 0)
		return -1;
	int64_t month = f.year * INT64_C(12) + f.mon - 1 + months; /* a year fits an int by far */
	f.year = (int)((month - floor_mod(month, 12)) / 12);
	f.mon = (int)floor_mod(month, 12) + 1;
	if (f.mday > dt_month_days(f.year, f.mon))
		f.mday = dt_month_days(f.year, f.mon);
	return dt_join(&f, 0, t);
}

static int add_days(int64_t *t, int64_t days)
{
	int64_t rest = floor_mod(*t, DT_DAY), day = (*t - rest) / DT_DAY + days;
	if (day < DT_DATE_MIN || __builtin_mul_overflow(day, DT_DAY, &day) || __builtin_add_overflow(day, rest, t))
		return -1;
	return dt_stamp_valid(*t) ? 0 : -1;
}

static int stamp_plus(call *c, int64_t t, const struct where_interval *v, value *out)
{
	if (dt_stamp_finite(t)) {
		if ((v->months != 0 && add_months(&t, v->months) != 0) || (v->days != 0 && add_days(&t, v->days) != 0) ||
		    __builtin_add_overflow(t, v->us, &t) || !dt_stamp_valid(t))
			return stamp_range(c);
	}
	*out = where_int(t);
	return 0;
}

static int stamp_minus(call *c, int64_t t, const struct where_interval *v, value *out)
{
	struct where_interval minus = {.us = wrap_sub(0, v->us), .days = (int32_t)(0u - (uint32_t)v->days),
	                               .months = (int32_t)(0u - (uint32_t)v->months)};
	return stamp_plus(c, t, &minus, out);
}

static int fn_stamp_pl_interval(call *c, const value *a, value *out)
{
	return stamp_plus(c, a[0].u.i, a[1].u.interval, out);
}

static int fn_stamp_mi_interval(call *c, const value *a, value *out)
{
	return stamp_minus(c, a[0].u.i, a[1].u.interval, out);
}

static int fn_interval_pl_stamp(call *c, const value *a, value *out)
{
	return stamp_plus(c, a[1].u.i, a[0].u.interval, out);
}

static int fn_date_pl_interval(call *c, const value *a, value *out)
{
	int64_t t;
	return date_to_stamp(c, a[0].u.i, &t) != 0 ? -1 : stamp_plus(c, t, a[1].u.interval, out);
}

static int fn_date_mi_interval(call *c, const value *a, value *out)
{
	int64_t t;
	return date_to_stamp(c, a[0].u.i, &t) != 0 ? -1 : stamp_minus(c, t, a[1].u.interval, out);
}

static int fn_interval_pl_date(call *c, const value *a, value *out)
{
	int64_t t;
	return date_to_stamp(c, a[1].u.i, &t) != 0 ? -1 : stamp_plus(c, t, a[0].u.interval, out);
}

/* Times go round the clock. */
static int fn_time_pl_interval(call *c, const value *a, value *out)
{
	(void)c;
	*out = where_int(floor_mod(wrap_add(a[0].u.i, a[1].u.interval->us), DT_DAY));
	return 0;
}

static int fn_time_mi_interval(call *c, const value *a, value *out)
{
	(void)c;
	*out = where_int(floor_mod(wrap_sub(a[0].u.i, a[1].u.interval->us), DT_DAY));
	return 0;
}

static int fn_interval_pl_time(call *c, const value *a, value *out)
{
	(void)c;
	*out = where_int(floor_mod(wrap_add(a[1].u.i, a[0].u.interval->us), DT_DAY));
	return 0;
}

static int fn_timetz_pl_interval(call *c, const value *a, value *out)
{
	*out = timetz_value(c, floor_mod(wrap_add(a[0].u.timetz->us, a[1].u.interval->us), DT_DAY), a[0].u.timetz->zone);
	return 0;
}

static int fn_timetz_mi_interval(call *c, const value *a, value *out)
{
	*out = timetz_value(c, floor_mod(wrap_sub(a[0].u.timetz->us, a[1].u.interval->us), DT_DAY), a[0].u.timetz->zone);
	return 0;
}

static int fn_interval_pl_timetz(call *c, const value *a, value *out)
{
	*out = timetz_value(c, floor_mod(wrap_add(a[1].u.timetz->us, a[0].u.interval->us), DT_DAY), a[1].u.timetz->zone);
	return 0;
}

static int fn_time_mi_time(call *c, const value *a, value *out)
{
	*out = interval_value(c, 0, 0, a[0].u.i - a[1].u.i);
	return 0;
}

/* ---- intervals --------------------------------------------------------------------------------------- */

static int fn_interval_um(call *c, const value *a, value *out)
{
	const struct where_interval *v = a[0].u.interval;
	if (v->us == INT64_MIN || v->days == INT_MIN || v->months == INT_MIN)
		return interval_range(c);
	*out = interval_value(c, -v->months, -v->days, -v->us);
	return 0;
}

static int fn_interval_pl(call *c, const value *a, value *out)
{
	const struct where_interval *x = a[0].u.interval, *y = a[1].u.interval;
	struct where_interval v;
	if (__builtin_add_overflow(x->months, y->months, &v.months) || __builtin_add_overflow(x->days, y->days, &v.days) ||
	    __builtin_add_overflow(x->us, y->us, &v.us))
		return interval_range(c);
	*out = interval_value(c, v.months, v.days, v.us);
	return 0;
}

static int fn_interval_mi(call *c, const value *a, value *out)
{
	const struct where_interval *x = a[0].u.interval, *y = a[1].u.interval;
	struct where_interval v;
	if (__builtin_sub_overflow(x->months, y->months, &v.months) || __builtin_sub_overflow(x->days, y->days, &v.days) ||
	    __builtin_sub_overflow(x->us, y->us, &v.us))
		return interval_range(c);
	*out = interval_value(c, v.months, v.days, v.us);
	return 0;
}

static double round_micro(double v)
{
	return rint(v * 1000000.0) / 1000000.0;
}

static bool fits_int(double v) { return !isnan(v) && v <= INT_MAX && v >= INT_MIN; }

/*
 * From the exact products (or quotients) of the three parts: what isn't whole cascades down, a month as
 * 30 days, a day as 24 hours. In doubles and in Postgres's order of operations.
 */
static int cascade(call *c, double months, double days, double us, value *out)
{
	if (!fits_int(months) || !fits_int(days))
		return interval_range(c);
	int32_t m = (int32_t)months, d = (int32_t)days, more;
	double month_days = round_micro((months - m) * 30);
	double seconds = round_micro((days - d + month_days - (int)month_days) * 86400);
	if (fabs(seconds) >= 86400) {
		more = (int32_t)(seconds / 86400);
		if (__builtin_add_overflow(d, more, &d))
			return interval_range(c);
		seconds -= more * 86400.0;
	}
	if (__builtin_add_overflow(d, (int32_t)month_days, &d))
		return interval_range(c);
	double total = rint(us + seconds * 1000000);
	if (isnan(total) || total < -9223372036854775808.0 || total >= 9223372036854775808.0)
		return interval_range(c);
	*out = interval_value(c, m, d, (int64_t)total);
	return 0;
}

static int interval_times(call *c, const struct where_interval *v, double f, value *out)
{
	return cascade(c, v->months * f, v->days * f, (double)v->us * f, out);
}

static int fn_interval_mul(call *c, const value *a, value *out)
{
	return interval_times(c, a[0].u.interval, a[1].u.f, out);
}

static int fn_mul_d_interval(call *c, const value *a, value *out)
{
	return interval_times(c, a[1].u.interval, a[0].u.f, out);
}

static int fn_interval_div(call *c, const value *a, value *out)
{
	const struct where_interval *v = a[0].u.interval;
	double f = a[1].u.f;
	if (f == 0)
		return where_fail(c, "division by zero");
	return cascade(c, v->months / f, v->days / f, (double)v->us / f, out);
}

static int justify_hours(struct where_interval *v)
{
	if (__builtin_add_overflow(v->days, (int32_t)(v->us / DT_DAY), &v->days))
		return -1;
	v->us %= DT_DAY;
	if (v->days > 0 && v->us < 0) {
		v->us += DT_DAY;
		v->days--;
	} else if (v->days < 0 && v->us > 0) {
		v->us -= DT_DAY;
		v->days++;
	}
	return 0;
}

static int days_to_months(struct where_interval *v)
{
	int32_t months = v->days / 30;
	v->days %= 30;
	return __builtin_add_overflow(v->months, months, &v->months) ? -1 : 0;
}

static int fn_justify_hours(call *c, const value *a, value *out)
{
	struct where_interval v = *a[0].u.interval;
	if (justify_hours(&v) != 0)
		return interval_range(c);
	*out = interval_value(c, v.months, v.days, v.us);
	return 0;
}

static int fn_justify_days(call *c, const value *a, value *out)
{
	struct where_interval v = *a[0].u.interval;
	if (days_to_months(&v) != 0)
		return interval_range(c);
	if (v.months > 0 && v.days < 0) {
		v.days += 30;
		v.months--;
	} else if (v.months < 0 && v.days > 0) {
		v.days -= 30;
		v.months++;
	}
	*out = interval_value(c, v.months, v.days, v.us);
	return 0;
}

static int fn_justify_interval(call *c, const value *a, value *out)
{
	struct where_interval v = *a[0].u.interval;
	if (((v.days > 0 && v.us > 0) || (v.days < 0 && v.us < 0)) && days_to_months(&v) != 0)
		return interval_range(c);
	v.days += (int32_t)(v.us / DT_DAY); /* of other sign, or small by now */
	v.us %= DT_DAY;
	if (days_to_months(&v) != 0)
		return interval_range(c);
	if (v.months > 0 && (v.days < 0 || (v.days == 0 && v.us < 0))) {
		v.days += 30;
		v.months--;
	} else if (v.months < 0 && (v.days > 0 || (v.days == 0 && v.us > 0))) {
		v.days -= 30;
		v.months++;
	}
	if (justify_hours(&v) != 0)
		return interval_range(c);
	*out = interval_value(c, v.months, v.days, v.us);
	return 0;
}

static int fn_stamp_mi(call *c, const value *a, value *out)
{
	if (!dt_stamp_finite(a[0].u.i) || !dt_stamp_finite(a[1].u.i))
		return where_fail(c, "cannot subtract infinite timestamps");
	struct where_interval v = {.us = wrap_sub(a[0].u.i, a[1].u.i)};
	if (justify_hours(&v) != 0)
		return interval_range(c);
	*out = interval_value(c, 0, v.days, v.us);
	return 0;
}

/* The difference in years, months and days: borrows from the calendar of the earlier month. */
static int fn_stamp_age(call *c, const value *a, value *out)
{
	struct dt_fields x, y;
	bool flip = a[0].u.i < a[1].u.i;
	/* Postgres 15 computes with infinity as with the number that stands for it; -infinity is out of range. */
	if (dt_split(a[flip].u.i, &x) != 0 || dt_split(a[!flip].u.i, &y) != 0)
		return stamp_range(c);
	int64_t us = dt_join_time(&x) - dt_join_time(&y);
	int days = x.mday - y.mday, months = (x.year - y.year) * 12 + x.mon - y.mon;
	if (us < 0) {
		us += DT_DAY;
		days--;
	}
	while (days < 0) {
		days += dt_month_days(y.year, y.mon);
		months--;
	}
	*out = flip ? interval_value(c, -months, -days, -us) : interval_value(c, months, days, us);
	return 0;
}

/* ---- tests ------------------------------------------------------------------------------------------- */

static int fn_date_finite(call *c, const value *a, value *out)
{
	(void)c;
	*out = where_bool(dt_date_finite(a[0].u.i));
	return 0;
}

static int fn_timestamp_finite(call *c, const value *a, value *out)
{
	(void)c;
	*out = where_bool(dt_stamp_finite(a[0].u.i));
	return 0;
}

static int fn_interval_finite(call *c, const value *a, value *out)
{
	(void)c;
	(void)a;
	*out = where_bool(true);
	return 0;
}

/* (start, end) overlaps (start, end) as the standard has it, with nulls: an end may be missing. */
static value overlap(const value a[4], int (*cmp)(const value *, const value *))
{
	value from[2], to[2];
	for (int i = 0; i < 2; i++) {
		from[i] = a[2 * i];
		to[i] = a[2 * i + 1];
		bool swap = from[i].is == WHERE_NULL || (to[i].is == WHERE_VALUE && cmp(&from[i], &to[i]) > 0);
		if (from[i].is == WHERE_NULL && to[i].is == WHERE_NULL)
			return where_null();
		if (swap) {
			value was = from[i];
			from[i] = to[i];
			to[i] = was;
		}
	}
	int order = cmp(&from[0], &from[1]);
	if (order == 0)
		return to[0].is == WHERE_NULL || to[1].is == WHERE_NULL ? where_null() : where_bool(true);
	int late = order > 0 ? 0 : 1, early = 1 - late;
	if (to[early].is == WHERE_NULL)
		return where_null();
	if (cmp(&from[late], &to[early]) < 0)
		return where_bool(true);
	return to[late].is == WHERE_NULL ? where_null() : where_bool(false);
}

static int fn_overlaps_int(call *c, const value *a, value *out)
{
	(void)c;
	*out = overlap(a, cmp_int);
	return 0;
}

static int fn_overlaps_timetz(call *c, const value *a, value *out)
{
	(void)c;
	*out = overlap(a, cmp_timetz);
	return 0;
}

/* The forms with intervals as ends: their types tell which. */
static int fn_overlaps(call *c, const value *a, value *out)
{
	value v[4] = {a[0], a[1], a[2], a[3]};
	if (c->arg_types == NULL || c->nargs != 4)
		return where_fail(c, "overlaps: unexpected arguments");
	bool clock = c->arg_types[0]->oid == OID_TIME || c->arg_types[2]->oid == OID_TIME;
	for (int i = 1; i < 4; i += 2) {
		if (c->arg_types[i]->oid != OID_INTERVAL)
			continue;
		value sum[2] = {v[i - 1], v[i]};
		if (sum[0].is != WHERE_VALUE || sum[1].is != WHERE_VALUE)
			v[i] = where_null();
		else if ((clock ? fn_time_pl_interval(c, sum, &v[i]) : fn_stamp_pl_interval(c, sum, &v[i])) != 0)
			return -1;
	}
	if (c->arg_types[0]->oid == OID_TIMETZ)
		*out = overlap(v, cmp_timetz);
	else
		*out = overlap(v, cmp_int);
	return 0;
}

/* ---- making ------------------------------------------------------------------------------------------ */

static int field_range(call *c) { return where_fail(c, "date/time field value out of range"); }

static int fn_make_date(call *c, const value *a, value *out)
{
	struct dt_fields f;
	if (dt_check_date((int)a[0].u.i, (int)a[1].u.i, (int)a[2].u.i, &f) != 0)
		return field_range(c);
	if (!dt_julian_valid(f.year, f.mon))
		return date_range(c);
	int64_t date = dt_julian(f.year, f.mon, f.mday) - DT_EPOCH_JULIAN;
	if (!dt_date_valid(date))
		return date_range(c);
	*out = where_int(date);
	return 0;
}

static int make_clock(call *c, int64_t hour, int64_t min, double sec, int64_t *us)
{
	*us = 0;
	sec = isnan(sec) ? -1 : rint(sec * 1000000);
	if (hour < 0 || hour > 24 || min < 0 || min > 59 || sec < 0 || sec > 60000000 ||
	    hour * DT_HOUR + min * DT_MINUTE + (int64_t)sec > DT_DAY)
		return where_fail(c, "time field value out of range");
	*us = hour * DT_HOUR + min * DT_MINUTE + (int64_t)sec;
	return 0;
}

static int fn_make_time(call *c, const value *a, value *out)
{
	out->is = WHERE_VALUE;
	return make_clock(c, a[0].u.i, a[1].u.i, a[2].u.f, &out->u.i);
}

static int fn_make_timestamp(call *c, const value *a, value *out)
{
	struct dt_fields f;
	int64_t us, day;
	if (dt_check_date((int)a[0].u.i, (int)a[1].u.i, (int)a[2].u.i, &f) != 0)
		return field_range(c);
	if (!dt_julian_valid(f.year, f.mon))
		return date_range(c);
	if (make_clock(c, a[3].u.i, a[4].u.i, a[5].u.f, &us) != 0)
		return -1;
	day = dt_julian(f.year, f.mon, f.mday) - DT_EPOCH_JULIAN;
	if (__builtin_mul_overflow(day, DT_DAY, &day) || __builtin_add_overflow(day, us, &day) || !dt_stamp_valid(day))
		return stamp_range(c);
	*out = where_int(day);
	return 0;
}

static int fn_make_interval(call *c, const value *a, value *out)
{
	double secs = rint(a[6].u.f * 1000000);
	if (!(secs >= -9223372036854775808.0 && secs < 9223372036854775808.0)) /* before 17 what the processor makes of it */
		return isinf(secs) || isnan(secs) ? interval_range(c) : where_fail(c, "that depends on the version of PostgreSQL");
	/* Postgres 15 lets these wrap */
	uint32_t months = (uint32_t)a[0].u.i * 12u + (uint32_t)a[1].u.i, days = (uint32_t)a[2].u.i * 7u + (uint32_t)a[3].u.i;
	int64_t us = wrap_add(a[4].u.i * DT_HOUR, a[5].u.i * DT_MINUTE);
	*out = interval_value(c, (int32_t)months, (int32_t)days, wrap_add(us, (int64_t)secs));
	return 0;
}

static int fn_float8_timestamptz(call *c, const value *a, value *out)
{
	double s = a[0].u.f;
	if (isnan(s))
		return where_fail(c, "timestamp cannot be NaN");
	if (isinf(s)) {
		*out = where_int(s > 0 ? TIMESTAMP_INFINITY : TIMESTAMP_NEG_INFINITY);
		return 0;
	}
	if (s < 86400.0 * -DT_UNIX_JULIAN || s >= 86400.0 * (DT_STAMP_END_DATE + DT_EPOCH_JULIAN - DT_UNIX_JULIAN))
		return stamp_range(c);
	s = rint((s - (double)DT_UNIX_SECONDS) * 1000000);
	int64_t t = (int64_t)s;
	if (!dt_stamp_valid(t))
		return stamp_range(c);
	*out = where_int(t);
	return 0;
}

/* ---- date_trunc, date_bin ---------------------------------------------------------------------------- */

static int unit_unknown(call *c) { return where_fail(c, "unit not recognized"); }
static int unit_unsupported(call *c) { return where_fail(c, "unit not supported for this type"); }

/* The first year of a run of `years` years that begins with year 1 (decades: with 0). */
static int first_year(int year, int years)
{
	if (years == 10)
		return year > 0 ? year / 10 * 10 : -((8 - (year - 1)) / 10) * 10;
	return year > 0 ? (year + years - 1) / years * years - (years - 1) : -((years - 1 - (year - 1)) / years) * years + 1;
}

/* *day: the result is a midnight (or later than one). -1: no unit for timestamps. */
static int trunc_fields(struct dt_fields *f, enum dt_unit unit, bool *day)
{
	*day = false;
	switch (unit) {
	case DT_U_MICROSECOND:
		return 0;
	case DT_U_MILLISECOND:
		f->us = f->us / 1000 * 1000;
		return 0;
	case DT_U_WEEK: {
		int64_t julian = dt_julian(f->year, f->mon, f->mday);
		dt_from_julian(julian - (dt_weekday(julian) + 6) % 7, &f->year, &f->mon, &f->mday);
		break;
	}
	case DT_U_MILLENNIUM:
	case DT_U_CENTURY:
	case DT_U_DECADE:
		f->year = first_year(f->year, unit == DT_U_MILLENNIUM ? 1000 : unit == DT_U_CENTURY ? 100 : 10);
		/* fall through */
	case DT_U_YEAR:
		f->mon = 1;
		/* fall through */
	case DT_U_QUARTER:
		f->mon = (f->mon - 1) / 3 * 3 + 1;
		/* fall through */
	case DT_U_MONTH:
		f->mday = 1;
		break;
	case DT_U_DAY:
		break;
	case DT_U_HOUR:
		f->min = 0;
		/* fall through */
	case DT_U_MINUTE:
		f->sec = 0;
		/* fall through */
	case DT_U_SECOND:
		f->us = 0;
		return 0;
	default:
		return -1;
	}
	*day = true;
	f->hour = f->min = f->sec = f->us = 0;
	return 0;
}

static enum dt_unit unit_arg(const value *v, bool also)
{
	return dt_unit_of(v->u.p, v->len, also);
}

static int fn_stamp_trunc(call *c, const value *a, value *out)
{
	struct dt_fields f;
	bool day;
	int64_t t = a[1].u.i;
	if (dt_stamp_finite(t)) {
		enum dt_unit unit = unit_arg(&a[0], false);
		if (unit == DT_U_NONE || unit == DT_U_OTHER)
			return unit_unknown(c);
		if (dt_split(t, &f) != 0)
			return stamp_range(c);
		if (trunc_fields(&f, unit, &day) != 0)
			return unit_unsupported(c);
		if (dt_join(&f, 0, &t) != 0)
			return stamp_range(c);
	}
	*out = where_int(t);
	return 0;
}

static int fn_interval_trunc(call *c, const value *a, value *out)
{
	enum dt_unit unit = unit_arg(&a[0], false);
	struct where_interval v = *a[1].u.interval;
	if (unit == DT_U_NONE || unit == DT_U_OTHER)
		return unit_unknown(c);
	int months = unit == DT_U_MILLENNIUM ? 12000 : unit == DT_U_CENTURY ? 1200 : unit == DT_U_DECADE ? 120 :
	             unit == DT_U_YEAR ? 12 : unit == DT_U_QUARTER ? 3 : unit == DT_U_MONTH ? 1 : 0;
	int64_t us = unit == DT_U_HOUR ? DT_HOUR : unit == DT_U_MINUTE ? DT_MINUTE : unit == DT_U_SECOND ? DT_SECOND :
	             unit == DT_U_MILLISECOND ? 1000 : unit == DT_U_MICROSECOND ? 1 : 0;
	if (months > 0)
		v = (struct where_interval){.months = v.months / months * months};
	else if (unit == DT_U_DAY)
		v.us = 0;
	else if (us > 0)
		v.us = v.us / us * us;
	else
		return unit_unsupported(c);
	*out = interval_value(c, v.months, v.days, v.us);
	return 0;
}

static int fn_stamp_bin(call *c, const value *a, value *out)
{
	const struct where_interval *v = a[0].u.interval;
	int64_t t = a[1].u.i, origin = a[2].u.i, stride, diff;
	if (!dt_stamp_finite(t)) {
		*out = a[1];
		return 0;
	}
	if (!dt_stamp_finite(origin))
		return where_fail(c, "origin out of range");
	if (v->months != 0)
		return where_fail(c, "timestamps cannot be binned into intervals containing months or years");
	if (__builtin_mul_overflow((int64_t)v->days, DT_DAY, &stride) || __builtin_add_overflow(stride, v->us, &stride))
		return interval_range(c);
	if (stride <= 0)
		return where_fail(c, "stride must be greater than zero");
	if (__builtin_sub_overflow(t, origin, &diff))
		return interval_range(c);
	t -= diff % stride;
	if (diff % stride < 0 && (__builtin_sub_overflow(t, stride, &t) || !dt_stamp_valid(t)))
		return stamp_range(c);
	*out = where_int(t);
	return 0;
}

/* ---- extract ----------------------------------------------------------------------------------------- */

/* What is extracted: a scaled number, a double, or one of the infinities. */
struct part { int64_t scaled; int scale; double f; int infinite; bool null; const struct numeric *numeric; };

static int put_part(call *c, const struct part *p, bool numeric, value *out)
{
	if (p->null)
		*out = where_null();
	else if (!numeric)
		*out = where_float(p->infinite != 0 ? p->infinite * (double)INFINITY : p->f);
	else {
		const struct numeric *v = p->numeric;
		if (p->infinite != 0)
			v = numeric_parse(c, p->infinite > 0 ? "Infinity" : "-Infinity", p->infinite > 0 ? 8 : 9);
		else if (v == NULL)
			v = numeric_from_scaled(c->mem, p->scaled, p->scale);
		if (v == NULL)
			return -1;
		*out = numeric_value(v);
	}
	return 0;
}

static void part_int(struct part *p, int64_t v)
{
	p->scaled = v;
	p->f = (double)v;
}

static void part_seconds(struct part *p, int64_t sec, int64_t us)
{
	p->scaled = sec * DT_SECOND + us;
	p->scale = 6;
	p->f = (double)sec + (double)us / 1000000.0;
}

/* Units of the clock; false: another unit. Hours may be many (intervals). */
static bool part_of_clock(struct part *p, enum dt_unit unit, int64_t hour, int min, int sec, int us)
{
	switch (unit) {
	case DT_U_MICROSECOND:
		part_int(p, sec * DT_SECOND + us);
		return true;
	case DT_U_MILLISECOND:
		p->scaled = sec * DT_SECOND + us;
		p->scale = 3;
		p->f = sec * 1000.0 + us / 1000.0;
		return true;
	case DT_U_SECOND:
		part_seconds(p, sec, us);
		return true;
	case DT_U_MINUTE:
		part_int(p, min);
		return true;
	case DT_U_HOUR:
		part_int(p, hour);
		return true;
	default:
		return false;
	}
}

/* Units of the calendar but `julian`; false: another unit. */
static bool part_of_date(struct part *p, enum dt_unit unit, const struct dt_fields *f)
{
	int year = f->year;
	int64_t julian = dt_julian(year, f->mon, f->mday);
	switch (unit) {
	case DT_U_DAY:
		part_int(p, f->mday);
		return true;
	case DT_U_MONTH:
		part_int(p, f->mon);
		return true;
	case DT_U_QUARTER:
		part_int(p, (f->mon - 1) / 3 + 1);
		return true;
	case DT_U_WEEK:
		part_int(p, dt_iso_week(f));
		return true;
	case DT_U_YEAR:
		part_int(p, year > 0 ? year : year - 1);
		return true;
	case DT_U_DECADE:
		part_int(p, year >= 0 ? year / 10 : -((8 - (year - 1)) / 10));
		return true;
	case DT_U_CENTURY:
		part_int(p, year > 0 ? (year + 99) / 100 : -((99 - (year - 1)) / 100));
		return true;
	case DT_U_MILLENNIUM:
		part_int(p, year > 0 ? (year + 999) / 1000 : -((999 - (year - 1)) / 1000));
		return true;
	case DT_U_ISOYEAR:
		year = dt_iso_year(f);
		part_int(p, year > 0 ? year : year - 1);
		return true;
	case DT_U_DOW:
		part_int(p, dt_weekday(julian));
		return true;
	case DT_U_ISODOW:
		part_int(p, (dt_weekday(julian) + 6) % 7 + 1);
		return true;
	case DT_U_DOY:
		part_int(p, julian - dt_julian(year, 1, 1) + 1);
		return true;
	default:
		return false;
	}
}

/* What infinity has of a unit: null of those that go round, infinity of those that grow. -1: no unit. */
static int part_infinite(struct part *p, enum dt_unit unit, bool clock, bool negative)
{
	switch (unit) {
	case DT_U_MICROSECOND:
	case DT_U_MILLISECOND:
	case DT_U_SECOND:
	case DT_U_MINUTE:
	case DT_U_HOUR:
		p->null = true;
		return clock ? 0 : -1;
	case DT_U_DAY:
	case DT_U_MONTH:
	case DT_U_QUARTER:
	case DT_U_WEEK:
	case DT_U_DOW:
	case DT_U_ISODOW:
	case DT_U_DOY:
		p->null = true;
		return 0;
	case DT_U_YEAR:
	case DT_U_DECADE:
	case DT_U_CENTURY:
	case DT_U_MILLENNIUM:
	case DT_U_JULIAN:
	case DT_U_ISOYEAR:
	case DT_U_EPOCH:
		p->infinite = negative ? -1 : 1;
		return 0;
	default:
		return -1;
	}
}

/* Days and the part of a day: the division is numeric's, with its scale. */
static int part_julian(call *c, struct part *p, const struct dt_fields *f, bool numeric)
{
	int64_t day = dt_julian(f->year, f->mon, f->mday), us = dt_join_time(f);
	if (!numeric) {
		p->f = (double)day + ((double)((f->hour * 60 + f->min) * 60 + f->sec) + f->us / 1000000.0) / 86400.0;
		return 0;
	}
	const struct numeric *of_day = numeric_div(c, numeric_from_int64(c->mem, us), numeric_from_int64(c->mem, DT_DAY));
	if (of_day == NULL)
		return -1;
	p->numeric = numeric_add(c, numeric_from_int64(c->mem, day), of_day);
	return p->numeric == NULL ? -1 : 0;
}

static int part_epoch_stamp(call *c, struct part *p, int64_t t, bool numeric)
{
	int64_t us;
	if (!__builtin_add_overflow(t, DT_UNIX_SECONDS * DT_SECOND, &us)) {
		p->scaled = us;
		p->scale = 6;
		p->f = (double)us / 1000000.0;
		return 0;
	}
	p->f = ((double)t + (double)(DT_UNIX_SECONDS * DT_SECOND)) / 1000000.0;
	if (!numeric)
		return 0;
	/* Postgres divides as numeric does here, and so loses digits. */
	const struct numeric *sum = numeric_add(c, numeric_from_int64(c->mem, t),
	                                        numeric_from_int64(c->mem, DT_UNIX_SECONDS * DT_SECOND));
	const struct numeric *sec = sum == NULL ? NULL : numeric_div(c, sum, numeric_from_int64(c->mem, DT_SECOND));
	p->numeric = sec == NULL ? NULL : numeric_round(c, sec, 6);
	return p->numeric == NULL ? -1 : 0;
}

static int stamp_part(call *c, const value *a, bool zone, bool numeric, value *out)
{
	struct part p = {0};
	struct dt_fields f;
	int64_t t = a[1].u.i;
	enum dt_unit unit = unit_arg(&a[0], true);
	bool of_zone = unit == DT_U_ZONE || unit == DT_U_ZONE_HOUR || unit == DT_U_ZONE_MINUTE;
	if (unit == DT_U_NONE || unit == DT_U_OTHER)
		return unit_unknown(c);
	if (of_zone && dt_stamp_finite(t)) {
		if (!zone)
			return unit_unsupported(c);
		part_int(&p, 0);
	} else if (of_zone)
		p.null = true;
	else if (!dt_stamp_finite(t)) {
		if (part_infinite(&p, unit, true, t == TIMESTAMP_NEG_INFINITY) != 0)
			return unit_unsupported(c);
	} else if (unit == DT_U_EPOCH) {
		if (part_epoch_stamp(c, &p, t, numeric) != 0)
			return -1;
	} else {
		if (dt_split(t, &f) != 0)
			return stamp_range(c);
		if (unit == DT_U_JULIAN) {
			if (part_julian(c, &p, &f, numeric) != 0)
				return -1;
		} else if (!part_of_clock(&p, unit, f.hour, f.min, f.sec, f.us) && !part_of_date(&p, unit, &f))
			return unit_unsupported(c);
	}
	return put_part(c, &p, numeric, out);
}

static int fn_timestamp_part(call *c, const value *a, value *out) { return stamp_part(c, a, false, false, out); }
static int fn_timestamptz_part(call *c, const value *a, value *out) { return stamp_part(c, a, true, false, out); }
static int fn_extract_timestamp(call *c, const value *a, value *out) { return stamp_part(c, a, false, true, out); }
static int fn_extract_timestamptz(call *c, const value *a, value *out) { return stamp_part(c, a, true, true, out); }

static int fn_date_part(call *c, const value *a, value *out)
{
	value v[2] = {a[0], {.is = WHERE_VALUE}};
	out->is = WHERE_NULL;
	if (a[1].is == WHERE_VALUE && date_to_stamp(c, a[1].u.i, &v[1].u.i) != 0) /* inlined (catalog.h): also for no field */
		return -1;
	return a[0].is == WHERE_NULL || a[1].is == WHERE_NULL ? 0 : stamp_part(c, v, false, false, out);
}

static int fn_extract_date(call *c, const value *a, value *out)
{
	struct part p = {0};
	struct dt_fields f = {0};
	int64_t date = a[1].u.i;
	enum dt_unit unit = unit_arg(&a[0], true);
	if (unit == DT_U_NONE || unit == DT_U_OTHER)
		return unit_unknown(c);
	if (!dt_date_finite(date)) {
		if (part_infinite(&p, unit, false, date == DATE_NEG_INFINITY) != 0)
			return unit_unsupported(c);
		return put_part(c, &p, true, out);
	}
	dt_from_julian(date + DT_EPOCH_JULIAN, &f.year, &f.mon, &f.mday);
	if (unit == DT_U_JULIAN)
		part_int(&p, date + DT_EPOCH_JULIAN);
	else if (unit == DT_U_EPOCH)
		part_int(&p, (date + DT_EPOCH_JULIAN - DT_UNIX_JULIAN) * 86400);
	else if (!part_of_date(&p, unit, &f))
		return unit_unsupported(c);
	return put_part(c, &p, true, out);
}

static int time_part(call *c, const value *a, bool numeric, value *out)
{
	struct part p = {0};
	struct dt_fields f;
	int64_t us = a[1].u.i;
	enum dt_unit unit = unit_arg(&a[0], true);
	dt_split_time(us, &f);
	if (unit == DT_U_EPOCH) {
		p.scaled = us;
		p.scale = 6;
		p.f = (double)us / 1000000.0;
	} else if (!part_of_clock(&p, unit, f.hour, f.min, f.sec, f.us))
		return unit == DT_U_NONE || unit == DT_U_OTHER ? unit_unknown(c) : unit_unsupported(c);
	return put_part(c, &p, numeric, out);
}

static int timetz_part(call *c, const value *a, bool numeric, value *out)
{
	struct part p = {0};
	struct dt_fields f;
	const struct where_timetz *v = a[1].u.timetz;
	enum dt_unit unit = unit_arg(&a[0], true);
	int32_t east = -v->zone;
	dt_split_time(v->us, &f);
	if (unit == DT_U_EPOCH) {
		p.scaled = v->us + v->zone * DT_SECOND;
		p.scale = 6;
		p.f = (double)v->us / 1000000.0 + v->zone;
	} else if (unit == DT_U_ZONE)
		part_int(&p, east);
	else if (unit == DT_U_ZONE_HOUR)
		part_int(&p, east / 3600);
	else if (unit == DT_U_ZONE_MINUTE)
		part_int(&p, east / 60 % 60);
	else if (!part_of_clock(&p, unit, f.hour, f.min, f.sec, f.us))
		return unit == DT_U_NONE || unit == DT_U_OTHER ? unit_unknown(c) : unit_unsupported(c);
	return put_part(c, &p, numeric, out);
}

/* A year is 365.25 days here, a month 30. */
static int part_epoch_interval(call *c, struct part *p, const struct where_interval *v, bool numeric)
{
	int64_t seconds = (INT64_C(1461) * (v->months / 12) + INT64_C(120) * (v->months % 12) + INT64_C(4) * v->days) * 21600;
	p->scale = 6;
	p->f = (double)v->us / 1000000.0;
	p->f += 365.25 * 86400 * (v->months / 12);
	p->f += 30.0 * 86400 * (v->months % 12);
	p->f += 86400.0 * v->days;
	if (!__builtin_mul_overflow(seconds, DT_SECOND, &p->scaled) && !__builtin_add_overflow(p->scaled, v->us, &p->scaled))
		return 0;
	if (numeric)
		p->numeric = numeric_add(c, numeric_from_scaled(c->mem, v->us, 6), numeric_from_int64(c->mem, seconds));
	return numeric && p->numeric == NULL ? -1 : 0;
}

static int interval_part(call *c, const value *a, bool numeric, value *out)
{
	struct part p = {0};
	const struct where_interval *v = a[1].u.interval;
	enum dt_unit unit = unit_arg(&a[0], true);
	switch (unit) {
	case DT_U_NONE:
	case DT_U_OTHER:
		return unit_unknown(c);
	case DT_U_EPOCH:
		if (part_epoch_interval(c, &p, v, numeric) != 0)
			return -1;
		break;
	case DT_U_DAY:
		part_int(&p, v->days);
		break;
	case DT_U_MONTH:
		part_int(&p, v->months % 12);
		break;
	case DT_U_QUARTER:
		part_int(&p, v->months % 12 / 3 + 1);
		break;
	case DT_U_YEAR:
		part_int(&p, v->months / 12);
		break;
	case DT_U_DECADE:
		part_int(&p, v->months / 120);
		break;
	case DT_U_CENTURY:
		part_int(&p, v->months / 1200);
		break;
	case DT_U_MILLENNIUM:
		part_int(&p, v->months / 12000);
		break;
	default:
		if (!part_of_clock(&p, unit, v->us / DT_HOUR, (int)(v->us / DT_MINUTE % 60), (int)(v->us / DT_SECOND % 60),
		                   (int)(v->us % DT_SECOND)))
			return unit_unsupported(c);
	}
	return put_part(c, &p, numeric, out);
}

static int fn_time_part(call *c, const value *a, value *out) { return time_part(c, a, false, out); }
static int fn_extract_time(call *c, const value *a, value *out) { return time_part(c, a, true, out); }
static int fn_timetz_part(call *c, const value *a, value *out) { return timetz_part(c, a, false, out); }
static int fn_extract_timetz(call *c, const value *a, value *out) { return timetz_part(c, a, true, out); }
static int fn_interval_part(call *c, const value *a, value *out) { return interval_part(c, a, false, out); }
static int fn_extract_interval(call *c, const value *a, value *out) { return interval_part(c, a, true, out); }

/* ---- time zones -------------------------------------------------------------------------------------- */

/* A zone argument: an abbreviation or a name. */
struct zone_arg { enum zone_abbrev kind; int32_t east; const struct zone *zone; const char *text; size_t n; };

static int read_zone(call *c, const value *v, struct zone_arg *z)
{
	const char *name;
	*z = (struct zone_arg){.text = v->u.p, .n = v->len};
	z->kind = zone_abbrev_find(v->u.p, v->len, &z->east, &name);
	if (z->kind == ZONE_ABBREV_FIXED || z->kind == ZONE_ABBREV_DST)
		return 0;
	if (z->kind == ZONE_ABBREV_DYNAMIC)
		z->zone = zone_named(c, name, strlen(name));
	else
		z->zone = zone_named(c, v->u.p, v->len);
	return z->zone == NULL ? -1 : 0;
}

static int32_t east_local(const struct zone_arg *z, const struct dt_fields *f)
{
	if (z->zone == NULL)
		return z->east;
	return z->kind == ZONE_ABBREV_DYNAMIC ? zone_abbrev_local(z->zone, z->text, z->n, f) : zone_east_local(z->zone, f);
}

/* Unix time in seconds; Postgres divides towards zero for abbreviations. */
static int32_t east_at(const struct zone_arg *z, int64_t stamp)
{
	if (z->zone == NULL)
		return z->east;
	if (z->kind == ZONE_ABBREV_DYNAMIC)
		return zone_abbrev_at(z->zone, z->text, z->n, stamp / DT_SECOND + DT_UNIX_SECONDS);
	return zone_east_at(z->zone, (stamp - floor_mod(stamp, DT_SECOND)) / DT_SECOND + DT_UNIX_SECONDS);
}

static int shift_stamp(call *c, int64_t t, int64_t seconds, value *out)
{
	if (__builtin_add_overflow(t, seconds * DT_SECOND, &t) || !dt_stamp_valid(t))
		return stamp_range(c);
	*out = where_int(t);
	return 0;
}

/* A local time of the zone, to UTC. */
static int fn_timestamp_zone(call *c, const value *a, value *out)
{
	struct zone_arg z;
	struct dt_fields f;
	if (!dt_stamp_finite(a[1].u.i)) {
		*out = a[1];
		return 0;
	}
	if (read_zone(c, &a[0], &z) != 0)
		return -1;
	if (dt_split(a[1].u.i, &f) != 0)
		return stamp_range(c);
	return shift_stamp(c, a[1].u.i, -(int64_t)east_local(&z, &f), out);
}

static int fn_timestamptz_zone(call *c, const value *a, value *out)
{
	struct zone_arg z;
	if (!dt_stamp_finite(a[1].u.i)) {
		*out = a[1];
		return 0;
	}
	return read_zone(c, &a[0], &z) != 0 ? -1 : shift_stamp(c, a[1].u.i, east_at(&z, a[1].u.i), out);
}

static int zone_interval(call *c, const value *v, int32_t *east)
{
	*east = 0;
	if (v->u.interval->months != 0 || v->u.interval->days != 0)
		return where_fail(c, "interval time zone must not include months or days");
	*east = (int32_t)(uint32_t)(v->u.interval->us / DT_SECOND);
	return 0;
}

static int fn_timestamp_izone(call *c, const value *a, value *out)
{
	int32_t east;
	if (!dt_stamp_finite(a[1].u.i)) {
		*out = a[1];
		return 0;
	}
	return zone_interval(c, &a[0], &east) != 0 ? -1 : shift_stamp(c, a[1].u.i, -(int64_t)east, out);
}

static int fn_timestamptz_izone(call *c, const value *a, value *out)
{
	int32_t east;
	if (!dt_stamp_finite(a[1].u.i)) {
		*out = a[1];
		return 0;
	}
	return zone_interval(c, &a[0], &east) != 0 ? -1 : shift_stamp(c, a[1].u.i, east, out);
}

static value timetz_at(call *c, const struct where_timetz *v, int32_t east)
{
	int32_t west = (int32_t)(0u - (uint32_t)east);
	return timetz_value(c, floor_mod(v->us + ((int64_t)v->zone - west) * DT_SECOND, DT_DAY), west);
}

/* Postgres takes the offset that the zone has at this moment. */
static int fn_timetz_zone(call *c, const value *a, value *out)
{
	struct zone_arg z;
	if (read_zone(c, &a[0], &z) != 0)
		return -1;
	if (z.zone != NULL && !zone_constant(z.zone, &z.east))
		return where_fail(c, "the zone's offset for a time without date depends on the current time");
	*out = timetz_at(c, a[1].u.timetz, z.east);
	return 0;
}

static int fn_timetz_izone(call *c, const value *a, value *out)
{
	int32_t east;
	if (zone_interval(c, &a[0], &east) != 0)
		return -1;
	*out = timetz_at(c, a[1].u.timetz, east);
	return 0;
}

/* date_trunc(unit, timestamptz, zone): cut as the zone's clocks show it. */
static int fn_stamp_trunc_zone(call *c, const value *a, value *out)
{
	struct zone_arg z;
	struct dt_fields f;
	bool day;
	int64_t t = a[1].u.i;
	if (!dt_stamp_finite(t)) {
		*out = a[1];
		return 0;
	}
	if (read_zone(c, &a[2], &z) != 0)
		return -1;
	if (z.kind == ZONE_ABBREV_DYNAMIC) /* its zone's own rules here */
		z.kind = ZONE_ABBREV_NONE;
	enum dt_unit unit = unit_arg(&a[0], false);
	if (unit == DT_U_NONE || unit == DT_U_OTHER)
		return unit_unknown(c);
	int32_t east = east_at(&z, t);
	if (dt_split(t + east * DT_SECOND, &f) != 0)
		return stamp_range(c);
	if (trunc_fields(&f, unit, &day) != 0)
		return unit_unsupported(c);
	if (day)
		east = east_local(&z, &f);
	if (dt_join(&f, -(int64_t)east, &t) != 0)
		return stamp_range(c);
	*out = where_int(t);
	return 0;
}

/* make_timestamptz(…, zone): a numeric offset with its sign, an abbreviation or a name. */
static int fn_make_timestamptz_zone(call *c, const value *a, value *out)
{
	char text[ZONE_NAME_MAX + 1];
	struct zone_arg z = {0};
	struct dt_fields f;
	int32_t west;
	value local;
	if (fn_make_timestamp(c, a, &local) != 0)
		return -1;
	size_t n = a[6].len < ZONE_NAME_MAX ? a[6].len : ZONE_NAME_MAX;
	memcpy(text, a[6].u.p, n);
	text[n] = '\0';
	if (text[0] >= '0' && text[0] <= '9')
		return where_fail(c, "numeric time zones must have - or + as first character");
	int rc = dt_read_offset(text, &west);
	if (rc == 2)
		return where_fail(c, "numeric time zone out of range");
	if (rc == 1) {
		if (read_zone(c, &a[6], &z) != 0)
			return -1;
		if (dt_split(local.u.i, &f) != 0)
			return stamp_range(c);
		west = -east_local(&z, &f);
	}
	return shift_stamp(c, local.u.i, west, out);
}

/* ---- to_char ----------------------------------------------------------------------------------------- */

static int stamp_to_char(call *c, const value *a, bool zone, value *out)
{
	if (!dt_stamp_finite(a[0].u.i) || a[1].len == 0) {
		*out = where_null();
		return 0;
	}
	struct buf text = BUF_INIT(WHERE_VALUE_BYTES_MAX);
	int rc = dt_to_char(c, a[0].u.i, zone, a[1].u.p, a[1].len, &text);
	if (rc == 0)
		*out = where_bytes(arena_strndup(c->mem, text.data != NULL ? text.data : "", text.len), text.len);
	buf_clear(&text);
	return rc;
}

static int fn_timestamp_to_char(call *c, const value *a, value *out) { return stamp_to_char(c, a, false, out); }
static int fn_timestamptz_to_char(call *c, const value *a, value *out) { return stamp_to_char(c, a, true, out); }

/* ---- tables ------------------------------------------------------------------------------------------ */

#define I(name, function) {.prosrc = name, .fn = fn_##function}
#define I_COMPARE(left, right, function, suffix) \
	I(left "_eq" right, function##_eq##suffix), I(left "_ne" right, function##_ne##suffix), \
	I(left "_lt" right, function##_lt##suffix), I(left "_le" right, function##_le##suffix), \
	I(left "_gt" right, function##_gt##suffix), I(left "_ge" right, function##_ge##suffix), \
	I(left "_cmp" right, function##_cmp##suffix)
#define I_TYPE(name, function) \
	I_COMPARE(name, "", function, ), I(name "_larger", function##_larger), I(name "_smaller", function##_smaller)

const struct where_impl where_impl_datetime[] = {
	I_TYPE("date", int), I_TYPE("time", int), I_TYPE("timestamp", int), I_TYPE("timetz", timetz),
	I_TYPE("interval", interval),
	I_COMPARE("date", "_timestamp", date, _stamp), I_COMPARE("date", "_timestamptz", date, _stamp),
	I_COMPARE("timestamp", "_date", stamp, _date), I_COMPARE("timestamptz", "_date", stamp, _date),
	I_COMPARE("timestamp", "_timestamptz", int, ), I_COMPARE("timestamptz", "_timestamp", int, ),

	I("time_scale", time_scale), I("timetz_scale", timetz_scale), I("timestamp_scale", stamp_scale),
	I("timestamptz_scale", stamp_scale), I("interval_scale", interval_scale),

	I("date_timestamp", date_timestamp), I("date_timestamptz", date_timestamp), I("timestamp_date", stamp_date),
	I("timestamptz_date", stamp_date), I("timestamp_timestamptz", stamp_same), I("timestamptz_timestamp", stamp_same),
	I("timestamp_time", stamp_time), I("timestamptz_time", stamp_time), I("timestamptz_timetz", stamp_timetz),
	I("time_timetz", time_timetz), I("timetz_time", timetz_time), I("time_interval", time_interval),
	I("interval_time", interval_time), I("datetime_timestamp", date_pl_time),
	I("datetimetz_timestamptz", date_pl_timetz), I("timestamptz", date_pl_time), I("timedate_pl", time_pl_date),
	I("timetzdate_pl", timetz_pl_date),

	I("date_pli", date_pli), I("date_mii", date_mii), I("integer_pl_date", integer_pl_date), I("date_mi", date_mi),
	I("date_pl_interval", date_pl_interval), I("date_mi_interval", date_mi_interval),
	I("interval_pl_date", interval_pl_date), I("timestamp_pl_interval", stamp_pl_interval),
	I("timestamp_mi_interval", stamp_mi_interval), I("timestamptz_pl_interval", stamp_pl_interval),
	I("timestamptz_mi_interval", stamp_mi_interval), I("interval_pl_timestamp", interval_pl_stamp),
	I("interval_pl_timestamptz", interval_pl_stamp), I("time_pl_interval", time_pl_interval),
	I("time_mi_interval", time_mi_interval), I("interval_pl_time", interval_pl_time),
	I("timetz_pl_interval", timetz_pl_interval), I("timetz_mi_interval", timetz_mi_interval),
	I("interval_pl_timetz", interval_pl_timetz), I("time_mi_time", time_mi_time), I("timestamp_mi", stamp_mi),
	I("timestamp_age", stamp_age), I("timestamptz_age", stamp_age),

	I("interval_um", interval_um), I("interval_pl", interval_pl), I("interval_mi", interval_mi),
	I("interval_mul", interval_mul), I("mul_d_interval", mul_d_interval), I("interval_div", interval_div),
	I("interval_justify_hours", justify_hours), I("interval_justify_days", justify_days),
	I("interval_justify_interval", justify_interval),

	I("date_finite", date_finite), I("timestamp_finite", timestamp_finite), I("interval_finite", interval_finite),
	I("overlaps_time", overlaps_int), I("overlaps_timestamp", overlaps_int), I("overlaps_timetz", overlaps_timetz),
	I("overlaps", overlaps),

	I("make_date", make_date), I("make_time", make_time), I("make_timestamp", make_timestamp),
	I("make_timestamptz", make_timestamp), I("make_timestamptz_at_timezone", make_timestamptz_zone),
	I("make_interval", make_interval), I("float8_timestamptz", float8_timestamptz),

	I("timestamp_trunc", stamp_trunc), I("timestamptz_trunc", stamp_trunc),
	I("timestamptz_trunc_zone", stamp_trunc_zone), I("interval_trunc", interval_trunc),
	I("timestamp_bin", stamp_bin), I("timestamptz_bin", stamp_bin),

	I("date_part", date_part), I("timestamp_part", timestamp_part), I("timestamptz_part", timestamptz_part),
	I("time_part", time_part), I("timetz_part", timetz_part), I("interval_part", interval_part),
	I("extract_date", extract_date), I("extract_timestamp", extract_timestamp),
	I("extract_timestamptz", extract_timestamptz), I("extract_time", extract_time),
	I("extract_timetz", extract_timetz), I("extract_interval", extract_interval),

	I("timestamp_zone", timestamp_zone), I("timestamptz_zone", timestamptz_zone),
	I("timestamp_izone", timestamp_izone), I("timestamptz_izone", timestamptz_izone), I("timetz_zone", timetz_zone),
	I("timetz_izone", timetz_izone),

	I("timestamp_to_char", timestamp_to_char), I("timestamptz_to_char", timestamptz_to_char),
	{.prosrc = NULL},
};

const struct where_io where_io_datetime[] = {
	{"date", date_in, date_out, cmp_int, hash_int},
	{"time", time_in, time_out, cmp_int, hash_int},
	{"timetz", timetz_in, timetz_out, cmp_timetz, hash_timetz},
	{"timestamp", timestamp_in, timestamp_out, cmp_int, hash_int},
	{"timestamptz", timestamptz_in, timestamptz_out, cmp_int, hash_int},
	{"interval", interval_in, interval_out, cmp_interval, hash_interval},
	{.type = NULL},
};
