/*
 * datetime.c - the calendar, and writing dates and times as Postgres does under our session settings.
 *
 * Days are counted as Julian days (noon-based ones, rounded to midnight before, as Postgres counts them).
 */
#include "where/datetime.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 80 /* of any of the texts written here */

/* ---- the calendar --------------------------------------------------------------------------------- */

bool dt_leap(int64_t year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

int dt_month_days(int64_t year, int mon)
{
	static const uint8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	return days[mon - 1] + (mon == 2 && dt_leap(year));
}

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

/* Years are taken to begin in March, so that the leap day is the last one; 1721120 is 0000-03-01. */
int64_t dt_julian(int64_t year, int mon, int64_t mday)
{
	int64_t y = mon <= 2 ? year - 1 : year, era = floor_div(y, 400), of_era = y - era * 400;
	int64_t of_year = (153 * (mon > 2 ? mon - 3 : mon + 9) + 2) / 5 + mday - 1;
	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year + 1721120;
}

void dt_from_julian(int64_t julian, int *year, int *mon, int *mday)
{
	int64_t day = julian - 1721120, era = floor_div(day, 146097), of_era = day - era * 146097;
	int64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * y + y / 4 - y / 100), m = (5 * of_year + 2) / 153;
	*mday = (int)(of_year - (153 * m + 2) / 5 + 1);
	*mon = (int)(m < 10 ? m + 3 : m - 9);
	*year = (int)(y + era * 400 + (*mon <= 2));
}

int dt_weekday(int64_t julian)
{
	return (int)(((julian + 1) % 7 + 7) % 7);
}

/* A week belongs to the year of its Thursday. */
static int64_t thursday(const struct dt_fields *f)
{
	int64_t day = dt_julian(f->year, f->mon, f->mday);
	return day - (dt_weekday(day) + 6) % 7 + 3;
}

int dt_iso_year(const struct dt_fields *f)
{
	int year, mon, mday;
	dt_from_julian(thursday(f), &year, &mon, &mday);
	return year;
}

int dt_iso_week(const struct dt_fields *f)
{
	return (int)((thursday(f) - dt_julian(dt_iso_year(f), 1, 1)) / 7 + 1);
}

void dt_split_time(int64_t us, struct dt_fields *f)
{
	f->hour = (int)(us / DT_HOUR);
	f->min = (int)(us / DT_MINUTE % 60);
	f->sec = (int)(us / DT_SECOND % 60);
	f->us = (int)(us % DT_SECOND);
}

int64_t dt_join_time(const struct dt_fields *f)
{
	return f->hour * DT_HOUR + f->min * DT_MINUTE + f->sec * DT_SECOND + f->us;
}

int dt_split(int64_t stamp, struct dt_fields *f)
{
	int64_t day = floor_div(stamp, DT_DAY);
	if (day < -DT_EPOCH_JULIAN)
		return -1;
	dt_from_julian(day + DT_EPOCH_JULIAN, &f->year, &f->mon, &f->mday);
	dt_split_time(stamp - day * DT_DAY, f);
	return 0;
}

int dt_join(const struct dt_fields *f, int64_t west, int64_t *stamp)
{
	if (!dt_julian_valid(f->year, f->mon))
		return -1;
	int64_t day = dt_julian(f->year, f->mon, f->mday) - DT_EPOCH_JULIAN, v;
	if (__builtin_mul_overflow(day, DT_DAY, &v) || __builtin_add_overflow(v, dt_join_time(f), &v) ||
	    __builtin_add_overflow(v, west * DT_SECOND, &v) || !dt_stamp_valid(v))
		return -1;
	*stamp = v;
	return 0;
}

int64_t dt_round(int64_t us, int digits)
{
	static const int32_t units[] = {1000000, 100000, 10000, 1000, 100, 10, 1};
	int64_t unit = units[digits], v;
	/* Intervals may be so long that the sum wraps, in Postgres too. */
	(void)(us >= 0 ? __builtin_add_overflow(us, unit / 2, &v) : __builtin_sub_overflow(us, unit / 2, &v));
	return v / unit * unit;
}

/* ---- writing -------------------------------------------------------------------------------------- */

static char *put2(char *s, int v)
{
	s[0] = (char)('0' + v / 10 % 10);
	s[1] = (char)('0' + v % 10);
	return s + 2;
}

static char *put_unsigned(char *s, uint64_t v, int width)
{
	char digits[20];
	int n = 0;
	do
		digits[n++] = (char)('0' + v % 10);
	while ((v /= 10) != 0);
	while (width-- > n)
		*s++ = '0';
	while (n > 0)
		*s++ = digits[--n];
	return s;
}

static char *put_day(char *s, int year, int mon, int mday)
{
	s = put_unsigned(s, (uint64_t)(year > 0 ? year : 1 - (int64_t)year), 4);
	*s++ = '-';
	s = put2(s, mon);
	*s++ = '-';
	return put2(s, mday);
}

/* Without trailing zeros. */
static char *put_fraction(char *s, int us)
{
	if (us == 0)
		return s;
	*s++ = '.';
	for (int unit = 100000; us > 0; unit /= 10) {
		*s++ = (char)('0' + us / unit);
		us %= unit;
	}
	return s;
}

