/*
 * test_datetime.c - dates, times and intervals: reading, writing, functions, zones. What is expected here is
 * what PostgreSQL 15 answered under our session settings.
 */
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "where/datetime.h"
#include "where/numeric.h"
#include "where/timezone.h"
#include "where/types.h"

static struct arena mem = ARENA_INIT;

static const struct where_io *io_of(const char *type)
{
	for (const struct where_io *io = where_io_datetime; io->type != NULL; io++)
		if (strcmp(io->type, type) == 0)
			return io;
	return NULL;
}

static const struct where_impl *impl_of(const char *name)
{
	for (const struct where_impl *i = where_impl_datetime; i->prosrc != NULL; i++)
		if (strcmp(i->prosrc, name) == 0)
			return i;
	return NULL;
}

/* Reads from memory that ends with the text. */
static int read_exactly(struct where_call *c, const struct where_io *io, const char *text, struct where_value *v)
{
	size_t n = strlen(text);
	char *copy = malloc(n + 1);
	memcpy(copy, text, n);
	copy[n] = 'x'; /* no NUL to lean on */
	int rc = io->in(c, copy, n, v);
	free(copy);
	return rc;
}

static const char *written(struct where_call *c, const char *type, const struct where_value *v, struct buf *b)
{
	const struct where_io *io = io_of(type);
	buf_reset(b);
	if (v->is == WHERE_NULL)
		return "(null)";
	if (strcmp(type, "bool") == 0)
		return v->u.i ? "true" : "false";
	if (strcmp(type, "text") == 0)
		buf_put(b, v->u.p, v->len);
	else if (strcmp(type, "int4") == 0)
		buf_printf(b, "%lld", (long long)v->u.i);
	else if (strcmp(type, "numeric") == 0)
		numeric_format(v->u.numeric, b);
	else if (io == NULL || io->out(c, v, b) != 0)
		return NULL;
	return b->data;
}

/* ---- texts ------------------------------------------------------------------------------------------ */

