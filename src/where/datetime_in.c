/*
 * datetime_in.c - reading dates, times and intervals as Postgres does.
 *
 * What the stream sends (ISO) is read by the short functions under "the usual forms"; all else, and all
 * that is wrong, goes the long way: the text is cut into fields by their first characters, and fields
 * are given a meaning from left to right (intervals: from right to left) by what is still missing. The
 * many odd corners are Postgres 15's, found by comparison with a server.
 */
#include "where/datetime.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "where/timezone.h"

#define FIELDS_MAX 25
#define TEXT_MAX 128              /* of a date or a time, without its fields' ends */
#define WORK_TIME (TEXT_MAX + 1)
#define WORK_STAMP (TEXT_MAX + FIELDS_MAX)
#define WORK_INTERVAL 256
#define WORD_MAX 10               /* characters of a word that count */
#define OFFSET_HOURS_MAX 15

/* What has been found, as bits. */
enum {
	M_SPECIAL = 1 << 0, M_MONTH = 1 << 1, M_YEAR = 1 << 2, M_DAY = 1 << 3, M_ZONE = 1 << 5, M_ZONE_DST = 1 << 6,
	M_ZONE_DYNAMIC = 1 << 7,
	M_AMPM = 1 << 9, M_HOUR = 1 << 10, M_MINUTE = 1 << 11, M_SECOND = 1 << 12, M_MILLISECOND = 1 << 13,
	M_MICROSECOND = 1 << 14, M_DOY = 1 << 15, M_DOW = 1 << 16, M_ERA = 1 << 18, M_WEEK = 1 << 24, M_DECADE = 1 << 25,
	M_CENTURY = 1 << 26, M_MILLENNIUM = 1 << 27, M_DST = 1 << 28,
	M_DATE = M_YEAR | M_MONTH | M_DAY,
	M_SECONDS = M_SECOND | M_MILLISECOND | M_MICROSECOND,
	M_TIME = M_HOUR | M_MINUTE | M_SECONDS,
};

enum problem { P_OK = 0, P_BAD = -1, P_RANGE = -2, P_ZONE_RANGE = -3, P_SAID = -4 /* where_fail() was called */ };

enum field_kind { F_NUMBER, F_DATE, F_TIME, F_SIGNED, F_WORD };
struct field { char *s; enum field_kind kind; };

enum word_kind {
	W_UNKNOWN, W_MONTH, W_DOW, W_AMPM, W_ERA, W_UNIT, W_TIME, W_IGNORE, W_DST, W_NOW, W_ALLBALLS, W_EPOCH, W_LATE,
	W_EARLY, W_AGO,
};
struct word { char name[WORD_MAX + 1]; uint8_t kind, value; };

#define U_TIME 200 /* beside enum dt_unit: a "t" announces a time */
enum { AM = 1, PM = 2, ERA_AD = 0, ERA_BC = 1 };

static const struct word date_words[] = {
	{"-infinity", W_EARLY, 0}, {"ad", W_ERA, ERA_AD}, {"allballs", W_ALLBALLS, 0}, {"am", W_AMPM, AM},
	{"apr", W_MONTH, 4}, {"april", W_MONTH, 4}, {"at", W_IGNORE, 0}, {"aug", W_MONTH, 8}, {"august", W_MONTH, 8},
	{"bc", W_ERA, ERA_BC}, {"d", W_UNIT, DT_U_DAY}, {"dec", W_MONTH, 12}, {"december", W_MONTH, 12},
	{"dow", W_UNIT, DT_U_DOW}, {"doy", W_UNIT, DT_U_DOY}, {"dst", W_DST, 0}, {"epoch", W_EPOCH, 0},
	{"feb", W_MONTH, 2}, {"february", W_MONTH, 2}, {"fri", W_DOW, 5}, {"friday", W_DOW, 5}, {"h", W_UNIT, DT_U_HOUR},
	{"infinity", W_LATE, 0}, {"isodow", W_UNIT, DT_U_ISODOW}, {"isoyear", W_UNIT, DT_U_ISOYEAR},
	{"j", W_UNIT, DT_U_JULIAN}, {"jan", W_MONTH, 1}, {"january", W_MONTH, 1}, {"jd", W_UNIT, DT_U_JULIAN},
	{"jul", W_MONTH, 7}, {"julian", W_UNIT, DT_U_JULIAN}, {"july", W_MONTH, 7}, {"jun", W_MONTH, 6},
	{"june", W_MONTH, 6}, {"m", W_UNIT, DT_U_MONTH}, {"mar", W_MONTH, 3}, {"march", W_MONTH, 3}, {"may", W_MONTH, 5},
	{"mm", W_UNIT, DT_U_MINUTE}, {"mon", W_DOW, 1}, {"monday", W_DOW, 1}, {"nov", W_MONTH, 11},
	{"november", W_MONTH, 11}, {"now", W_NOW, 0}, {"oct", W_MONTH, 10}, {"october", W_MONTH, 10}, {"on", W_IGNORE, 0},
	{"pm", W_AMPM, PM}, {"s", W_UNIT, DT_U_SECOND}, {"sat", W_DOW, 6}, {"saturday", W_DOW, 6}, {"sep", W_MONTH, 9},
	{"sept", W_MONTH, 9}, {"september", W_MONTH, 9}, {"sun", W_DOW, 0}, {"sunday", W_DOW, 0}, {"t", W_TIME, U_TIME},
	{"thu", W_DOW, 4}, {"thur", W_DOW, 4}, {"thurs", W_DOW, 4}, {"thursday", W_DOW, 4}, {"today", W_NOW, 1},
	{"tomorrow", W_NOW, 1}, {"tue", W_DOW, 2}, {"tues", W_DOW, 2}, {"tuesday", W_DOW, 2}, {"wed", W_DOW, 3},
	{"wednesday", W_DOW, 3}, {"weds", W_DOW, 3}, {"y", W_UNIT, DT_U_YEAR}, {"yesterday", W_NOW, 1},
};