static char *put_clock(char *s, const struct dt_fields *f)
{
	s = put2(s, f->hour);
	*s++ = ':';
	s = put2(s, f->min);
	*s++ = ':';
	s = put2(s, f->sec);
	return put_fraction(s, f->us);
}

static char *put_era(char *s, int year)
{
	if (year > 0)
		return s;
	memcpy(s, " BC", 3);
	return s + 3;
}

void dt_put_date(struct buf *out, int64_t date)
{
	if (!dt_date_finite(date)) {
		buf_puts(out, date == DATE_INFINITY ? "infinity" : "-infinity");
		return;
	}
	char *start = buf_room(out, TEXT_MAX);
	int year, mon, mday;
	if (start == NULL)
		return;
	dt_from_julian(date + DT_EPOCH_JULIAN, &year, &mon, &mday);
	buf_added(out, (size_t)(put_era(put_day(start, year, mon, mday), year) - start));
}

void dt_put_time(struct buf *out, int64_t us)
{
	struct dt_fields f;
	char *start = buf_room(out, TEXT_MAX);
	if (start == NULL)
		return;
	dt_split_time(us, &f);
	buf_added(out, (size_t)(put_clock(start, &f) - start));
}

static char *put_zone(char *s, int32_t west)
{
	uint32_t v = west < 0 ? 0u - (uint32_t)west : (uint32_t)west;
	*s++ = west <= 0 ? '+' : '-';
	s = put_unsigned(s, v / 3600, 2);
	if (v % 3600 == 0)
		return s;
	*s++ = ':';
	s = put2(s, (int)(v / 60 % 60));
	if (v % 60 == 0)
		return s;
	*s++ = ':';
	return put2(s, (int)(v % 60));
}

void dt_put_zone(struct buf *out, int32_t west)
{
	char *start = buf_room(out, TEXT_MAX);
	if (start != NULL)
		buf_added(out, (size_t)(put_zone(start, west) - start));
}

int dt_put_stamp(struct where_call *c, struct buf *out, int64_t stamp, bool zone)
{
	if (!dt_stamp_finite(stamp)) {
		buf_puts(out, stamp == TIMESTAMP_INFINITY ? "infinity" : "-infinity");
		return 0;
	}
	struct dt_fields f;
	if (dt_split(stamp, &f) != 0)
		return where_fail(c, "timestamp out of range");
	char *start = buf_room(out, TEXT_MAX), *s = start;
	if (start == NULL)
		return 0;
	s = put_day(s, f.year, f.mon, f.mday);
	*s++ = ' ';
	s = put_clock(s, &f);
	if (zone)
		s = put_zone(s, 0);
	buf_added(out, (size_t)(put_era(s, f.year) - start));
	return 0;
}

static char *put_part(char *s, int64_t v, char unit)
{
	if (v == 0)
		return s;
	if (v < 0)
		*s++ = '-';
	s = put_unsigned(s, v < 0 ? 0u - (uint64_t)v : (uint64_t)v, 1);
	*s++ = unit;
	return s;
}

void dt_put_interval(struct buf *out, const struct where_interval *v)
{
	char *start = buf_room(out, TEXT_MAX + 64), *s = start;
	if (start == NULL)
		return;
	*s++ = 'P';
	s = put_part(s, v->months / 12, 'Y');
	s = put_part(s, v->months % 12, 'M');
	s = put_part(s, v->days, 'D');
	if (v->us != 0 || s == start + 1)
		*s++ = 'T';
	s = put_part(s, v->us / DT_HOUR, 'H');
	s = put_part(s, v->us / DT_MINUTE % 60, 'M');
	int64_t sec = v->us / DT_SECOND % 60, us = v->us % DT_SECOND;
	if (sec != 0 || us != 0 || s == start + 2) {
		if (sec < 0 || us < 0)
			*s++ = '-';
		s = put_unsigned(s, (uint64_t)llabs(sec), 1);
		s = put_fraction(s, (int)llabs(us));
		*s++ = 'S';
	}
	buf_added(out, (size_t)(s - start));
}

#define WRITTEN_HOURS_MAX 15 /* of an offset that Postgres reads */

/* +HH[:MM[:SS]], of any number of hours that fits; as seconds west. */
static bool is_long_zone(const char *p, size_t n, int32_t *west)
{
	int64_t part[3] = {0};
	size_t i = 1, k = 0;
	for (; i < n && k < 3; i++, k++) {
		size_t from = i;
		for (; i < n && p[i] >= '0' && p[i] <= '9' && part[k] < 1000000; i++)
			part[k] = part[k] * 10 + (p[i] - '0');
		if (i - from < 2 || (i < n && p[i] != ':'))
			return false;
	}
	int64_t s = part[0] * 3600 + part[1] * 60 + part[2];
	*west = (int32_t)(p[0] == '-' ? s : -s);
	return k > 0 && i > n && part[0] > WRITTEN_HOURS_MAX && part[1] < 60 && part[2] < 60 && s <= INT32_MAX;
}

size_t dt_printed_zone(const char *p, size_t n, int32_t *west)
{
	size_t at = n;
	while (at > 0 && p[at - 1] != '+' && p[at - 1] != '-')
		at--;
	return at > 1 && is_long_zone(p + at - 1, n - at + 1, west) ? at - 1 : 0;
}