static const struct { const char *type; int32_t typmod; const char *in, *out; } texts[] = {
	{"date", -1, "1999-01-08", "1999-01-08"},
	{"date", -1, "January 8, 1999", "1999-01-08"},
	{"date", -1, "1/8/1999", "1999-08-01"},
	{"date", -1, "18/1/99", "1999-01-18"},
	{"date", -1, "13/13/1999", NULL},
	{"date", -1, "19990108", "1999-01-08"},
	{"date", -1, "990108", "1999-01-08"},
	{"date", -1, "1999.008", "1999-01-08"},
	{"date", -1, "J2451187", "1999-01-08"},
	{"date", -1, "January 8, 99 BC", "0099-01-08 BC"},
	{"date", -1, "0044-03-15 BC", "0044-03-15 BC"},
	{"date", -1, "08-Jan-69", "2069-01-08"},
	{"date", -1, "08-jan-70", "1970-01-08"},
	{"date", -1, "jan-08-1999", "1999-01-08"},
	{"date", -1, "1999-02-29", NULL},
	{"date", -1, "2000-02-29", "2000-02-29"},
	{"date", -1, "0000-01-01", NULL},
	{"date", -1, "4714-11-24 BC", "4714-11-24 BC"},
	{"date", -1, "4714-11-23 BC", NULL},
	{"date", -1, "5874897-12-31", "5874897-12-31"},
	{"date", -1, "5874898-01-01", NULL},
	{"date", -1, "infinity", "infinity"},
	{"date", -1, "-infinity", "-infinity"},
	{"date", -1, "epoch", "1970-01-01"},
	{"date", -1, "y2001m02d04", "2001-02-04"},
	{"date", -1, "2000-01-01 12:00 America/New_York", "2000-01-01"},
	{"date", -1, "", NULL},
	{"date", -1, "1999-01-08x", NULL},
	{"date", -1, "1999-01-0é", NULL},
	{"time", -1, "04:05:06.789", "04:05:06.789"},
	{"time", -1, "04:05", "04:05:00"},
	{"time", -1, "040506", "04:05:06"},
	{"time", -1, "4:05 AM", "04:05:00"},
	{"time", -1, "12:05 am", "00:05:00"},
	{"time", -1, "04:05 PM", "16:05:00"},
	{"time", -1, "13:05 pm", NULL},
	{"time", -1, "24:00:00", "24:00:00"},
	{"time", -1, "24:00:01", NULL},
	{"time", -1, "23:59:60", "24:00:00"},
	{"time", -1, "allballs", "00:00:00"},
	{"time", -1, "2003-04-12 04:05:06 America/New_York", "04:05:06"},
	{"time", -1, "04:05:06.9999999", "04:05:07"},
	{"time", -1, "25:00", NULL},
	{"timetz", -1, "04:05:06-08", "04:05:06-08"},
	{"timetz", -1, "04:05:06+05:30:15", "04:05:06+05:30:15"},
	{"timetz", -1, "040506-0830", "04:05:06-08:30"},
	{"timetz", -1, "04:05:06 PST", "04:05:06-08"},
	{"timetz", -1, "2003-07-12 04:05:06 America/New_York", "04:05:06-04"},
	{"timetz", -1, "04:05 America/New_York", NULL},
	{"timetz", -1, "04:05+16", NULL},
	{"timetz", -1, "06:00 Z15", "06:00:00-15"},
	{"timetz", -1, "06:Z18", NULL}, /* Postgres takes it, and can't read what it prints */
	{"timetz", -1, "allballs", "00:00:00+00"},
	{"timestamp", -1, "2004-10-19 10:23:54", "2004-10-19 10:23:54"},
	{"timestamp", -1, "2004-10-19T10:23:54.1234565", "2004-10-19 10:23:54.123456"},
	{"timestamp", -1, "20041019T102354", "2004-10-19 10:23:54"},
	{"timestamp", -1, "2004-10-19 10:23:54+02", "2004-10-19 10:23:54"},
	{"timestamp", -1, "Tue Oct 19 10:23:54 2004 PST", "2004-10-19 10:23:54"},
	{"timestamp", -1, "0099-12-31 23:59:59.999999 BC", "0099-12-31 23:59:59.999999 BC"},
	{"timestamp", -1, "294276-12-31 23:59:59.999999", "294276-12-31 23:59:59.999999"},
	{"timestamp", -1, "294277-01-01", NULL},
	{"timestamp", -1, "4714-11-24 00:00:00 BC", "4714-11-24 00:00:00 BC"},
	{"timestamp", -1, "4714-11-23 23:59:59 BC", NULL},
	{"timestamp", -1, "infinity", "infinity"},
	{"timestamp", -1, "-infinity", "-infinity"},
	{"timestamp", -1, "epoch", "1970-01-01 00:00:00"},
	{"timestamp", -1, "2004-10-19 24:00:00", "2004-10-20 00:00:00"},
	{"timestamp", -1, "2004-10-19 23:59:60", "2004-10-20 00:00:00"},
	{"timestamp", -1, "2004-10-19 10", NULL},
	{"timestamp", -1, "J2451187.5", "1999-01-08 12:00:00"},
	{"timestamp", -1, "12:00", NULL},
	{"timestamptz", -1, "2004-10-19 10:23:54+02", "2004-10-19 08:23:54+00"},
	{"timestamptz", -1, "2004-10-19 10:23:54+00", "2004-10-19 10:23:54+00"},
	{"timestamptz", -1, "2004-10-19 10:23:54.12 America/New_York", "2004-10-19 14:23:54.12+00"},
	{"timestamptz", -1, "2004-10-31 01:30:00 america/new_york", "2004-10-31 06:30:00+00"},
	{"timestamptz", -1, "2004-04-04 02:30:00 AMERICA/NEW_YORK", "2004-04-04 07:30:00+00"},
	{"timestamptz", -1, "2014-10-26 01:30 MSK", "2014-10-25 22:30:00+00"},
	{"timestamptz", -1, "2010-06-01 12:00 MSK", "2010-06-01 09:00:00+00"},
	{"timestamptz", -1, "2004-10-19 10:23 EET DST", "2004-10-19 07:23:00+00"},
	{"timestamptz", -1, "2004-10-19 10:23 Nowhere/Town", NULL},
	{"timestamptz", -1, "2004-10-19 10:23 ../UTC", NULL},
	{"timestamptz", -1, "2004-10-19 10:23:54 -5:30", "2004-10-19 15:53:54+00"},
	{"timestamptz", -1, "J2451187 04:05:06-08", "1999-01-08 12:05:06+00"},
	{"interval", -1, "1 year 2 mons 3 days 04:05:06.7", "P1Y2M3DT4H5M6.7S"},
	{"interval", -1, "1-2", "P1Y2M"},
	{"interval", -1, "3 4:05:06", "P3DT4H5M6S"},
	{"interval", -1, "-1-2 +3 -4:05:06", "P-1Y-2M3DT-4H-5M-6S"},
	{"interval", -1, "P1Y2M3DT4H5M6S", "P1Y2M3DT4H5M6S"},
	{"interval", -1, "P0001-02-03T04:05:06", "P1Y2M3DT4H5M6S"},
	{"interval", -1, "P00010203T040506", "P1Y2M3DT4H5M6S"},
	{"interval", -1, "@ 1 minute ago", "PT-1M"},
	{"interval", -1, "1.5 years", "P1Y6M"},
	{"interval", -1, "1.5 months", "P1M15D"},
	{"interval", -1, "2.5 weeks", "P17DT12H"},
	{"interval", -1, "1.23456789 days", "P1DT5H37M46.665696S"},
	{"interval", -1, "3 millennia 2 centuries 1 decade", "P3210Y"},
	{"interval", -1, "10 msec 5 us", "PT0.010005S"},
	{"interval", -1, "1 day -1 hour", "P1DT-1H"},
	{"interval", -1, "infinity", NULL},
	{"interval", -1, "1 fortnight", NULL},
	{"interval", -1, "0", "PT0S"},
	{"interval", -1, "178956970 years 8 months", NULL},
	{"interval", -1, "-178956970 years -8 months", "P-178956970Y-8M"},
	{"interval", -1, "9223372036854775807 us", "PT2562047788H54.775807S"},
	{"interval", -1, "-9223372036854775808 us", "PT-2562047788H-54.775808S"},
	{"interval", -1, "9223372036854775808 us", NULL},
	{"interval", -1, "01:00 0.5 days", "PT1H"},
	{"interval", -1, "P1.5D", "P1DT12H"},
	{"interval", -1, "P", NULL},
	{"interval", -1, "", NULL},
	{"interval", -1, "1", "PT1S"},
	{"time", 0, "23:59:59.5", "24:00:00"},
	{"time", 3, "01:02:03.9995", "01:02:04"},
	{"timestamp", 0, "2004-10-19 10:23:54.5", "2004-10-19 10:23:55"},
	{"timestamp", 2, "1999-12-31 23:59:59.995", "1999-12-31 23:59:59.99"},
	{"timestamp", 3, "0099-12-31 23:59:59.9995 BC", "0099-12-31 23:59:59.999 BC"},
	{"timetz", 2, "10:23:54.125+01", "10:23:54.13+01"},
	{"timestamptz", 1, "2004-10-19 10:23:54.95+00", "2004-10-19 10:23:55+00"},
	{"interval", 327679, "1 year 2 mons 3 days", "P1Y"},
	{"interval", 458751, "1-2", "P1Y2M"},
	{"interval", 589823, "5", "P5D"},
	{"interval", 201916415, "1 2:03:04", "P1DT2H3M"},
	{"interval", 402718719, "2:03", "PT2M3S"},
};

