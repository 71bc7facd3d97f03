/*
 * datetime_format.c - to_char() of timestamps.
 *
 * A format is a row of patterns, each perhaps with FM before it and TH after it, quoted texts, and characters
 * that stand for themselves. Names are English; TM (names of the server's lc_time) is refused.
 */
#include "where/datetime.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum pattern {
	T_AD_DOTS, T_AM_DOTS, T_AD, T_AM, T_CC, T_DAY, T_DDD, T_DD, T_DY, T_D, T_FF1, T_FF2, T_FF3, T_FF4, T_FF5, T_FF6, T_FX,
	T_HH24, T_HH12, T_IDDD, T_ID, T_IW, T_IYYY, T_IYY, T_IY, T_I, T_J, T_MI, T_MM, T_MONTH, T_MON, T_OF, T_Q, T_RM,
	T_SSSS, T_SS, T_TZH, T_TZM, T_TZ, T_WW, T_W, T_Y_YYY, T_YYYY, T_YYY, T_YY, T_Y,
};

/* Longer ones before those they begin with. Each is also there in lower case, and `mixed` ones as Xxx. */
static const struct keyword { char name[8]; uint8_t pattern; bool mixed; } keywords[] = {
	{"A.D.", T_AD_DOTS, false}, {"B.C.", T_AD_DOTS, false}, {"A.M.", T_AM_DOTS, false}, {"P.M.", T_AM_DOTS, false},
	{"AD", T_AD, false}, {"BC", T_AD, false}, {"AM", T_AM, false}, {"PM", T_AM, false}, {"CC", T_CC, false},
	{"DAY", T_DAY, true}, {"DDD", T_DDD, false}, {"DD", T_DD, false}, {"DY", T_DY, true}, {"D", T_D, false},
	{"FF1", T_FF1, false}, {"FF2", T_FF2, false}, {"FF3", T_FF3, false}, {"FF4", T_FF4, false}, {"FF5", T_FF5, false},
	{"FF6", T_FF6, false}, {"FX", T_FX, false}, {"HH24", T_HH24, false}, {"HH12", T_HH12, false}, {"HH", T_HH12, false},
	{"IDDD", T_IDDD, false}, {"ID", T_ID, false}, {"IW", T_IW, false}, {"IYYY", T_IYYY, false}, {"IYY", T_IYY, false},
	{"IY", T_IY, false}, {"I", T_I, false}, {"J", T_J, false}, {"MI", T_MI, false}, {"MM", T_MM, false},
	{"MONTH", T_MONTH, true}, {"MON", T_MON, true}, {"MS", T_FF3, false}, {"OF", T_OF, false}, {"Q", T_Q, false},
	{"RM", T_RM, false}, {"SSSSS", T_SSSS, false}, {"SSSS", T_SSSS, false}, {"SS", T_SS, false}, {"TZH", T_TZH, false},
	{"TZM", T_TZM, false}, {"TZ", T_TZ, false}, {"US", T_FF6, false}, {"WW", T_WW, false}, {"W", T_W, false},
	{"Y,YYY", T_Y_YYY, false}, {"YYYY", T_YYYY, false}, {"YYY", T_YYY, false}, {"YY", T_YY, false}, {"Y", T_Y, false},
};

enum letters { UPPER, LOWER, MIXED };

static bool matches(const char *p, size_t n, const char *name, size_t len, enum letters how)
{
	if (n < len)
		return false;
	for (size_t i = 0; i < len; i++) {
		char want = how == LOWER || (how == MIXED && i > 0) ? (char)tolower(name[i]) : name[i];
		if (p[i] != want)
			return false;
	}
	return true;
}

static const struct keyword *find_keyword(const char *p, size_t n, size_t *len, enum letters *how)
{
	for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
		const struct keyword *k = &keywords[i];
		*len = strlen(k->name);
		for (int l = UPPER; l <= (k->mixed ? MIXED : LOWER); l++)
			if (matches(p, n, k->name, *len, (enum letters)l)) {
				*how = (enum letters)l;
				return k;
			}
	}
	return NULL;
}

static bool either(const char *p, size_t n, const char *upper, const char *lower)
{
	return n >= 2 && (memcmp(p, upper, 2) == 0 || memcmp(p, lower, 2) == 0);
}