static const struct word unit_words[] = {
	{"ago", W_AGO, 0}, {"c", W_UNIT, DT_U_CENTURY}, {"cent", W_UNIT, DT_U_CENTURY},
	{"centuries", W_UNIT, DT_U_CENTURY}, {"century", W_UNIT, DT_U_CENTURY}, {"d", W_UNIT, DT_U_DAY},
	{"day", W_UNIT, DT_U_DAY}, {"days", W_UNIT, DT_U_DAY}, {"dec", W_UNIT, DT_U_DECADE},
	{"decade", W_UNIT, DT_U_DECADE}, {"decades", W_UNIT, DT_U_DECADE}, {"decs", W_UNIT, DT_U_DECADE},
	{"h", W_UNIT, DT_U_HOUR}, {"hour", W_UNIT, DT_U_HOUR}, {"hours", W_UNIT, DT_U_HOUR}, {"hr", W_UNIT, DT_U_HOUR},
	{"hrs", W_UNIT, DT_U_HOUR}, {"m", W_UNIT, DT_U_MINUTE}, {"microsecon", W_UNIT, DT_U_MICROSECOND},
	{"mil", W_UNIT, DT_U_MILLENNIUM}, {"millennia", W_UNIT, DT_U_MILLENNIUM},
	{"millennium", W_UNIT, DT_U_MILLENNIUM}, {"millisecon", W_UNIT, DT_U_MILLISECOND},
	{"mils", W_UNIT, DT_U_MILLENNIUM}, {"min", W_UNIT, DT_U_MINUTE}, {"mins", W_UNIT, DT_U_MINUTE},
	{"minute", W_UNIT, DT_U_MINUTE}, {"minutes", W_UNIT, DT_U_MINUTE}, {"mon", W_UNIT, DT_U_MONTH},
	{"mons", W_UNIT, DT_U_MONTH}, {"month", W_UNIT, DT_U_MONTH}, {"months", W_UNIT, DT_U_MONTH},
	{"ms", W_UNIT, DT_U_MILLISECOND}, {"msec", W_UNIT, DT_U_MILLISECOND}, {"msecond", W_UNIT, DT_U_MILLISECOND},
	{"mseconds", W_UNIT, DT_U_MILLISECOND}, {"msecs", W_UNIT, DT_U_MILLISECOND}, {"qtr", W_UNIT, DT_U_QUARTER},
	{"quarter", W_UNIT, DT_U_QUARTER}, {"s", W_UNIT, DT_U_SECOND}, {"sec", W_UNIT, DT_U_SECOND},
	{"second", W_UNIT, DT_U_SECOND}, {"seconds", W_UNIT, DT_U_SECOND}, {"secs", W_UNIT, DT_U_SECOND},
	{"timezone", W_UNIT, DT_U_ZONE}, {"timezone_h", W_UNIT, DT_U_ZONE_HOUR}, {"timezone_m", W_UNIT, DT_U_ZONE_MINUTE},
	{"us", W_UNIT, DT_U_MICROSECOND}, {"usec", W_UNIT, DT_U_MICROSECOND}, {"usecond", W_UNIT, DT_U_MICROSECOND},
	{"useconds", W_UNIT, DT_U_MICROSECOND}, {"usecs", W_UNIT, DT_U_MICROSECOND}, {"w", W_UNIT, DT_U_WEEK},
	{"week", W_UNIT, DT_U_WEEK}, {"weeks", W_UNIT, DT_U_WEEK}, {"y", W_UNIT, DT_U_YEAR}, {"year", W_UNIT, DT_U_YEAR},
	{"years", W_UNIT, DT_U_YEAR}, {"yr", W_UNIT, DT_U_YEAR}, {"yrs", W_UNIT, DT_U_YEAR},
};

static const struct word unknown_word = {"", W_UNKNOWN, 0};