static void test_texts(void)
{
	struct buf b = BUF_INIT(4096);
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct where_call c = {.mem = &mem, .typmod = texts[i].typmod};
		struct where_value v, again;
		const struct where_io *io = io_of(texts[i].type);
		int rc = read_exactly(&c, io, texts[i].in, &v);
		if (!CHECK(rc == (texts[i].out == NULL ? -1 : 0)))
			printf("  %s '%s': %s\n", texts[i].type, texts[i].in, rc == 0 ? "accepted" : c.reason);
		if (rc != 0 || texts[i].out == NULL) {
			CHECK(rc == 0 || c.reason[0] != '\0');
			continue;
		}
		CHECK_STR(written(&c, texts[i].type, &v, &b), texts[i].out);
		CHECK_INT(read_exactly(&c, io, texts[i].out, &again), 0);
		CHECK_INT(io->cmp(&v, &again), 0);
		CHECK(io->hash(&v) == io->hash(&again));
	}
	buf_clear(&b);
	arena_clear(&mem);
}

static void test_current(void)
{
	static const char *const words[] = {"now", "today", "tomorrow 10:00", "yesterday"};
	for (size_t i = 0; i < 4; i++) {
		struct where_call c = {.mem = &mem, .typmod = -1};
		struct where_value v;
		CHECK_INT(read_exactly(&c, io_of("timestamptz"), words[i], &v), -1);
		CHECK_STR(c.reason, "the value depends on the current time");
	}
	struct where_call c = {.mem = &mem, .typmod = -1};
	struct where_value v;
	CHECK_INT(read_exactly(&c, io_of("time"), "10:00 MSK", &v), 0); /* the zone doesn't matter */
	CHECK_INT(read_exactly(&c, io_of("timetz"), "10:00 MSK", &v), -1);
	CHECK_STR(c.reason, "the value depends on the current time");
	arena_clear(&mem);
}