/* A name in the pattern's letters, padded with blanks to `width`. */
static void put_name(struct buf *out, const char *name, size_t len, enum letters how, int width)
{
	size_t i = 0;
	for (; i < len; i++)
		buf_putc(out, (char)(how == UPPER ? toupper(name[i]) : how == LOWER ? tolower(name[i]) : name[i]));
	for (; width > 0 && i < (size_t)width; i++)
		buf_putc(out, ' ');
}

struct moment { struct dt_fields f; int64_t julian; int yday, wday; bool zone; };

/* The numeric patterns: value and width. */
static bool number_of(const struct moment *m, enum pattern t, int *v, int *width)
{
	static const int fractions[] = {100000, 10000, 1000, 100, 10, 1};
	const struct dt_fields *f = &m->f;
	int year = f->year > 0 ? f->year : 1 - f->year, iso = dt_iso_year(f);
	int64_t iso_day1 = m->julian - (m->wday + 6) % 7 - (dt_iso_week(f) - 1) * INT64_C(7);
	iso = iso > 0 ? iso : 1 - iso;
	*width = 2;
	switch (t) {
	case T_CC:
		*v = f->year > 0 ? (f->year - 1) / 100 + 1 : f->year / 100 - 1;
		*width = *v > 99 || *v < -99 ? 0 : *v >= 0 ? 2 : 3;
		return true;
	case T_DDD:
		*v = m->yday;
		*width = 3;
		return true;
	case T_IDDD:
		*v = (int)(m->julian - iso_day1) + 1;
		*width = 3;
		return true;
	case T_DD:
		*v = f->mday;
		return true;
	case T_D:
		*v = m->wday + 1;
		*width = 0;
		return true;
	case T_ID:
		*v = m->wday == 0 ? 7 : m->wday;
		*width = 0;
		return true;
	case T_FF1:
	case T_FF2:
	case T_FF3:
	case T_FF4:
	case T_FF5:
	case T_FF6:
		*v = f->us / fractions[t - T_FF1];
		*width = -(t - T_FF1 + 1); /* FM doesn't matter */
		return true;
	case T_HH24:
		*v = f->hour;
		return true;
	case T_HH12:
		*v = f->hour % 12 == 0 ? 12 : f->hour % 12;
		return true;
	case T_MI:
		*v = f->min;
		return true;
	case T_SS:
		*v = f->sec;
		return true;
	case T_SSSS:
		*v = (f->hour * 60 + f->min) * 60 + f->sec;
		*width = 0;
		return true;
	case T_MM:
		*v = f->mon;
		return true;
	case T_WW:
		*v = (m->yday - 1) / 7 + 1;
		return true;
	case T_IW:
		*v = dt_iso_week(f);
		return true;
	case T_W:
		*v = (f->mday - 1) / 7 + 1;
		*width = 0;
		return true;
	case T_Q:
		*v = (f->mon - 1) / 3 + 1;
		*width = 0;
		return true;
	case T_J:
		*v = (int)m->julian;
		*width = 0;
		return true;
	case T_YYYY:
	case T_IYYY:
		*v = t == T_YYYY ? year : iso;
		*width = 4;
		return true;
	case T_YYY:
	case T_IYY:
		*v = (t == T_YYY ? year : iso) % 1000;
		*width = 3;
		return true;
	case T_YY:
	case T_IY:
		*v = (t == T_YY ? year : iso) % 100;
		return true;
	case T_Y:
	case T_I:
		*v = (t == T_Y ? year : iso) % 10;
		*width = 0;
		return true;
	default:
		return false;
	}
}

/* st, nd, rd, th */
static void put_ordinal(struct buf *out, const char *digits, bool upper)
{
	size_t n = strlen(digits);
	const char *end = "th";
	if (n < 2 || digits[n - 2] != '1')
		end = digits[n - 1] == '1' ? "st" : digits[n - 1] == '2' ? "nd" : digits[n - 1] == '3' ? "rd" : "th";
	put_name(out, end, 2, upper ? UPPER : LOWER, 0);
}