/* `s` in lower case; both tables are in order. */
static const struct word *word_find(const struct word *words, size_t n, const char *s)
{
	size_t lo = 0, hi = n;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int order = strncmp(s, words[mid].name, WORD_MAX);
		if (order == 0)
			return &words[mid];
		if (order < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return &unknown_word;
}

#define COUNT(a) (sizeof(a) / sizeof *(a))

static bool is_digit(char ch) { return ch >= '0' && ch <= '9'; }
static bool is_alpha(char ch) { return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z'); }
static bool is_space(char ch) { return ch == ' ' || (ch >= '\t' && ch <= '\r'); }
static bool is_punct(char ch) { return ch > ' ' && ch < 127 && !is_digit(ch) && !is_alpha(ch); }
static char lower(char ch) { return (char)(ch >= 'A' && ch <= 'Z' ? ch - 'A' + 'a' : ch); }

enum dt_unit dt_unit_of(const char *p, size_t n, bool also)
{
	char s[WORD_MAX + 1];
	size_t len = n < WORD_MAX ? n : WORD_MAX;
	for (size_t i = 0; i < len; i++)
		s[i] = lower(p[i]);
	s[len] = '\0';
	const struct word *w = word_find(unit_words, COUNT(unit_words), s);
	if (w->kind == W_UNIT)
		return w->value;
	if (w->kind == W_AGO)
		return DT_U_OTHER;
	if (!also)
		return DT_U_NONE;
	w = word_find(date_words, COUNT(date_words), s);
	if (w->kind == W_UNIT)
		return w->value;
	if (w->kind == W_EPOCH)
		return DT_U_EPOCH;
	return w->kind == W_UNKNOWN ? DT_U_NONE : DT_U_OTHER;
}

/* ---- cutting into fields --------------------------------------------------------------------------- */

struct cutter {
	const char *p, *end; /* what is left of the text */
	char *out, *out_end;
	bool full;
};

static char peek(const struct cutter *t) { return t->p < t->end ? *t->p : '\0'; }

static void take(struct cutter *t)
{
	if (t->out + 1 >= t->out_end) {
		t->full = true;
		t->p = t->end;
		return;
	}
	*t->out++ = lower(*t->p++);
}

static void take_digits(struct cutter *t)
{
	while (is_digit(peek(t)))
		take(t);
}

/* A field that begins with a digit. */
static enum field_kind cut_number(struct cutter *t)
{
	take_digits(t);
	char delim = peek(t);
	if (delim == ':') {
		while (is_digit(peek(t)) || peek(t) == ':' || peek(t) == '.')
			take(t);
		return F_TIME;
	}
	if (delim != '-' && delim != '/' && delim != '.')
		return F_NUMBER;
	take(t);
	if (!is_digit(peek(t))) { /* perhaps the name of a month */
		while (is_digit(peek(t)) || is_alpha(peek(t)) || peek(t) == delim)
			take(t);
		return F_DATE;
	}
	take_digits(t);
	if (peek(t) != delim)
		return delim == '.' ? F_NUMBER : F_DATE;
	while (is_digit(peek(t)) || peek(t) == delim)
		take(t);
	return F_DATE;
}

/* A field that begins with a letter: a word, a date with a month's name, or a time zone. */
static enum field_kind cut_word(struct cutter *t, const char *field)
{
	while (is_alpha(peek(t)))
		take(t);
	char next = peek(t);
	bool more = next == '-' || next == '/' || next == '.';
	if ((next == '+' || is_digit(next)) && !t->full) {
		*t->out = '\0';
		more = word_find(date_words, COUNT(date_words), field)->kind == W_UNKNOWN;
	}
	if (!more)
		return F_WORD;
	do
		take(t);
	while (is_digit(peek(t)) || is_alpha(peek(t)) || (peek(t) != '\0' && strchr("+-/_.:", peek(t)) != NULL));
	return F_DATE;
}

static int cut(const char *p, size_t n, char *work, size_t size, struct field f[FIELDS_MAX])
{
	struct cutter t = {.p = p, .end = p + n, .out = work, .out_end = work + size};
	int nf = 0;
	while (t.p < t.end) {
		char ch = *t.p;
		if (is_space(ch)) {
			t.p++;
			continue;
		}
		if (nf >= FIELDS_MAX || t.out >= t.out_end)
			return P_BAD;
		f[nf].s = t.out;
		if (is_digit(ch))
			f[nf].kind = cut_number(&t);
		else if (ch == '.') {
			take(&t);
			take_digits(&t);
			f[nf].kind = F_NUMBER;
		} else if (is_alpha(ch))
			f[nf].kind = cut_word(&t, f[nf].s);
		else if (ch == '+' || ch == '-') {
			take(&t);
			while (is_space(peek(&t)))
				t.p++;
			if (is_digit(peek(&t))) {
				f[nf].kind = F_SIGNED;
				while (is_digit(peek(&t)) || peek(&t) == ':' || peek(&t) == '.' || peek(&t) == '-')
					take(&t);
			} else if (is_alpha(peek(&t))) {
				f[nf].kind = F_WORD;
				while (is_alpha(peek(&t)))
					take(&t);
			} else
				return P_BAD;
		} else if (is_punct(ch)) {
			t.p++;
			continue;
		} else
			return P_BAD;
		if (t.full)
			return P_BAD;
		*t.out++ = '\0';
		nf++;
	}
	return nf;
}

/* ---- numbers ---------------------------------------------------------------------------------------- */

static int read_int(const char *s, char **end, int *v)
{
	errno = 0;
	long l = strtol(s, end, 10);
	*v = (int)l;
	return errno == ERANGE || l != (long)*v ? P_RANGE : P_OK;
}

/* What doesn't fit an int is cut, as in Postgres. */
static int read_cut(const char *s)
{
	return (int)(uint32_t)strtol(s, NULL, 10);
}

/* ".25": of a whole. */
static int read_fraction(const char *s, double *v)
{
	*v = 0;
	if (s[1] == '\0')
		return P_OK;
	char *end;
	errno = 0;
	*v = strtod(s, &end);
	return *end != '\0' || errno != 0 ? P_BAD : P_OK;
}

static int read_fraction_us(const char *s, int *us)
{
	double v;
	int rc = read_fraction(s, &v);
	if (rc == P_OK)
		*us = (int)rint(v * 1000000);
	return rc;
}

static int read_offset(const char *s, int32_t *west)
{
	int hour, min = 0, sec = 0;
	char *end;
	if (*s != '+' && *s != '-')
		return P_BAD;
	if (read_int(s + 1, &end, &hour) != P_OK)
		return P_ZONE_RANGE;
	if (*end == ':') {
		if (read_int(end + 1, &end, &min) != P_OK)
			return P_ZONE_RANGE;
		if (*end == ':' && read_int(end + 1, &end, &sec) != P_OK)
			return P_ZONE_RANGE;
	} else if (*end == '\0' && strlen(s) > 3) {
		min = hour % 100;
		hour = hour / 100;
	}
	if (hour < 0 || hour > OFFSET_HOURS_MAX || min < 0 || min >= 60 || sec < 0 || sec >= 60)
		return P_ZONE_RANGE;
	*west = (hour * 60 + min) * 60 + sec;
	if (*s == '+')
		*west = -*west;
	return *end != '\0' ? P_BAD : P_OK;
}

int dt_read_offset(const char *s, int32_t *west)
{
	int rc = read_offset(s, west);
	return rc == P_OK ? 0 : rc == P_BAD ? 1 : 2;
}

/* ---- dates and times: the state -------------------------------------------------------------------- */

struct reader {
	struct where_call *c;
	struct field field[FIELDS_MAX];
	int nf;
	bool time_only;
	struct dt_fields f;
	int yday;
	int32_t west;
	int seen, now;      /* masks: of the fields before, of this one */
	int announced;      /* a unit (or U_TIME) whose number comes next; 0: none */
	bool text_month, julian, two_digits, bc;
	int half;           /* 0, AM, PM */
	bool current;       /* a word like 'now' */
	bool zone_current;  /* the offset is that of today */
	enum word_kind special; /* W_EPOCH, W_LATE, W_EARLY or W_UNKNOWN */
	const struct zone *zone, *abbrev_zone;
	const char *abbrev;
};

/* hh:mm[:ss[.fff]] or mm:ss.fff; the hour may be huge in intervals. */
static int read_clock(const char *s, bool minutes_seconds, int64_t *hour, int *min, int *sec, int *us)
{
	char *end;
	int rc;
	errno = 0;
	*hour = strtoll(s, &end, 10);
	if (errno == ERANGE)
		return P_RANGE;
	if (*end != ':')
		return P_BAD;
	if (read_int(end + 1, &end, min) != P_OK)
		return P_RANGE;
	*sec = 0;
	*us = 0;
	if (*end == ':') {
		if (read_int(end + 1, &end, sec) != P_OK)
			return P_RANGE;
		if (*end == '.' && (rc = read_fraction_us(end, us)) != P_OK)
			return rc;
		if (*end != '\0' && *end != '.')
			return P_BAD;
	} else if (*end == '.' || (*end == '\0' && minutes_seconds)) {
		if (*end == '.' && (rc = read_fraction_us(end, us)) != P_OK)
			return rc;
		if (*hour > INT_MAX || *hour < INT_MIN)
			return P_RANGE;
		*sec = *min;
		*min = (int)*hour;
		*hour = 0;
	} else if (*end != '\0')
		return P_BAD;
	if (*hour < 0 || *min < 0 || *min > 59 || *sec < 0 || *sec > 60 || *us < 0 || *us > DT_SECOND)
		return P_RANGE;
	return P_OK;
}

static bool time_overflows(const struct dt_fields *f)
{
	return f->hour < 0 || f->hour > 24 || f->min < 0 || f->min > 59 || f->sec < 0 || f->sec > 60 || f->us < 0 ||
	       f->us > DT_SECOND || dt_join_time(f) > DT_DAY;
}

/* A number of several values run together: yyyymmdd, yymmdd, hhmmss[.fff], hhmm. Sets r->now. */
static int read_run(struct reader *r, char *s, int seen)
{
	size_t n = strlen(s);
	char *point = strchr(s, '.');
	if (point != NULL) {
		if (point[1] != '\0') {
			errno = 0;
			double v = strtod(point, NULL);
			if (errno != 0)
				return P_BAD;
			r->f.us = (int)rint(v * 1000000);
		} else
			r->f.us = 0;
		*point = '\0';
		n = strlen(s);
	} else if ((seen & M_DATE) != M_DATE && n >= 6) {
		r->now = M_DATE;
		r->f.mday = read_cut(s + n - 2);
		s[n - 2] = '\0';
		r->f.mon = read_cut(s + n - 4);
		s[n - 4] = '\0';
		r->f.year = read_cut(s);
		if (n == 6)
			r->two_digits = true;
		return P_OK;
	}
	if ((seen & M_TIME) == M_TIME || (n != 6 && n != 4))
		return P_BAD;
	r->now = M_TIME;
	int v = read_cut(s);
	r->f.sec = n == 6 ? v % 100 : 0;
	if (n == 6)
		v /= 100;
	r->f.min = v % 100;
	r->f.hour = v / 100;
	return P_OK;
}

/* Which part of the date a number is, by what there is of it; the order is day, month, year. */
static int place_number(struct reader *r, int v, size_t n, int seen, bool text_month)
{
	switch (seen & M_DATE) {
	case 0:
		r->now = n >= 3 ? M_YEAR : M_DAY;
		break;
	case M_YEAR:
	case M_DAY:
		r->now = M_MONTH;
		break;
	case M_MONTH:
		r->now = text_month && n >= 3 ? M_YEAR : M_DAY;
		break;
	case M_YEAR | M_MONTH:
		r->now = M_DAY;
		if (text_month && n >= 3 && r->two_digits) { /* the first number was the day after all */
			r->f.mday = r->f.year;
			r->f.year = v;
			r->two_digits = false;
			return P_OK;
		}
		break;
	case M_MONTH | M_DAY:
		r->now = M_YEAR;
		break;
	default:
		return P_BAD;
	}
	if (r->now == M_YEAR) {
		r->f.year = v;
		r->two_digits = n <= 2;
	} else if (r->now == M_MONTH)
		r->f.mon = v;
	else
		r->f.mday = v;
	return P_OK;
}

/* A number without a label. Sets r->now. */
static int read_number(struct reader *r, char *s, bool text_month, int seen)
{
	size_t n = strlen(s);
	char *end;
	int v;
	r->now = 0;
	if (read_int(s, &end, &v) != P_OK)
		return P_RANGE;
	if (end == s)
		return P_BAD;
	if (*end == '.') {
		if (end - s > 2)
			return read_run(r, s, seen | M_DATE);
		int rc = read_fraction_us(end, &r->f.us);
		if (rc != P_OK)
			return rc;
	} else if (*end != '\0')
		return P_BAD;
	if (n == 3 && (seen & M_DATE) == M_YEAR && v >= 1 && v <= 366) {
		r->now = M_DOY | M_MONTH | M_DAY;
		r->yday = v;
		return P_OK;
	}
	if ((seen & M_DATE) == M_DATE)
		return read_run(r, s, seen);
	return place_number(r, v, n, seen, text_month);
}

/* A field like 1999-01-08, 8/1/99 or 8-jan-1999. Sets r->now. */
static int read_date_field(struct reader *r, char *s)
{
	char *part[FIELDS_MAX];
	int n = 0, seen = r->seen, found = 0;
	bool text_month = false;
	while (*s != '\0' && n < FIELDS_MAX) {
		while (*s != '\0' && !is_digit(*s) && !is_alpha(*s))
			s++;
		if (*s == '\0')
			return P_BAD;
		part[n++] = s;
		bool digits = is_digit(*s);
		while (digits ? is_digit(*s) : is_alpha(*s))
			s++;
		if (*s != '\0') /* Postgres drops the character, whatever it is */
			*s++ = '\0';
	}
	for (int i = 0; i < n; i++) {
		if (!is_alpha(*part[i]))
			continue;
		const struct word *w = word_find(date_words, COUNT(date_words), part[i]);
		if (w->kind == W_IGNORE)
			continue;
		if (w->kind != W_MONTH || (seen & M_MONTH) != 0)
			return P_BAD;
		r->f.mon = w->value;
		text_month = true;
		seen |= M_MONTH;
		found |= M_MONTH;
		part[i] = NULL;
	}
	for (int i = 0; i < n; i++) {
		if (part[i] == NULL)
			continue;
		int rc = read_number(r, part[i], text_month, seen);
		if (rc != P_OK)
			return rc;
		if ((seen & r->now) != 0)
			return P_BAD;
		seen |= r->now;
		found |= r->now;
	}
	r->now = found;
	return (seen & ~(M_DOY | M_ZONE)) == M_DATE ? P_OK : P_BAD;
}

static int read_zone_name(struct reader *r, const char *s)
{
	r->zone = zone_named(r->c, s, strlen(s));
	if (r->zone == NULL)
		return P_SAID;
	r->now = M_ZONE;
	return P_OK;
}

/* hhmmss-zz, as one field. */
static int read_run_with_zone(struct reader *r, char *s, int seen)
{
	if ((r->seen & M_TIME) == M_TIME)
		return P_BAD;
	char *sign = strchr(s, '-');
	if (sign == NULL)
		return P_BAD;
	int rc = read_offset(sign, &r->west);
	if (rc != P_OK)
		return rc;
	*sign = '\0';
	rc = read_run(r, s, seen);
	r->now |= M_ZONE;
	return rc;
}

static int read_julian_with_zone(struct reader *r, char *s)
{
	char *end;
	int v;
	if (read_int(s, &end, &v) != P_OK || v < 0)
		return P_RANGE;
	dt_from_julian(v, &r->f.year, &r->f.mon, &r->f.mday);
	r->julian = true;
	r->now = M_DATE | M_TIME | M_ZONE;
	r->announced = 0;
	return read_offset(end, &r->west);
}

static int date_field(struct reader *r, int i)
{
	char *s = r->field[i].s;
	if (r->time_only) {
		if (i == 0 && r->nf >= 2 && (r->field[r->nf - 1].kind == F_DATE || r->field[1].kind == F_TIME))
			return read_date_field(r, s);
		return is_digit(*s) ? read_run_with_zone(r, s, r->seen | M_DATE) : read_zone_name(r, s);
	}
	if (r->announced == DT_U_JULIAN)
		return read_julian_with_zone(r, s);
	if (r->announced == 0 && (r->seen & (M_MONTH | M_DAY)) != (M_MONTH | M_DAY))
		return read_date_field(r, s);
	if (!is_digit(*s) && r->announced == 0)
		return read_zone_name(r, s);
	if (r->announced != 0 && r->announced != U_TIME)
		return P_BAD;
	r->announced = 0;
	return read_run_with_zone(r, s, r->seen);
}

static int time_field(struct reader *r, int i)
{
	if (r->announced != 0 && !r->time_only) {
		if (r->announced != U_TIME)
			return P_BAD;
		r->announced = 0;
	}
	int64_t hour;
	r->now = M_TIME;
	int rc = read_clock(r->field[i].s, false, &hour, &r->f.min, &r->f.sec, &r->f.us);
	if (rc != P_OK)
		return rc;
	if (hour > INT_MAX)
		return P_RANGE;
	r->f.hour = (int)hour;
	return !r->time_only && time_overflows(&r->f) ? P_RANGE : P_OK;
}

static int read_julian(struct reader *r, int v, char *point)
{
	if (v < 0)
		return P_RANGE;
	r->now = M_DATE;
	dt_from_julian(v, &r->f.year, &r->f.mon, &r->f.mday);
	r->julian = true;
	if (*point != '.')
		return P_OK;
	double part;
	if (read_fraction(point, &part) != P_OK)
		return P_BAD;
	dt_split_time((int64_t)(part * (double)DT_DAY), &r->f);
	r->now |= M_TIME;
	return P_OK;
}

/* A number that a unit before it announced: y2001m02d04, J2451187. */
static int labelled_number(struct reader *r, char *s)
{
	char *end;
	int v, unit = r->announced;
	if (read_int(s, &end, &v) != P_OK)
		return P_RANGE;
	if (*end == '.' ? unit != DT_U_JULIAN && unit != U_TIME && unit != DT_U_SECOND : *end != '\0')
		return P_BAD;
	r->announced = 0;
	r->special = W_UNKNOWN;
	switch (unit) {
	case DT_U_YEAR:
		r->f.year = v;
		r->now = M_YEAR;
		return P_OK;
	case DT_U_MONTH:
		if ((r->seen & M_MONTH) != 0 && (r->seen & M_HOUR) != 0) {
			r->f.min = v;
			r->now = M_MINUTE;
		} else {
			r->f.mon = v;
			r->now = M_MONTH;
		}
		return P_OK;
	case DT_U_DAY:
		r->f.mday = v;
		r->now = M_DAY;
		return P_OK;
	case DT_U_HOUR:
		r->f.hour = v;
		r->now = M_HOUR;
		return P_OK;
	case DT_U_MINUTE:
		r->f.min = v;
		r->now = M_MINUTE;
		return P_OK;
	case DT_U_SECOND:
		r->f.sec = v;
		r->now = *end == '.' ? M_SECONDS : M_SECOND;
		return *end == '.' ? read_fraction_us(end, &r->f.us) : P_OK;
	case DT_U_JULIAN:
		return read_julian(r, v, end);
	case U_TIME: {
		int rc = read_run(r, s, r->seen | M_DATE);
		return rc == P_OK && r->now != M_TIME ? P_BAD : rc;
	}
	default:
		return P_BAD;
	}
}

static int number_field(struct reader *r, int i)
{
	char *s = r->field[i].s;
	if (r->announced != 0)
		return labelled_number(r, s);
	const char *point = strchr(s, '.');
	size_t n = strlen(s);
	if (r->time_only) {
		if (point != NULL && i == 0 && r->nf >= 2 && r->field[r->nf - 1].kind == F_DATE)
			return read_date_field(r, s);
		if (point != NULL ? point - s > 2 : n > 4)
			return read_run(r, s, r->seen | M_DATE);
		return point != NULL ? P_BAD : read_number(r, s, false, r->seen | M_DATE);
	}
	if (point != NULL && (r->seen & M_DATE) == 0)
		return read_date_field(r, s);
	if (point != NULL && point - s > 2)
		return read_run(r, s, r->seen);
	if (n >= 6 && ((r->seen & M_DATE) == 0 || (r->seen & M_TIME) == 0))
		return read_run(r, s, r->seen);
	return read_number(r, s, r->text_month, r->seen);
}

static int abbrev_field(struct reader *r, char *s, enum zone_abbrev kind, int32_t east, const char *zone)
{
	r->now = M_ZONE;
	if (kind == ZONE_ABBREV_DYNAMIC) {
		r->abbrev = s;
		r->abbrev_zone = zone_named(r->c, zone, strlen(zone));
		if (r->abbrev_zone == NULL)
			return P_SAID;
		r->now |= M_ZONE_DYNAMIC;
		return P_OK;
	}
	if (kind == ZONE_ABBREV_DST)
		r->now |= M_ZONE_DST;
	r->west = -east;
	return P_OK;
}

static int month_word(struct reader *r, int month)
{
	r->now = M_MONTH;
	if ((r->seen & M_MONTH) != 0 && !r->text_month && (r->seen & M_DAY) == 0 && r->f.mon >= 1 && r->f.mon <= 31) {
		r->f.mday = r->f.mon;
		r->now = M_DAY;
	}
	r->text_month = true;
	r->f.mon = month;
	return P_OK;
}

/* Words that stand for a whole date or time. */
static int special_word(struct reader *r, const struct word *w)
{
	switch (w->kind) {
	case W_NOW: /* value 1: a day, which a time can't be */
		if (r->time_only && w->value == 1)
			return P_BAD;
		r->current = true;
		r->special = W_UNKNOWN;
		r->f = (struct dt_fields){.year = 2000, .mon = 1, .mday = 1};
		r->now = r->time_only ? M_TIME : w->value == 1 ? M_DATE : M_DATE | M_TIME | M_ZONE;
		return P_OK;
	case W_ALLBALLS:
		r->now = M_TIME | M_ZONE;
		r->special = W_UNKNOWN;
		r->f.hour = r->f.min = r->f.sec = 0;
		if (!r->time_only)
			r->west = 0;
		return P_OK;
	default:
		if (r->time_only)
			return P_BAD;
		r->now = M_SPECIAL; /* a date or a time beside it is allowed, and ignored */
		r->special = w->kind;
		return P_OK;
	}
}

static int word_field(struct reader *r, int i)
{
	char *s = r->field[i].s;
	int32_t east;
	const char *zone;
	enum zone_abbrev kind = zone_abbrev_find(s, strlen(s), &east, &zone);
	if (kind != ZONE_ABBREV_NONE)
		return abbrev_field(r, s, kind, east, zone);
	const struct word *w = word_find(date_words, COUNT(date_words), s);
	r->now = 0;
	switch (w->kind) {
	case W_IGNORE:
		return P_OK;
	case W_MONTH:
		return r->time_only ? P_BAD : month_word(r, w->value);
	case W_DST:
		r->now = M_DST | M_ZONE_DST;
		r->west -= 3600;
		return P_OK;
	case W_AMPM:
		r->now = M_AMPM;
		r->half = w->value;
		return P_OK;
	case W_ERA:
		r->now = M_ERA;
		r->bc = w->value == ERA_BC;
		return P_OK;
	case W_DOW:
		r->now = M_DOW;
		return r->time_only ? P_BAD : P_OK;
	case W_UNIT:
		r->announced = w->value;
		return P_OK;
	case W_TIME:
		if (!r->time_only && (r->seen & M_DATE) != M_DATE)
			return P_BAD;
		if (i >= r->nf - 1 || (r->field[i + 1].kind != F_NUMBER && r->field[i + 1].kind != F_TIME &&
		                       r->field[i + 1].kind != F_DATE))
			return P_BAD;
		r->announced = U_TIME;
		return P_OK;
	case W_UNKNOWN:
		return read_zone_name(r, s);
	default:
		return special_word(r, w);
	}
}

static int signed_field(struct reader *r, int i)
{
	r->now = M_ZONE;
	return read_offset(r->field[i].s, &r->west);
}

/* ---- dates and times: putting it together ---------------------------------------------------------- */

/* Years to their astronomical number, days of the year to month and day, and the ranges. */
static int check_date(struct dt_fields *f, int seen, int yday, bool julian, bool two_digits, bool bc)
{
	if ((seen & M_YEAR) != 0 && !julian) {
		if (bc) {
			if (f->year <= 0)
				return P_RANGE;
			f->year = 1 - f->year;
		} else if (two_digits) {
			if (f->year < 0)
				return P_RANGE;
			if (f->year < 100)
				f->year += f->year < 70 ? 2000 : 1900;
		} else if (f->year <= 0)
			return P_RANGE;
	}
	if ((seen & M_DOY) != 0)
		dt_from_julian(dt_julian(f->year, 1, 1) + yday - 1, &f->year, &f->mon, &f->mday);
	if ((seen & M_MONTH) != 0 && (f->mon < 1 || f->mon > 12))
		return P_RANGE;
	if ((seen & M_DAY) != 0 && (f->mday < 1 || f->mday > 31))
		return P_RANGE;
	if ((seen & M_DATE) == M_DATE && f->mday > dt_month_days(f->year, f->mon))
		return P_RANGE;
	return P_OK;
}

int dt_check_date(int year, int mon, int mday, struct dt_fields *f)
{
	*f = (struct dt_fields){.year = year < 0 && year != INT_MIN ? -year : year, .mon = mon, .mday = mday};
	return check_date(f, M_DATE, 0, false, false, year < 0) == P_OK ? 0 : -1;
}

static int check_half(struct reader *r)
{
	if (r->half == 0)
		return P_OK;
	if (r->f.hour > 12)
		return P_RANGE;
	if (r->half == AM && r->f.hour == 12)
		r->f.hour = 0;
	else if (r->half == PM && r->f.hour != 12)
		r->f.hour += 12;
	return P_OK;
}

/* The offset at a date that is known, or of a zone that needs none. */
static int resolve_zone(struct reader *r)
{
	int32_t east;
	if ((r->seen & M_DST) != 0 && (r->zone != NULL || r->abbrev_zone != NULL || (r->seen & M_ZONE) == 0))
		return P_BAD;
	if (r->zone != NULL) {
		if (r->time_only && zone_constant(r->zone, &east))
			r->west = -east;
		else if (r->time_only && (r->seen & M_DATE) != M_DATE)
			return P_BAD;
		else
			r->west = -zone_east_local(r->zone, &r->f);
	}
	if (r->time_only && (r->seen & M_DATE) != 0 && (r->seen & M_DATE) != M_DATE &&
	    (r->abbrev_zone != NULL || (r->seen & M_ZONE) == 0))
		return P_BAD;
	if (r->abbrev_zone == NULL)
		return P_OK;
	if (r->time_only && (r->seen & M_DATE) == 0) {
		r->zone_current = true;
		return P_OK;
	}
	r->west = -zone_abbrev_local(r->abbrev_zone, r->abbrev, strlen(r->abbrev), &r->f);
	return P_OK;
}

static int read_fields(struct reader *r)
{
	static int (*const by_kind[])(struct reader *, int) = {
		[F_NUMBER] = number_field, [F_DATE] = date_field, [F_TIME] = time_field, [F_SIGNED] = signed_field,
		[F_WORD] = word_field,
	};
	for (int i = 0; i < r->nf; i++) {
		r->now = 0;
		int rc = by_kind[r->field[i].kind](r, i);
		if (rc != P_OK)
			return rc;
		if ((r->now & r->seen) != 0)
			return P_BAD;
		r->seen |= r->now;
	}
	int rc = check_date(&r->f, r->seen, r->yday, r->julian, r->two_digits, r->bc);
	if (rc != P_OK || (rc = check_half(r)) != P_OK)
		return rc;
	if (r->special != W_UNKNOWN)
		return P_OK;
	if (r->time_only && time_overflows(&r->f))
		return P_RANGE;
	int all = r->time_only ? M_TIME : M_DATE;
	if ((r->seen & all) != all)
		return P_BAD;
	return resolve_zone(r);
}

static int report(struct where_call *c, int problem, const char *type)
{
	switch (problem) {
	case P_SAID:
		return -1;
	case P_RANGE:
		return where_fail(c, "%s field value out of range", strcmp(type, "interval") == 0 ? "interval" : "date/time");
	case P_ZONE_RANGE:
		return where_fail(c, "time zone displacement out of range");
	default:
		return where_fail(c, "invalid input syntax for type %s", type);
	}
}

static int report_current(struct where_call *c)
{
	return where_fail(c, "the value depends on the current time");
}

/* The long way, for all types but interval. */
static int read_text(struct reader *r, struct where_call *c, const char *p, size_t n, bool time_only, const char *type)
{
	char *work = arena_alloc(c->mem, WORK_STAMP);
	*r = (struct reader){.c = c, .time_only = time_only};
	int stamp = strncmp(type, "timestamp", 9) == 0;
	r->nf = cut(p, n, work, stamp ? WORK_STAMP : WORK_TIME, r->field);
	int rc = r->nf < 0 ? P_BAD : read_fields(r);
	return rc == P_OK ? 0 : report(c, rc, type);
}

/* ---- the usual forms ------------------------------------------------------------------------------- */

static bool two(const char *s, int *v)
{
	if (!is_digit(s[0]) || !is_digit(s[1]))
		return false;
	*v = (s[0] - '0') * 10 + (s[1] - '0');
	return true;
}

/* yyyy-mm-dd, the first ten characters. */
static bool usual_date(const char *s, struct dt_fields *f)
{
	int century, year;
	if (s[4] != '-' || s[7] != '-' || !two(s, &century) || !two(s + 2, &year) || !two(s + 5, &f->mon) ||
	    !two(s + 8, &f->mday))
		return false;
	f->year = century * 100 + year;
	return f->year > 0 && f->mon >= 1 && f->mon <= 12 && f->mday >= 1 && f->mday <= dt_month_days(f->year, f->mon);
}

/* hh:mm:ss[.f to .ffffff]; the number of characters, 0: something else. */
static size_t usual_clock(const char *s, size_t n, struct dt_fields *f)
{
	if (n < 8 || s[2] != ':' || s[5] != ':' || !two(s, &f->hour) || !two(s + 3, &f->min) || !two(s + 6, &f->sec) ||
	    f->hour > 23 || f->min > 59 || f->sec > 59)
		return 0;
	f->us = 0;
	if (n == 8 || s[8] != '.')
		return 8;
	size_t i = 9;
	int unit = 100000;
	for (; i < n && is_digit(s[i]); i++, unit /= 10) {
		if (unit == 0)
			return 0;
		f->us += (s[i] - '0') * unit;
	}
	return i > 9 ? i : 0;
}

static bool usual_stamp(const char *p, size_t n, bool zone, struct dt_fields *f)
{
	if (n < 10 || !usual_date(p, f))
		return false;
	if (n == 10)
		return true;
	if (p[10] != ' ' && p[10] != 'T')
		return false;
	size_t used = usual_clock(p + 11, n - 11, f);
	if (used == 0)
		return false;
	p += 11 + used;
	n -= 11 + used;
	return n == 0 || (zone && ((n == 3 && memcmp(p, "+00", 3) == 0) || (n == 1 && *p == 'Z')));
}

/* ---- the types -------------------------------------------------------------------------------------- */

static int check_digits(struct where_call *c, int32_t typmod)
{
	return typmod > 6 || typmod < DT_TYPMOD_NONE ? where_fail(c, "precision must be between 0 and 6") : 0;
}

int dt_read_date(struct where_call *c, const char *p, size_t n, int64_t *date)
{
	struct dt_fields f;
	if (n == 10 && usual_date(p, &f)) {
		*date = dt_julian(f.year, f.mon, f.mday) - DT_EPOCH_JULIAN;
		return 0;
	}
	struct reader r;
	if (read_text(&r, c, p, n, false, "date") != 0)
		return -1;
	if (r.current)
		return report_current(c);
	if (r.special == W_LATE || r.special == W_EARLY)
		*date = r.special == W_LATE ? DATE_INFINITY : DATE_NEG_INFINITY;
	else if (r.special == W_EPOCH)
		*date = DT_UNIX_JULIAN - DT_EPOCH_JULIAN;
	else {
		if (!dt_julian_valid(r.f.year, r.f.mon))
			return where_fail(c, "date out of range");
		*date = dt_julian(r.f.year, r.f.mon, r.f.mday) - DT_EPOCH_JULIAN;
		if (!dt_date_valid(*date))
			return where_fail(c, "date out of range");
	}
	return 0;
}

int dt_read_time(struct where_call *c, const char *p, size_t n, int32_t typmod, int64_t *us)
{
	struct dt_fields f;
	if (check_digits(c, typmod) != 0)
		return -1;
	if (n < 8 || usual_clock(p, n, &f) != n) {
		struct reader r;
		if (read_text(&r, c, p, n, true, "time") != 0)
			return -1;
		if (r.current)
			return report_current(c);
		f = r.f;
	}
	*us = dt_join_time(&f);
	if (typmod >= 0)
		*us = dt_round(*us, typmod);
	return 0;
}

int dt_read_timetz(struct where_call *c, const char *p, size_t n, int32_t typmod, struct where_timetz *v)
{
	struct reader r;
	if (check_digits(c, typmod) != 0 || read_text(&r, c, p, n, true, "time with time zone") != 0)
		return -1;
	if (r.current || r.zone_current)
		return report_current(c);
	if (abs(r.west) >= (OFFSET_HOURS_MAX + 1) * 3600) /* Z18: Postgres takes it, and can't read it back */
		return report(c, P_ZONE_RANGE, "time with time zone");
	*v = (struct where_timetz){.us = typmod >= 0 ? dt_round(dt_join_time(&r.f), typmod) : dt_join_time(&r.f), .zone = r.west};
	return 0;
}

int dt_read_stamp(struct where_call *c, const char *p, size_t n, bool zone, int32_t typmod, int64_t *stamp)
{
	struct dt_fields f = {0};
	int32_t west = 0;
	if (check_digits(c, typmod) != 0)
		return -1;
	if (!usual_stamp(p, n, zone, &f)) {
		struct reader r;
		if (read_text(&r, c, p, n, false, zone ? "timestamp with time zone" : "timestamp") != 0)
			return -1;
		if (r.current)
			return report_current(c);
		if (r.special == W_LATE || r.special == W_EARLY) {
			*stamp = r.special == W_LATE ? TIMESTAMP_INFINITY : TIMESTAMP_NEG_INFINITY;
			return 0;
		}
		f = r.special == W_EPOCH ? (struct dt_fields){.year = 1970, .mon = 1, .mday = 1} : r.f;
		west = zone && r.special != W_EPOCH ? r.west : 0;
	}
	if (dt_join(&f, west, stamp) != 0)
		return where_fail(c, "timestamp out of range");
	if (typmod >= 0)
		*stamp = dt_round(*stamp, typmod);
	return 0;
}

/* ---- intervals -------------------------------------------------------------------------------------- */

struct span { int32_t years, months, days; int64_t us; };

static bool add_us_fraction(struct span *v, double part, double scale)
{
	part *= scale;
	int64_t us = (int64_t)part;
	part -= (double)us;
	if (part > 0.5)
		us++;
	else if (part < -0.5)
		us--;
	return !__builtin_add_overflow(v->us, us, &v->us);
}

static bool add_us(struct span *v, int64_t n, double part, int64_t scale)
{
	int64_t us;
	return !__builtin_mul_overflow(n, scale, &us) && !__builtin_add_overflow(v->us, us, &v->us) &&
	       add_us_fraction(v, part, (double)scale);
}

static bool add_int(int32_t *to, int64_t n, int32_t scale)
{
	int32_t v;
	return n >= INT_MIN && n <= INT_MAX && !__builtin_mul_overflow((int32_t)n, scale, &v) &&
	       !__builtin_add_overflow(*to, v, to);
}

static bool add_days(struct span *v, int64_t n, double part)
{
	return add_int(&v->days, n, 1) && add_us_fraction(v, part, (double)DT_DAY);
}

/* A fraction of `scale` days. */
static bool add_days_fraction(struct span *v, double part, int scale)
{
	part *= scale;
	int32_t days = (int32_t)part;
	return !__builtin_add_overflow(v->days, days, &v->days) && add_us_fraction(v, part - days, (double)DT_DAY);
}

static bool add_weeks(struct span *v, int64_t n, double part)
{
	return add_int(&v->days, n, 7) && add_days_fraction(v, part, 7);
}

static bool add_months(struct span *v, int64_t n, double part)
{
	return add_int(&v->months, n, 1) && add_days_fraction(v, part, 30);
}

static bool add_years(struct span *v, int64_t n, double part, int scale)
{
	return add_int(&v->years, n, scale) &&
	       !__builtin_add_overflow(v->months, (int32_t)rint(part * scale * 12), &v->months);
}

/* Which parts an interval's typmod leaves: bits as Postgres has them in pg_attribute.atttypmod. */
enum {
	R_MONTH = 1 << 1, R_YEAR = 1 << 2, R_DAY = 1 << 3, R_HOUR = 1 << 10, R_MINUTE = 1 << 11, R_SECOND = 1 << 12,
	R_ALL = 0x7fff, R_PRECISION_ALL = 0xffff,
};

static int range_of(int32_t typmod)
{
	return typmod < 0 ? R_ALL : typmod >> 16 & R_ALL;
}

/* What a last number without a unit means. */
static enum dt_unit last_unit(int range)
{
	switch (range) {
	case R_YEAR:
		return DT_U_YEAR;
	case R_MONTH:
	case R_YEAR | R_MONTH:
		return DT_U_MONTH;
	case R_DAY:
		return DT_U_DAY;
	case R_HOUR:
	case R_DAY | R_HOUR:
		return DT_U_HOUR;
	case R_MINUTE:
	case R_HOUR | R_MINUTE:
	case R_DAY | R_HOUR | R_MINUTE:
		return DT_U_MINUTE;
	default:
		return DT_U_SECOND;
	}
}

/* Adds a number of units. *now: what to mark as seen. */
static int add_units(struct span *v, enum dt_unit unit, int64_t n, double part, int *now)
{
	static const struct { int mask; int32_t scale; } years[] = {
		{M_YEAR, 1}, {M_DECADE, 10}, {M_CENTURY, 100}, {M_MILLENNIUM, 1000},
	};
	bool ok;
	switch (unit) {
	case DT_U_MICROSECOND:
		*now = M_MICROSECOND;
		ok = add_us(v, n, part, 1);
		break;
	case DT_U_MILLISECOND:
		*now = M_MILLISECOND;
		ok = add_us(v, n, part, 1000);
		break;
	case DT_U_SECOND:
		*now = part == 0 ? M_SECOND : M_SECONDS;
		ok = add_us(v, n, part, DT_SECOND);
		break;
	case DT_U_MINUTE:
		*now = M_MINUTE;
		ok = add_us(v, n, part, DT_MINUTE);
		break;
	case DT_U_HOUR:
		*now = M_HOUR;
		ok = add_us(v, n, part, DT_HOUR);
		break;
	case DT_U_DAY:
		*now = M_DAY;
		ok = add_days(v, n, part);
		break;
	case DT_U_WEEK:
		*now = M_WEEK;
		ok = add_weeks(v, n, part);
		break;
	case DT_U_MONTH:
		*now = M_MONTH;
		ok = add_months(v, n, part);
		break;
	case DT_U_YEAR:
	case DT_U_DECADE:
	case DT_U_CENTURY:
	case DT_U_MILLENNIUM:
		*now = years[unit - DT_U_YEAR].mask;
		ok = add_years(v, n, part, years[unit - DT_U_YEAR].scale);
		break;
	default:
		return P_BAD;
	}
	return ok ? P_OK : P_RANGE;
}

static int interval_clock(const char *s, int range, struct span *v)
{
	int64_t hour;
	int min, sec, us;
	int rc = read_clock(s, range == (R_MINUTE | R_SECOND), &hour, &min, &sec, &us);
	if (rc != P_OK)
		return rc;
	v->us = us; /* Postgres forgets what was there */
	bool ok = add_us(v, hour, 0, DT_HOUR) && add_us(v, min, 0, DT_MINUTE) && add_us(v, sec, 0, DT_SECOND);
	return ok ? P_OK : P_RANGE;
}

/* 12, -1.5, 1-6 (years and months). */
static int interval_number(const char *s, int64_t *n, double *part, enum dt_unit *unit)
{
	char *end;
	int months, rc;
	*part = 0;
	errno = 0;
	*n = strtoll(s, &end, 10);
	if (errno == ERANGE)
		return P_RANGE;
	if (*end == '\0')
		return P_OK;
	if (*end == '.') {
		rc = read_fraction(end, part);
		if (*s == '-')
			*part = -*part;
		return rc;
	}
	if (*end != '-')
		return P_BAD;
	if (read_int(end + 1, &end, &months) != P_OK || months < 0 || months >= 12)
		return P_RANGE;
	if (*end != '\0')
		return P_BAD;
	*unit = DT_U_MONTH;
	if (*s == '-')
		months = -months;
	return __builtin_mul_overflow(*n, 12, n) || __builtin_add_overflow(*n, months, n) ? P_RANGE : P_OK;
}

static bool negate(struct span *v)
{
	if (v->us == INT64_MIN || v->days == INT_MIN || v->months == INT_MIN || v->years == INT_MIN)
		return false;
	*v = (struct span){-v->years, -v->months, -v->days, -v->us};
	return true;
}

/* '1 year 2 mons', '1 02:03:04', '1-2', '5 days ago': from the right, since units follow their numbers. */
static int interval_fields(const struct field *field, int nf, int range, struct span *v)
{
	enum { UNSET = -1 };
	int unit = UNSET, seen = 0;
	bool ago = false;
	for (int i = nf - 1; i >= 0; i--) {
		const char *s = field[i].s;
		enum field_kind kind = field[i].kind;
		int now = 0, rc;
		if (kind == F_WORD) {
			const struct word *w = word_find(unit_words, COUNT(unit_words), s);
			if (w->kind != W_UNIT && w->kind != W_AGO)
				return P_BAD;
			ago = ago || w->kind == W_AGO;
			unit = w->value;
			continue;
		}
		if (kind == F_TIME ||
		    (kind == F_SIGNED && strchr(s + 1, ':') != NULL && interval_clock(s + 1, range, v) == P_OK)) {
			if (kind == F_TIME && (rc = interval_clock(s, range, v)) != P_OK)
				return rc;
			if (kind == F_SIGNED && *s == '-')
				v->us = -v->us; /* never the least number, it was positive */
			now = M_TIME;
			unit = DT_U_DAY;
		} else {
			int64_t n;
			double part;
			enum dt_unit meant = unit == UNSET ? last_unit(range) : (enum dt_unit)unit;
			if ((rc = interval_number(s, &n, &part, &meant)) != P_OK)
				return rc;
			if ((rc = add_units(v, meant, n, part, &now)) != P_OK)
				return rc;
			unit = meant == DT_U_HOUR ? DT_U_DAY : (int)meant;
		}
		if ((now & seen) != 0)
			return P_BAD;
		seen |= now;
	}
	if (seen == 0)
		return P_BAD;
	return ago && !negate(v) ? P_RANGE : P_OK;
}

static int iso_number(const char **s, int64_t *whole, double *part)
{
	char *end;
	if (!is_digit(**s) && **s != '-' && **s != '.')
		return P_BAD;
	errno = 0;
	double v = strtod(*s, &end);
	if (end == *s || errno != 0)
		return P_BAD;
	*s = end;
	if (isnan(v) || v < -1.0e15 || v > 1.0e15)
		return P_RANGE;
	*whole = (int64_t)(v >= 0 ? floor(v) : -floor(-v));
	*part = v - (double)*whole;
	return P_OK;
}

static size_t digits_of(const char *s)
{
	return strspn(*s == '-' ? s + 1 : s, "0123456789");
}

/* The rest of 0001-02-03 after its first number; stops at T or the end. */
static int iso_date_rest(const char **s, struct span *v)
{
	int64_t n;
	double part;
	int rc = iso_number(s, &n, &part);
	if (rc != P_OK)
		return rc;
	if (!add_months(v, n, part))
		return P_RANGE;
	if (**s == '\0' || **s == 'T')
		return P_OK;
	if (**s != '-')
		return P_BAD;
	++*s;
	if ((rc = iso_number(s, &n, &part)) != P_OK)
		return rc;
	if (!add_days(v, n, part))
		return P_RANGE;
	return **s == '\0' || **s == 'T' ? P_OK : P_BAD;
}

/* One number of the part before T, and its unit. *done: the text ended; *time: a T came. */
static int iso_date_part(const char **s, const char *start, int64_t n, double part, bool first, struct span *v,
                         bool *done, bool *time)
{
	char unit = **s;
	bool ok;
	if (unit != '\0')
		++*s;
	switch (unit) {
	case 'Y':
		ok = add_years(v, n, part, 1);
		break;
	case 'M':
		ok = add_months(v, n, part);
		break;
	case 'W':
		ok = add_weeks(v, n, part);
		break;
	case 'D':
		ok = add_days(v, n, part);
		break;
	case 'T':
	case '\0':
		*done = unit == '\0';
		*time = unit == 'T';
		if (digits_of(start) == 8 && first) {
			ok = add_years(v, n / 10000, 0, 1) && add_months(v, n / 100 % 100, 0) && add_days(v, n % 100, part);
			break;
		}
		if (!first)
			return P_BAD;
		ok = add_years(v, n, part, 1);
		break;
	case '-': {
		if (!first)
			return P_BAD;
		if (!add_years(v, n, part, 1))
			return P_RANGE;
		int rc = iso_date_rest(s, v);
		*done = rc == P_OK && **s == '\0';
		*time = rc == P_OK && **s == 'T';
		if (*time)
			++*s;
		return rc;
	}
	default:
		return P_BAD;
	}
	return ok ? P_OK : P_RANGE;
}

static int iso_time_rest(const char **s, struct span *v)
{
	int64_t n;
	double part;
	int rc = iso_number(s, &n, &part);
	if (rc != P_OK)
		return rc;
	if (!add_us(v, n, part, DT_MINUTE))
		return P_RANGE;
	if (**s == '\0')
		return P_OK;
	if (**s != ':')
		return P_BAD;
	++*s;
	if ((rc = iso_number(s, &n, &part)) != P_OK)
		return rc;
	if (!add_us(v, n, part, DT_SECOND))
		return P_RANGE;
	return **s == '\0' ? P_OK : P_BAD;
}

static int iso_time_part(const char **s, const char *start, int64_t n, double part, bool first, struct span *v,
                         bool *done)
{
	char unit = **s;
	if (unit != '\0')
		++*s;
	switch (unit) {
	case 'H':
		return add_us(v, n, part, DT_HOUR) ? P_OK : P_RANGE;
	case 'M':
		return add_us(v, n, part, DT_MINUTE) ? P_OK : P_RANGE;
	case 'S':
		return add_us(v, n, part, DT_SECOND) ? P_OK : P_RANGE;
	case '\0':
		*done = true;
		if (digits_of(start) == 6 && first)
			return add_us(v, n / 10000, 0, DT_HOUR) && add_us(v, n / 100 % 100, 0, DT_MINUTE) &&
			       add_us(v, n % 100, 0, DT_SECOND) && add_us_fraction(v, part, 1) ? P_OK : P_RANGE;
		break;
	case ':':
		break;
	default:
		return P_BAD;
	}
	if (!first)
		return P_BAD;
	if (!add_us(v, n, part, DT_HOUR))
		return P_RANGE;
	*done = true;
	return unit == '\0' ? P_OK : iso_time_rest(s, v);
}

/* P1Y2M3DT4H5M6.7S, P00010203T040506, P0001-02-03T04:05:06. */
static int interval_iso(const char *s, struct span *v)
{
	bool time = false, first = true, done = false;
	if (s[0] != 'P' || s[1] == '\0')
		return P_BAD;
	for (s++; *s != '\0' && !done;) {
		if (*s == 'T') {
			time = first = true;
			s++;
			continue;
		}
		const char *start = s;
		int64_t n;
		double part;
		bool t = false;
		int rc = iso_number(&s, &n, &part);
		if (rc != P_OK)
			return rc;
		rc = time ? iso_time_part(&s, start, n, part, first, v, &done)
		          : iso_date_part(&s, start, n, part, first, v, &done, &t);
		if (rc != P_OK)
			return rc;
		time = time || t;
		first = t;
	}
	return P_OK;
}

int dt_interval_typmod(struct where_call *c, struct where_interval *v, int32_t typmod)
{
	if (typmod < 0)
		return 0;
	int range = range_of(typmod), digits = typmod & R_PRECISION_ALL;
	if (range == R_YEAR) {
		*v = (struct where_interval){.months = v->months / 12 * 12};
	} else if (range == R_MONTH || range == (R_YEAR | R_MONTH)) {
		*v = (struct where_interval){.months = v->months};
	} else if (range == R_DAY) {
		v->us = 0;
	} else if (range == R_HOUR || range == (R_DAY | R_HOUR)) {
		v->us = v->us / DT_HOUR * DT_HOUR;
	} else if (range == R_MINUTE || range == (R_DAY | R_HOUR | R_MINUTE) || range == (R_HOUR | R_MINUTE)) {
		v->us = v->us / DT_MINUTE * DT_MINUTE;
	} else if (range != R_ALL && (range & R_SECOND) == 0)
		return where_fail(c, "invalid interval type modifier");
	if (digits == R_PRECISION_ALL)
		return 0;
	if (digits > 6)
		return where_fail(c, "interval precision must be between 0 and 6");
	v->us = dt_round(v->us, digits);
	return 0;
}

int dt_read_interval(struct where_call *c, const char *p, size_t n, int32_t typmod, struct where_interval *v)
{
	struct field field[FIELDS_MAX];
	struct span span = {0};
	char work[WORK_INTERVAL];
	int nf = cut(p, n, work, sizeof work, field);
	int rc = nf < 0 ? P_BAD : interval_fields(field, nf, range_of(typmod), &span);
	if (rc == P_BAD) {
		span = (struct span){0};
		rc = interval_iso(arena_strndup(c->mem, p, n), &span);
	}
	if (rc != P_OK)
		return report(c, rc, "interval");
	int64_t months = span.years * INT64_C(12) + span.months;
	if (months > INT_MAX || months < INT_MIN)
		return where_fail(c, "interval out of range");
	*v = (struct where_interval){.months = (int32_t)months, .days = span.days, .us = span.us};
	return dt_interval_typmod(c, v, typmod);
}
