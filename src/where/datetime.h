/*
 * datetime.h - Postgres's date and time types: calendar, reading and writing.
 *
 * Representations are those of value.h. The session settings are fixed: DateStyle 'ISO, DMY', TimeZone
 * UTC, IntervalStyle iso_8601. The proleptic Gregorian calendar is used throughout; year 0 is 1 BC. The
 * rules are those of PostgreSQL 15's src/backend/utils/adt/{date,datetime,timestamp}.c; nothing is taken
 * from there. All functions are pure and may run in any thread; those that return int fail with -1,
 * those with a where_call after where_fail().
 */
#ifndef BUSBAR_WHERE_DATETIME_H
#define BUSBAR_WHERE_DATETIME_H

#include "where/value.h"

#define DT_SECOND INT64_C(1000000)
#define DT_MINUTE (60 * DT_SECOND)
#define DT_HOUR (60 * DT_MINUTE)
#define DT_DAY (24 * DT_HOUR)
#define DT_EPOCH_JULIAN 2451545        /* 2000-01-01 */
#define DT_UNIX_JULIAN 2440588         /* 1970-01-01 */
#define DT_UNIX_SECONDS INT64_C(946684800) /* from 1970-01-01 to 2000-01-01 */
#define DT_DATE_MIN (-DT_EPOCH_JULIAN)
#define DT_DATE_END (2147483494 - DT_EPOCH_JULIAN)     /* first date that isn't valid */
#define DT_STAMP_END_DATE (109203528 - DT_EPOCH_JULIAN)
#define DT_STAMP_MIN INT64_C(-211813488000000000)
#define DT_STAMP_END INT64_C(9223371331200000000)
#define DT_TYPMOD_NONE (-1)

struct dt_fields {
	int year, mon, mday; /* month 1-12 */
	int hour, min, sec;  /* hour up to 24, second up to 60 where read from text */
	int us;
};

/* What the word in extract(), date_trunc() and interval texts means. */
enum dt_unit {
	DT_U_NONE, /* unknown */
	DT_U_MICROSECOND, DT_U_MILLISECOND, DT_U_SECOND, DT_U_MINUTE, DT_U_HOUR, DT_U_DAY, DT_U_WEEK, DT_U_MONTH,
	DT_U_QUARTER, DT_U_YEAR, DT_U_DECADE, DT_U_CENTURY, DT_U_MILLENNIUM, DT_U_JULIAN, DT_U_ISOYEAR, DT_U_DOW,
	DT_U_ISODOW, DT_U_DOY, DT_U_ZONE, DT_U_ZONE_HOUR, DT_U_ZONE_MINUTE, DT_U_EPOCH,
	DT_U_OTHER, /* a known word that is no unit (a month's name …) */
};

static inline bool dt_date_finite(int64_t d) { return d != DATE_INFINITY && d != DATE_NEG_INFINITY; }
static inline bool dt_date_valid(int64_t d) { return d >= DT_DATE_MIN && d < DT_DATE_END; }
static inline bool dt_stamp_finite(int64_t t) { return t != TIMESTAMP_INFINITY && t != TIMESTAMP_NEG_INFINITY; }
static inline bool dt_stamp_valid(int64_t t) { return t >= DT_STAMP_MIN && t < DT_STAMP_END; }
/* The years that Julian days are computed for. */
static inline bool dt_julian_valid(int year, int mon)
{
	return (year > -4713 || (year == -4713 && mon >= 11)) && (year < 5874898 || (year == 5874898 && mon < 6));
}

bool dt_leap(int64_t year);
int dt_month_days(int64_t year, int mon); /* mon 1-12 */
int64_t dt_julian(int64_t year, int mon, int64_t mday);
void dt_from_julian(int64_t julian, int *year, int *mon, int *mday);
int dt_weekday(int64_t julian); /* 0 Sunday */
int dt_iso_year(const struct dt_fields *f);
int dt_iso_week(const struct dt_fields *f);
/* Of a finite timestamp, in UTC; -1: before 4714-11-24 BC. */
int dt_split(int64_t stamp, struct dt_fields *f);
void dt_split_time(int64_t us, struct dt_fields *f); /* hour … us only */
int64_t dt_join_time(const struct dt_fields *f);
/* `west`: seconds west of UTC. -1: out of range. */
int dt_join(const struct dt_fields *f, int64_t west, int64_t *stamp);
/* Rounds to `digits` of the second, half away from zero. */
int64_t dt_round(int64_t us, int digits);

/* Writing, as Postgres's output functions. */
void dt_put_date(struct buf *out, int64_t date);
void dt_put_time(struct buf *out, int64_t us);
void dt_put_zone(struct buf *out, int32_t west);
/* Where the offset of a printed timetz begins, if it has 16 hours or more: Postgres has and prints such, and reads them back as
 * others or not at all. 0: it is none of those. */
size_t dt_printed_zone(const char *p, size_t n, int32_t *west);
int dt_put_stamp(struct where_call *c, struct buf *out, int64_t stamp, bool zone); /* -1: out of range */
void dt_put_interval(struct buf *out, const struct where_interval *v);
/* datetime_format.c: to_char() of a finite timestamp. `zone`: a timestamptz. */
int dt_to_char(struct where_call *c, int64_t stamp, bool zone, const char *format, size_t n, struct buf *out);

/* Reading, as Postgres's input functions. Typmods: digits of the second, or an interval's. */
int dt_read_date(struct where_call *c, const char *p, size_t n, int64_t *date);
int dt_read_time(struct where_call *c, const char *p, size_t n, int32_t typmod, int64_t *us);
int dt_read_timetz(struct where_call *c, const char *p, size_t n, int32_t typmod, struct where_timetz *v);
int dt_read_stamp(struct where_call *c, const char *p, size_t n, bool zone, int32_t typmod, int64_t *stamp);
int dt_read_interval(struct where_call *c, const char *p, size_t n, int32_t typmod, struct where_interval *v);

int dt_interval_typmod(struct where_call *c, struct where_interval *v, int32_t typmod);
/* "+05:30" as seconds west of UTC. 0, 1: not of this form, 2: out of range. */
int dt_read_offset(const char *s, int32_t *west);
/* Any case; `also`: with the words of date texts ("julian", "epoch", "dow" …), as extract() does. */
enum dt_unit dt_unit_of(const char *p, size_t n, bool also);
/* The checks of make_date(): year may be negative for BC. Makes *f valid. */
int dt_check_date(int year, int mon, int mday, struct dt_fields *f);

#endif