/* ---- functions --------------------------------------------------------------------------------------- */

static const struct { const char *name, *result, *args[3], *out; } calls[] = {
	{"date_lt_timestamp", "bool", {"date 2004-10-19", "timestamp 2004-10-19 00:00:01"}, "true"},
	{"date_eq_timestamptz", "bool", {"date 2004-10-19", "timestamptz 2004-10-19 00:00:00+00"}, "true"},
	{"date_gt_timestamp", "bool", {"date 5874897-12-31", "timestamp 294276-12-31"}, "true"},
	{"date_gt_timestamp", "bool", {"date 5874897-12-31", "timestamp infinity"}, "false"},
	{"interval_eq", "bool", {"interval 1 mon", "interval 720:00"}, "true"},
	{"interval_lt", "bool", {"interval 1 mon", "interval 31 days"}, "true"},
	{"timetz_lt", "bool", {"timetz 10:00+01", "timetz 10:00+00"}, "true"},
	{"timetz_eq", "bool", {"timetz 10:00+01", "timetz 09:00+00"}, "false"},
	{"date_pli", "date", {"date 2004-02-28", "int4 2"}, "2004-03-01"},
	{"date_mi", "int4", {"date 2004-03-01", "date 2004-02-28"}, "2"},
	{"date_mi", "int4", {"date infinity", "date 2004-02-28"}, NULL},
	{"timestamp_pl_interval", "timestamp", {"timestamp 2004-01-31 10:00", "interval 1 mon 1 day 1 hour"},
	 "2004-03-01 11:00:00"},
	{"timestamp_mi_interval", "timestamp", {"timestamp 2004-03-31", "interval 1 mon"}, "2004-02-29 00:00:00"},
	{"timestamp_pl_interval", "timestamp", {"timestamp infinity", "interval 1 mon"}, "infinity"},
	{"timestamp_pl_interval", "timestamp", {"timestamp 294276-12-31", "interval 1 day"}, NULL},
	{"timestamp_mi", "interval", {"timestamp 2004-03-31 10:00", "timestamp 2004-04-01 09:00"}, "PT-23H"},
	{"interval_mul", "interval", {"interval 1 mon 2 days 3 hours", "float8 1.5"}, "P1M18DT4H30M"},
	{"interval_div", "interval", {"interval 1 mon", "float8 7"}, "P4DT6H51M25.6896S"},
	{"interval_div", "interval", {"interval 1 mon", "float8 0"}, NULL},
	{"interval_um", "interval", {"interval 1 mon -2 days"}, "P-1M2D"},
	{"time_pl_interval", "time", {"time 23:00", "interval 2 hours"}, "01:00:00"},
	{"time_mi_time", "interval", {"time 01:00", "time 02:30"}, "PT-1H-30M"},
	{"datetime_timestamp", "timestamp", {"date 2004-10-19", "time 10:11:12"}, "2004-10-19 10:11:12"},
	{"datetimetz_timestamptz", "timestamptz", {"date 2004-10-19", "timetz 10:11:12-05"}, "2004-10-19 15:11:12+00"},
	{"timestamp_age", "interval", {"timestamp 2001-04-10", "timestamp 1957-06-13"}, "P43Y9M27D"},
	{"timestamp_age", "interval", {"timestamp 1957-06-13", "timestamp 2001-04-10 12:00"}, "P-43Y-9M-27DT-12H"},
	{"timestamp_trunc", "timestamp", {"text century", "timestamp 2001-02-16 20:38:40"}, "2001-01-01 00:00:00"},
	{"timestamp_trunc", "timestamp", {"text decade", "timestamp 0005-02-16 BC"}, "0011-01-01 00:00:00 BC"},
	{"timestamp_trunc", "timestamp", {"text week", "timestamp 2005-01-01 10:00"}, "2004-12-27 00:00:00"},
	{"timestamp_trunc", "timestamp", {"text fortnight", "timestamp 2005-01-01 10:00"}, NULL},
	{"interval_trunc", "interval", {"text quarter", "interval 17 mons 3 days"}, "P1Y3M"},
	{"extract_timestamp", "numeric", {"text epoch", "timestamp 2001-02-16 20:38:40.12"}, "982355920.120000"},
	{"extract_timestamp", "numeric", {"text second", "timestamp 2001-02-16 20:38:40.12"}, "40.120000"},
	{"extract_timestamp", "numeric", {"text isoyear", "timestamp 2006-01-01"}, "2005"},
	{"extract_timestamp", "numeric", {"text week", "timestamp 2006-01-01"}, "52"},
	{"extract_timestamp", "numeric", {"text julian", "timestamp 2006-01-01 12:34:56"}, "2453737.52425925925925925926"},
	{"extract_timestamp", "numeric", {"text year", "timestamp -infinity"}, "-Infinity"},
	{"extract_timestamp", "numeric", {"text hour", "timestamp -infinity"}, "(null)"},
	{"extract_timestamp", "numeric", {"text timezone", "timestamp 2006-01-01"}, NULL},
	{"extract_timestamptz", "numeric", {"text timezone", "timestamptz 2006-01-01"}, "0"},
	{"extract_date", "numeric", {"text dow", "date 2006-01-01"}, "0"},
	{"extract_date", "numeric", {"text hour", "date 2006-01-01"}, NULL},
	{"extract_interval", "numeric", {"text epoch", "interval 1 year 2 mons 3 days 00:00:04.5"}, "37000804.500000"},
	{"extract_interval", "numeric", {"text quarter", "interval 7 mons"}, "3"},
	{"extract_timetz", "numeric", {"text timezone_minute", "timetz 10:00-05:30"}, "-30"},
	{"timestamp_bin", "timestamp",
	 {"interval 15 minutes", "timestamp 2020-02-11 15:44:17", "timestamp 2001-01-01 00:02:30"}, "2020-02-11 15:32:30"},
	{"timestamp_bin", "timestamp", {"interval 1 mon", "timestamp 2020-02-11 15:44:17", "timestamp 2001-01-01"}, NULL},
	{"timestamp_zone", "timestamptz", {"text America/New_York", "timestamp 2004-10-31 01:30"},
	 "2004-10-31 06:30:00+00"},
	{"timestamp_zone", "timestamptz", {"text america/new_york", "timestamp 2004-04-04 02:30"},
	 "2004-04-04 07:30:00+00"},
	{"timestamptz_zone", "timestamp", {"text Europe/Dublin", "timestamptz 2500-07-01 12:00+00"},
	 "2500-07-01 13:00:00"},
	{"timestamptz_zone", "timestamp", {"text CET-1CEST,M3.5.0,M10.5.0/3", "timestamptz 2004-07-01 12:00+00"},
	 "2004-07-01 14:00:00"},
	{"timestamptz_zone", "timestamp", {"text -05:00", "timestamptz 2004-07-01 12:00+00"}, "2004-07-01 17:00:00"},
	{"timestamptz_zone", "timestamp", {"text PST", "timestamptz 2004-07-01 12:00+00"}, "2004-07-01 04:00:00"},
	{"timestamptz_zone", "timestamp", {"text /etc/localtime", "timestamptz 2004-07-01 12:00+00"}, NULL},
	{"timestamptz_izone", "timestamp", {"interval 5:30", "timestamptz 2004-07-01 12:00+00"}, "2004-07-01 17:30:00"},
	{"timetz_izone", "timetz", {"interval -8:00", "timetz 01:00+01"}, "16:00:00-08"},
	{"timestamptz_date", "date", {"timestamptz 1999-12-31 23:00-05"}, "2000-01-01"},
	{"timestamp_time", "time", {"timestamp infinity"}, "(null)"},
	{"interval_time", "time", {"interval -1 hour"}, "23:00:00"},
	{"timestamp_to_char", "text", {"timestamp 2001-02-03 04:05:06.789", "text YYYY-MM-DD HH12:MI:SS.US am"},
	 "2001-02-03 04:05:06.789000 am"},
	{"timestamp_to_char", "text", {"timestamp 2001-02-03", "text FMMonth|Month|DAY|FMDDth|IYYY-IW|Q|RM"},
	 "February|February |SATURDAY |3rd|2001-05|1|II  "},
	{"timestamptz_to_char", "text", {"timestamptz 0044-03-15 BC", "text \"Ides\" Y,YYY BC TZ OF"},
	 "Ides 0,044 BC UTC +00"},
	{"timestamp_to_char", "text", {"timestamp infinity", "text YYYY"}, "(null)"},
	{"timestamp_to_char", "text", {"timestamp 2001-02-03", "text TMMonth"}, NULL},
	{"interval_justify_interval", "interval", {"interval 1 mon -1 hour"}, "P29DT23H"},
};