static void put_word(struct buf *out, const struct moment *m, enum pattern t, enum letters how, bool fill)
{
	static const char *const months[] = {"January", "February", "March", "April", "May", "June", "July", "August",
	                                     "September", "October", "November", "December"};
	static const char *const days[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
	static const char *const romans[] = {"I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"};
	const char *month = months[m->f.mon - 1], *day = days[m->wday], *roman = romans[m->f.mon - 1];
	bool pm = m->f.hour % 24 >= 12, bc = m->f.year <= 0;
	switch (t) {
	case T_AD_DOTS:
		put_name(out, bc ? "B.C." : "A.D.", 4, how, 0);
		break;
	case T_AM_DOTS:
		put_name(out, pm ? "P.M." : "A.M.", 4, how, 0);
		break;
	case T_AD:
		put_name(out, bc ? "BC" : "AD", 2, how, 0);
		break;
	case T_AM:
		put_name(out, pm ? "PM" : "AM", 2, how, 0);
		break;
	case T_MONTH:
		put_name(out, month, strlen(month), how, fill ? 9 : 0);
		break;
	case T_MON:
		put_name(out, month, 3, how, 0);
		break;
	case T_DAY:
		put_name(out, day, strlen(day), how, fill ? 9 : 0);
		break;
	case T_DY:
		put_name(out, day, 3, how, 0);
		break;
	case T_RM:
		put_name(out, roman, strlen(roman), how, fill ? 4 : 0);
		break;
	case T_TZ:
		if (m->zone)
			put_name(out, "UTC", 3, how, 0);
		break;
	case T_TZH:
		buf_puts(out, "+00");
		break;
	case T_TZM:
		buf_puts(out, "00");
		break;
	case T_OF:
		buf_puts(out, fill ? "+00" : "+0");
		break;
	default:
		break;
	}
}

static void put_pattern(struct buf *out, const struct moment *m, enum pattern t, enum letters how, bool fill,
                        char ordinal)
{
	char digits[24];
	int v, width;
	if (t == T_Y_YYY) {
		int year = m->f.year > 0 ? m->f.year : 1 - m->f.year;
		snprintf(digits, sizeof digits, "%d,%03d", year / 1000, year % 1000);
	} else if (number_of(m, t, &v, &width))
		snprintf(digits, sizeof digits, "%0*d", width < 0 ? -width : fill ? width : 0, v);
	else {
		put_word(out, m, t, how, fill);
		return;
	}
	buf_puts(out, digits);
	if (ordinal != '\0')
		put_ordinal(out, digits, ordinal == 'T');
}

/* A text in double quotes; returns the bytes read. */
static size_t put_quoted(struct buf *out, const char *p, size_t n)
{
	size_t i = 1;
	for (; i < n; i++) {
		if (p[i] == '"')
			return i + 1;
		if (p[i] == '\\' && i + 1 < n)
			i++;
		buf_putc(out, p[i]);
	}
	return i;
}

int dt_to_char(struct where_call *c, int64_t stamp, bool zone, const char *p, size_t n, struct buf *out)
{
	struct moment m = {.zone = zone};
	if (dt_split(stamp, &m.f) != 0)
		return where_fail(c, "timestamp out of range");
	m.julian = dt_julian(m.f.year, m.f.mon, m.f.mday);
	m.wday = dt_weekday(m.julian);
	m.yday = (int)(m.julian - dt_julian(m.f.year, 1, 1)) + 1;
	for (size_t i = 0; i < n && !out->failed;) {
		bool fill = true;
		if (either(p + i, n - i, "FM", "fm")) {
			fill = false;
			i += 2;
		} else if (either(p + i, n - i, "TM", "tm"))
			return where_fail(c, "to_char: TM depends on the server's lc_time");
		size_t len;
		enum letters how;
		const struct keyword *k = i < n ? find_keyword(p + i, n - i, &len, &how) : NULL;
		if (k != NULL) {
			char ordinal = '\0';
			i += len;
			if (either(p + i, n - i, "TH", "th")) {
				ordinal = p[i];
				i += 2;
			} else if (n - i >= 2 && memcmp(p + i, "SP", 2) == 0)
				i += 2;
			put_pattern(out, &m, k->pattern, how, fill, ordinal);
		} else if (i < n && p[i] == '"')
			i += put_quoted(out, p + i, n - i);
		else if (i < n) {
			if (p[i] == '\\' && i + 1 < n && p[i + 1] == '"')
				i++;
			buf_putc(out, p[i++]);
		}
	}
	return out->failed ? where_fail(c, "to_char: result too long") : 0;
}