/* "type text" */
static int read_arg(struct where_call *c, const char *arg, struct where_value *v)
{
	char type[16];
	const char *text = strchr(arg, ' ') + 1;
	memcpy(type, arg, (size_t)(text - arg - 1));
	type[text - arg - 1] = '\0';
	if (strcmp(type, "text") == 0)
		*v = where_bytes(text, strlen(text));
	else if (strcmp(type, "int4") == 0)
		*v = where_int(atoi(text));
	else if (strcmp(type, "float8") == 0)
		*v = where_float(strtod(text, NULL));
	else
		return io_of(type)->in(c, text, strlen(text), v);
	return 0;
}

/* What Postgres prints of offsets that it doesn't read back; written by somebody, the same text is another value or none. */
static void test_printed(void)
{
	static const struct { const char *text, *printed, *written; } cases[] = {
		{"09:45:03-130", "09:45:03-130", "09:45:03-01:30"},  {"06:00:00-18", "06:00:00-18", NULL},
		{"06:00:00.5+16:30:15", "06:00:00.5+16:30:15", NULL}, {"24:00:00-100:05", "24:00:00-100:05", NULL},
		{"06:00:00+15:59:59", "06:00:00+15:59:59", "06:00:00+15:59:59"}, {"06:00:00+00", "06:00:00+00", "06:00:00+00"},
		{"06:00:00-600000", NULL, NULL}, {"06:00:00-18:", NULL, NULL}, {"06:00:00-18:61", NULL, NULL}, {"-18", NULL, NULL},
	};
	struct buf b = BUF_INIT(4096);
	for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
		struct where_call c = {.mem = &mem, .typmod = -1, .printed = i % 2 == 0};
		struct where_value v;
		const char *text = cases[i / 2].text, *wanted = c.printed ? cases[i / 2].printed : cases[i / 2].written;
		int rc = io_of("timetz")->in(&c, text, strlen(text), &v);
		if (!CHECK(rc == (wanted == NULL ? -1 : 0)))
			printf("  %s %s: %s\n", text, c.printed ? "printed" : "written", rc == 0 ? "accepted" : c.reason);
		if (rc == 0 && wanted != NULL)
			CHECK_STR(written(&c, "timetz", &v, &b), wanted);
	}
	buf_clear(&b);
}

static void test_functions(void)
{
	struct buf b = BUF_INIT(4096);
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		struct where_call c = {.mem = &mem, .typmod = -1};
		struct where_value args[3], out;
		const struct where_impl *impl = impl_of(calls[i].name);
		if (!CHECK(impl != NULL))
			continue;
		for (; c.nargs < 3 && calls[i].args[c.nargs] != NULL; c.nargs++)
			CHECK_INT(read_arg(&c, calls[i].args[c.nargs], &args[c.nargs]), 0);
		int rc = impl->fn(&c, args, &out);
		if (!CHECK(rc == (calls[i].out == NULL ? -1 : 0)))
			printf("  %s(%s, …): %s\n", calls[i].name, calls[i].args[0], rc == 0 ? "accepted" : c.reason);
		if (rc == 0 && calls[i].out != NULL)
			CHECK_STR(written(&c, calls[i].result, &out, &b), calls[i].out);
	}
	buf_clear(&b);
	arena_clear(&mem);
}

static void test_names_unique(void)
{
	for (const struct where_impl *i = where_impl_datetime; i->prosrc != NULL; i++)
		if (impl_of(i->prosrc) != i)
			CHECK_STR(i->prosrc, "(once)");
}

static void test_overlaps(void)
{
	struct where_type stamp = {.oid = OID_TIMESTAMP}, interval = {.oid = OID_INTERVAL};
	const struct where_type *types[4] = {&stamp, &interval, &stamp, &stamp};
	struct where_call c = {.mem = &mem, .typmod = -1, .nargs = 4, .arg_types = types};
	struct where_value a[4], out;
	CHECK_INT(read_arg(&c, "timestamp 2001-02-16", &a[0]), 0);
	CHECK_INT(read_arg(&c, "interval 300 days", &a[1]), 0);
	CHECK_INT(read_arg(&c, "timestamp 2001-10-30", &a[2]), 0);
	CHECK_INT(read_arg(&c, "timestamp 2002-10-30", &a[3]), 0);
	CHECK_INT(impl_of("overlaps")->fn(&c, a, &out), 0);
	CHECK(out.is == WHERE_VALUE && out.u.i == 1);
	a[1] = where_null();
	CHECK_INT(impl_of("overlaps")->fn(&c, a, &out), 0);
	CHECK(out.is == WHERE_NULL);
	arena_clear(&mem);
}

/* ---- calendar and zones ------------------------------------------------------------------------------ */

static void test_calendar(void)
{
	int64_t julian = 0;
	for (int year = -4712; year < 3000; year++)
		for (int mon = 1; mon <= 12; mon++) {
			int y, m, d;
			if (year > -4712 || mon > 1)
				julian += dt_month_days(mon == 1 ? year - 1 : year, mon == 1 ? 12 : mon - 1);
			else
				julian = dt_julian(year, mon, 1);
			dt_from_julian(julian, &y, &m, &d);
			if (dt_julian(year, mon, 1) != julian || y != year || m != mon || d != 1) {
				CHECK_INT(dt_julian(year, mon, 1), julian);
				return;
			}
		}
	CHECK_INT(dt_julian(2000, 1, 1), DT_EPOCH_JULIAN);
	CHECK_INT(dt_weekday(DT_EPOCH_JULIAN), 6);
}

static void *many_zones(void *arg)
{
	static const char *const names[] = {"Europe/Paris", "Asia/Tokyo", "europe/PARIS", "America/Lima", "Africa/Cairo"};
	struct arena own = ARENA_INIT;
	struct where_call c = {.mem = &own, .typmod = -1};
	long wrong = 0;
	for (int i = 0; i < 200; i++)
		wrong += zone_named(&c, names[i % 5], strlen(names[i % 5])) == NULL;
	wrong += zone_named(&c, names[0], strlen(names[0])) != zone_named(&c, names[2], strlen(names[2]));
	arena_clear(&own);
	*(long *)arg = wrong;
	return NULL;
}

static void test_zone_threads(void)
{
	pthread_t thread[4];
	long wrong[4];
	for (int i = 0; i < 4; i++)
		CHECK_INT(pthread_create(&thread[i], NULL, many_zones, &wrong[i]), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(thread[i], NULL);
		CHECK_INT(wrong[i], 0);
	}
}

static void test_zone_names(void)
{
	static const char *const refused[] = {"", "..", "../zoneinfo/UTC", "/usr/share/zoneinfo/UTC", "Europe/../UTC",
	                                      "Europe", "Europe//Paris", "zone.tab", "tzdata.zi", "Paris", "ABC5DEF",
	                                      "localtime"};
	struct where_call c = {.mem = &mem, .typmod = -1};
	char text[600];
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
		CHECK(zone_named(&c, refused[i], strlen(refused[i])) == NULL);
	memset(text, 'a', sizeof text);
	CHECK(zone_named(&c, text, sizeof text) == NULL);
	int32_t east;
	const char *name;
	CHECK_INT(zone_abbrev_find("PsT", 3, &east, &name), ZONE_ABBREV_FIXED);
	CHECK_INT(east, -8 * 3600);
	CHECK_INT(zone_abbrev_find("bst", 3, &east, &name), ZONE_ABBREV_DST);
	CHECK_INT(zone_abbrev_find("msk", 3, &east, &name), ZONE_ABBREV_DYNAMIC);
	CHECK_INT(zone_abbrev_find("ms", 2, &east, &name), ZONE_ABBREV_NONE);
	CHECK_INT(zone_abbrev_find("mskx", 4, &east, &name), ZONE_ABBREV_NONE);
	arena_clear(&mem);
}

int main(void)
{
	RUN(test_texts);
	RUN(test_current);
	RUN(test_functions);
	RUN(test_printed);
	RUN(test_names_unique);
	RUN(test_overlaps);
	RUN(test_calendar);
	RUN(test_zone_threads);
	RUN(test_zone_names);
	return check_done("test_datetime");
}
