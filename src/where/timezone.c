/*
 * timezone.c - reading TZif files and POSIX zone texts; offsets at instants and at local times.
 *
 * A zone is a table of transitions. What a file's footer (or a POSIX text) says about the years after the
 * table is written out into it for YEARS_OUT years, which covers every case once, because the calendar
 * repeats every 400 years; times beyond are moved by multiples of that (`ahead`, `back`).
 */
#include "where/timezone.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define FILE_BYTES_MAX (256u << 10)
#define TRANSITIONS_MAX 2000
#define TYPES_MAX 250
#define CHARS_MAX 512
#define CACHE_SLOTS 4096       /* a power of two; no more than half of them are used */
#define DAY_SECONDS INT64_C(86400)
#define REPEAT_YEARS 400
#define REPEAT_SECONDS INT64_C(12622780800)
#define YEAR_FIRST 1770        /* of POSIX rules */
#define YEARS_OUT 450          /* after the table's end, at least REPEAT_YEARS and some */

struct zone_type { int32_t east; bool dst; uint16_t abbrev; /* into chars */ };

struct zone {
	char *name; /* upper case; NULL: lives in an arena */
	int ntimes, ntypes, nchars;
	bool ahead, back;
	int first;         /* the type before the first transition */
	int64_t *at;       /* ascending */
	uint8_t *type;     /* from at[i] on */
	struct zone_type *types;
	char *chars;       /* abbreviations, each ended by a NUL */
};

/* While a zone is being made. */
struct draft {
	int ntimes, ntypes, nchars;
	bool ahead, back;
	int64_t at[TRANSITIONS_MAX];
	uint8_t type[TRANSITIONS_MAX];
	struct zone_type types[TYPES_MAX + 2];
	char chars[CHARS_MAX];
};

/* ---- offsets -------------------------------------------------------------------------------------- */

/* The number of transitions at or before t. */
static int passed(const struct zone *z, int64_t t)
{
	int lo = 0, hi = z->ntimes;
	while (lo < hi) {
		int mid = (lo + hi) / 2;
		if (t < z->at[mid])
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

/* What to add to t to get a time inside the table at which the rules are the same. */
static int64_t repeat_shift(const struct zone *z, int64_t t)
{
	if (z->ntimes == 0)
		return 0;
	int64_t last = z->at[z->ntimes - 1];
	if (z->back && t < z->at[0])
		return ((z->at[0] - t - 1) / REPEAT_SECONDS + 1) * REPEAT_SECONDS;
	if (z->ahead && t > last)
		return -((t - last - 1) / REPEAT_SECONDS + 1) * REPEAT_SECONDS;
	return 0;
}

int32_t zone_east_at(const struct zone *z, int64_t t)
{
	int n = passed(z, t + repeat_shift(z, t));
	return z->types[n == 0 ? z->first : z->type[n - 1]].east;
}

static int first_standard(const struct zone_type *types, int n)
{
	for (int i = 0; i < n; i++)
		if (!types[i].dst)
			return i;
	return 0;
}

/* The first transition after t; false if there is none, *before is set all the same. */
static bool next_change(const struct zone *z, int64_t t, int32_t *before, int64_t *at, int32_t *after)
{
	int64_t shift = repeat_shift(z, t);
	int n = passed(z, t + shift);
	*before = z->types[n == 0 ? first_standard(z->types, z->ntypes) : z->type[n - 1]].east;
	if (n == z->ntimes)
		return false;
	*at = z->at[n] - shift;
	*after = z->types[z->type[n]].east;
	return true;
}

/* The offset at a local time; *instant is the Unix time it stands for. */
static int32_t resolve_local(const struct zone *z, const struct dt_fields *f, int64_t *instant)
{
	*instant = 0;
	if (!dt_julian_valid(f->year, f->mon))
		return 0;
	int64_t day = dt_julian(f->year, f->mon, f->mday) - DT_UNIX_JULIAN;
	int64_t local = day * DAY_SECONDS + f->hour * INT64_C(3600) + f->min * 60 + f->sec;
	int32_t before, after;
	int64_t change;
	if (!next_change(z, local - DAY_SECONDS, &before, &change, &after)) {
		*instant = local - before;
		return before;
	}
	int64_t early = local - before, late = local - after;
	bool take_before;
	if (early < change && late < change)
		take_before = true;
	else if (early > change && late >= change)
		take_before = false;
	else /* a gap: before; an overlap: after */
		take_before = early > late;
	*instant = take_before ? early : late;
	return take_before ? before : after;
}

int32_t zone_east_local(const struct zone *z, const struct dt_fields *local)
{
	int64_t instant;
	return resolve_local(z, local, &instant);
}

/* What the abbreviation meant last before t, or else first after it. */
static bool abbrev_meaning(const struct zone *z, const char *abbrev, size_t n, int64_t t, int32_t *east)
{
	int start = 0;
	while (start < z->nchars && !(strlen(z->chars + start) == n && strncasecmp(z->chars + start, abbrev, n) == 0))
		start += (int)strlen(z->chars + start) + 1;
	if (start >= z->nchars)
		return false;
	int cut = passed(z, t);
	for (int step = 0; step < z->ntimes; step++) {
		int i = step < cut ? cut - 1 - step : step;
		const struct zone_type *type = &z->types[z->type[i]];
		if (type->abbrev == start) {
			*east = type->east;
			return true;
		}
	}
	return false;
}

int32_t zone_abbrev_local(const struct zone *z, const char *abbrev, size_t n, const struct dt_fields *local)
{
	int64_t instant;
	int32_t east = resolve_local(z, local, &instant), meant;
	return abbrev_meaning(z, abbrev, n, instant, &meant) ? meant : east;
}

int32_t zone_abbrev_at(const struct zone *z, const char *abbrev, size_t n, int64_t t)
{
	int32_t meant;
	if (abbrev_meaning(z, abbrev, n, t, &meant))
		return meant;
	int64_t local = t + zone_east_at(z, t), day = local / DAY_SECONDS;
	if (local % DAY_SECONDS < 0)
		day--;
	struct dt_fields f = {0};
	dt_from_julian(day + DT_UNIX_JULIAN, &f.year, &f.mon, &f.mday);
	dt_split_time((local - day * DAY_SECONDS) * DT_SECOND, &f);
	return zone_east_local(z, &f);
}

bool zone_constant(const struct zone *z, int32_t *east)
{
	for (int i = 1; i < z->ntypes; i++)
		if (z->types[i].east != z->types[0].east)
			return false;
	*east = z->types[0].east;
	return true;
}

/* ---- POSIX texts ---------------------------------------------------------------------------------- */

enum rule_kind { RULE_JULIAN, RULE_DAY, RULE_WEEKDAY };
struct rule { enum rule_kind kind; int day, week, mon; int64_t time; };

static const char *read_number(const char *s, int min, int max, int *out)
{
	if (*s < '0' || *s > '9')
		return NULL;
	int v = 0;
	for (; *s >= '0' && *s <= '9'; s++) {
		v = v * 10 + (*s - '0');
		if (v > max)
			return NULL;
	}
	*out = v;
	return v < min ? NULL : s;
}

/* [+-]hh[:mm[:ss]] */
static const char *read_hms(const char *s, int64_t *seconds)
{
	bool negative = *s == '-';
	if (*s == '-' || *s == '+')
		s++;
	int v;
	if ((s = read_number(s, 0, 24 * 7 - 1, &v)) == NULL)
		return NULL;
	*seconds = v * INT64_C(3600);
	if (*s == ':') {
		if ((s = read_number(s + 1, 0, 59, &v)) == NULL)
			return NULL;
		*seconds += v * 60;
		if (*s == ':') {
			if ((s = read_number(s + 1, 0, 60, &v)) == NULL)
				return NULL;
			*seconds += v;
		}
	}
	if (negative)
		*seconds = -*seconds;
	return s;
}

static const char *read_rule(const char *s, struct rule *r)
{
	*r = (struct rule){.time = 2 * 3600};
	if (*s == 'J') {
		r->kind = RULE_JULIAN;
		s = read_number(s + 1, 1, 365, &r->day);
	} else if (*s == 'M') {
		r->kind = RULE_WEEKDAY;
		s = read_number(s + 1, 1, 12, &r->mon);
		if (s == NULL || *s != '.' || (s = read_number(s + 1, 1, 5, &r->week)) == NULL || *s != '.')
			return NULL;
		s = read_number(s + 1, 0, 6, &r->day);
	} else {
		r->kind = RULE_DAY;
		s = read_number(s, 0, 365, &r->day);
	}
	if (s != NULL && *s == '/')
		s = read_hms(s + 1, &r->time);
	return s;
}

/* A name in angle brackets or up to a digit, sign or comma. */
static const char *read_zone_name(const char *s, const char **name, size_t *n)
{
	if (*s == '<') {
		*name = ++s;
		while (*s != '\0' && *s != '>')
			s++;
		*n = (size_t)(s - *name);
		return *s == '>' ? s + 1 : NULL;
	}
	*name = s;
	while (*s != '\0' && (*s < '0' || *s > '9') && *s != ',' && *s != '-' && *s != '+')
		s++;
	*n = (size_t)(s - *name);
	return s;
}

/* Seconds from the year's first midnight, where the offset before it is `west`. */
static int64_t rule_time(const struct rule *r, int year, int64_t west)
{
	int64_t first = dt_julian(year, 1, 1), day;
	if (r->kind == RULE_DAY)
		day = r->day;
	else if (r->kind == RULE_JULIAN)
		day = r->day - 1 + (dt_leap(year) && r->day >= 60);
	else {
		int64_t month = dt_julian(year, r->mon, 1);
		int d = (r->day - dt_weekday(month) + 7) % 7;
		for (int week = 1; week < r->week && d + 7 < dt_month_days(year, r->mon); week++)
			d += 7;
		day = month - first + d;
	}
	return day * DAY_SECONDS + r->time + west;
}

static int add_abbrev(struct draft *d, const char *s, size_t n)
{
	for (int j = 0; j < d->nchars; j++)
		if (strlen(d->chars + j) == n && memcmp(d->chars + j, s, n) == 0)
			return j;
	if ((size_t)d->nchars + n + 1 > CHARS_MAX)
		return -1;
	int at = d->nchars;
	memcpy(d->chars + at, s, n);
	d->chars[at + (int)n] = '\0';
	d->nchars += (int)n + 1;
	return at;
}

static int add_type(struct draft *d, int64_t east, bool dst, const char *name, size_t n)
{
	int abbrev = add_abbrev(d, name, n);
	if (abbrev < 0 || d->ntypes >= TYPES_MAX + 2)
		return -1;
	d->types[d->ntypes++] = (struct zone_type){.east = (int32_t)east, .dst = dst, .abbrev = (uint16_t)abbrev};
	return 0;
}

static bool add_change(struct draft *d, int64_t at, int type)
{
	if (d->ntimes > 0 && d->at[d->ntimes - 1] >= at)
		return true;
	if (d->ntimes >= TRANSITIONS_MAX)
		return false;
	d->at[d->ntimes] = at;
	d->type[d->ntimes++] = (uint8_t)type;
	return true;
}

static int unix_year(int64_t t)
{
	int64_t day = t / DAY_SECONDS - (t % DAY_SECONDS < 0);
	int year, mon, mday;
	dt_from_julian(day + DT_UNIX_JULIAN, &year, &mon, &mday);
	return year;
}

static void add_rule_changes(struct draft *d, const struct rule *on, const struct rule *off, int64_t west,
                             int64_t dst_west, int std)
{
	bool alone = d->ntimes == 0;
	int from = YEAR_FIRST, n = d->ntimes;
	if (!alone && unix_year(d->at[n - 1]) - 1 > from)
		from = unix_year(d->at[n - 1]) - 1;
	for (int year = from; year < from + YEARS_OUT; year++) {
		int64_t start = rule_time(on, year, west), end = rule_time(off, year, dst_west);
		int64_t length = dt_leap(year) ? 366 * DAY_SECONDS : 365 * DAY_SECONDS;
		bool reversed = end < start;
		int64_t a = reversed ? end : start, b = reversed ? start : end;
		if (!reversed && !(start < end && end - start < length + west - dst_west))
			continue; /* daylight saving time all year */
		int64_t base = (dt_julian(year, 1, 1) - DT_UNIX_JULIAN) * DAY_SECONDS;
		if (!add_change(d, base + a, reversed ? std : std + 1) || !add_change(d, base + b, reversed ? std + 1 : std))
			break;
	}
	if (d->ntimes > n) {
		d->ahead = true;
		d->back = alone;
	}
}

enum posix_result { POSIX_OK, POSIX_BAD, POSIX_NO_RULES };

/* Adds what the text says to the draft: two types, and transitions after those that are there. */
static enum posix_result read_posix(struct draft *d, const char *s)
{
	const char *name, *dst_name;
	size_t n, dst_n;
	int64_t west, dst_west;
	s = read_zone_name(s, &name, &n);
	if (s == NULL || *s == '\0' || (s = read_hms(s, &west)) == NULL)
		return POSIX_BAD;
	int std = d->ntypes;
	if (*s == '\0')
		return add_type(d, -west, false, name, n) == 0 ? POSIX_OK : POSIX_BAD;
	s = read_zone_name(s, &dst_name, &dst_n);
	if (s == NULL || dst_n == 0)
		return POSIX_BAD;
	dst_west = west - 3600;
	if (*s != '\0' && *s != ',' && *s != ';' && (s = read_hms(s, &dst_west)) == NULL)
		return POSIX_BAD;
	if (*s == '\0')
		return POSIX_NO_RULES;
	struct rule on, off;
	if ((*s != ',' && *s != ';') || (s = read_rule(s + 1, &on)) == NULL || *s != ',' ||
	    (s = read_rule(s + 1, &off)) == NULL || *s != '\0')
		return POSIX_BAD;
	if (add_type(d, -west, false, name, n) != 0 || add_type(d, -dst_west, true, dst_name, dst_n) != 0)
		return POSIX_BAD;
	int before = d->ntimes;
	add_rule_changes(d, &on, &off, west, dst_west, std);
	if (d->ntimes == before && before == 0) { /* daylight saving time all year */
		d->types[std] = d->types[std + 1];
		d->ntypes = std + 1;
	}
	return POSIX_OK;
}

/* ---- making zones --------------------------------------------------------------------------------- */

/* The type before the first transition, by the tz project's rules for files old and new. */
static int default_type(const struct draft *d)
{
	bool zero_used = false;
	for (int i = 0; i < d->ntimes; i++)
		zero_used = zero_used || d->type[i] == 0;
	if (!zero_used)
		return 0;
	if (d->ntimes > 0 && d->types[d->type[0]].dst)
		for (int i = d->type[0] - 1; i >= 0; i--)
			if (!d->types[i].dst)
				return i;
	return first_standard(d->types, d->ntypes);
}

static size_t zone_bytes(const struct draft *d)
{
	return sizeof(struct zone) + (size_t)d->ntimes * (sizeof(int64_t) + 1) +
	       (size_t)d->ntypes * sizeof(struct zone_type) + (size_t)d->nchars;
}

/* `memory`: zone_bytes(), aligned for int64_t. */
static struct zone *finish(const struct draft *d, void *memory, char *name, bool posix)
{
	struct zone *z = memory;
	*z = (struct zone){.name = name, .ntimes = d->ntimes, .ntypes = d->ntypes, .nchars = d->nchars,
	                   .ahead = d->ahead, .back = d->back, .first = posix ? 0 : default_type(d)};
	z->at = (int64_t *)(void *)(z + 1);
	z->types = (struct zone_type *)(void *)(z->at + d->ntimes);
	z->type = (uint8_t *)(z->types + d->ntypes);
	z->chars = (char *)z->type + d->ntimes;
	memcpy(z->at, d->at, (size_t)d->ntimes * sizeof *z->at);
	memcpy(z->types, d->types, (size_t)d->ntypes * sizeof *z->types);
	memcpy(z->type, d->type, (size_t)d->ntimes);
	memcpy(z->chars, d->chars, (size_t)d->nchars);
	return z;
}

static const struct zone *zone_fixed(struct where_call *c, int32_t east)
{
	struct zone *z = arena_alloc(c->mem, sizeof *z + sizeof(struct zone_type) + 1);
	*z = (struct zone){.ntypes = 1, .nchars = 1};
	z->types = (struct zone_type *)(void *)(z + 1);
	z->types[0] = (struct zone_type){.east = east};
	z->chars = (char *)(z->types + 1);
	z->chars[0] = '\0';
	return z;
}

/* ---- TZif files ----------------------------------------------------------------------------------- */

static int64_t big_endian(const unsigned char *p, int n)
{
	uint64_t v = 0;
	for (int i = 0; i < n; i++)
		v = v << 8 | p[i];
	return n == 4 ? (int32_t)(uint32_t)v : (int64_t)v;
}

struct header { int64_t isut, isstd, leap, times, types, chars; };

/* The counts of one of a file's two blocks; -1 if it isn't one. *data is the length of what follows. */
static int read_header(const unsigned char *p, size_t n, int width, struct header *h, size_t *data)
{
	if (n < 44 || memcmp(p, "TZif", 4) != 0)
		return -1;
	h->isut = big_endian(p + 20, 4);
	h->isstd = big_endian(p + 24, 4);
	h->leap = big_endian(p + 28, 4);
	h->times = big_endian(p + 32, 4);
	h->types = big_endian(p + 36, 4);
	h->chars = big_endian(p + 40, 4);
	if (h->isut < 0 || h->isut > h->types || h->isstd < 0 || h->isstd > h->types || h->leap < 0 || h->leap > 1000 ||
	    h->times < 0 || h->times > TRANSITIONS_MAX || h->types < 1 || h->types > TYPES_MAX || h->chars < 1 ||
	    h->chars > CHARS_MAX / 2)
		return -1;
	*data = (size_t)(h->times * (width + 1) + h->types * 6 + h->chars + h->leap * (width + 4) + h->isstd + h->isut);
	return n - 44 < *data ? -1 : 0;
}

static int read_block(struct draft *d, const struct header *h, const unsigned char *p, int width)
{
	const unsigned char *index = p + h->times * width, *types = index + h->times;
	const char *chars = (const char *)types + h->types * 6;
	if (chars[h->chars - 1] != '\0')
		return -1;
	d->nchars = (int)h->chars;
	memcpy(d->chars, chars, (size_t)h->chars);
	d->ntypes = (int)h->types;
	for (int i = 0; i < d->ntypes; i++, types += 6) {
		int64_t east = big_endian(types, 4);
		if (types[4] > 1 || types[5] >= h->chars || east < -DAY_SECONDS * 7 || east > DAY_SECONDS * 7)
			return -1;
		d->types[i] = (struct zone_type){.east = (int32_t)east, .dst = types[4] != 0, .abbrev = types[5]};
	}
	for (int i = 0; i < (int)h->times; i++) {
		int64_t at = big_endian(p + i * width, width);
		if (index[i] >= h->types || at > INT64_C(1) << 60 || at < -(INT64_C(1) << 60) || (i > 0 && at < d->at[d->ntimes - 1]))
			return -1;
		if (i > 0 && at == d->at[d->ntimes - 1])
			d->ntimes--;
		d->at[d->ntimes] = at;
		d->type[d->ntimes++] = index[i];
	}
	return 0;
}

/* The line after the second block. */
static void read_footer(struct draft *d, const char *p, size_t n)
{
	char text[256];
	if (n < 3 || n > sizeof text || p[0] != '\n' || p[n - 1] != '\n')
		return;
	memcpy(text, p + 1, n - 2);
	text[n - 2] = '\0';
	/* Transitions to what was there already would end the table later than it does. */
	while (d->ntimes > 1 && d->type[d->ntimes - 1] == d->type[d->ntimes - 2])
		d->ntimes--;
	(void)read_posix(d, text);
}

/* 0; -1: no zone file; -2: one with leap seconds. */
static int read_tzif(struct draft *d, const unsigned char *p, size_t n)
{
	struct header h;
	size_t data;
	int width = 4;
	if (read_header(p, n, 4, &h, &data) != 0)
		return -1;
	if (p[4] != '\0') { /* version 2 and later: all again with 64 bits */
		p += 44 + data;
		n -= 44 + data;
		width = 8;
		if (read_header(p, n, 8, &h, &data) != 0)
			return -1;
	}
	if (h.leap != 0)
		return -2;
	if (read_block(d, &h, p + 44, width) != 0)
		return -1;
	if (width == 8)
		read_footer(d, (const char *)p + 44 + data, n - 44 - data);
	return 0;
}

/* The entry of `dir` that is `name` but for its case, appended to path; exact matches first. */
static bool find_entry(char path[PATH_MAX], const char *name, size_t n)
{
	size_t len = strlen(path);
	if (n == 0 || name[0] == '.' || len + 1 + NAME_MAX + 1 > PATH_MAX)
		return false;
	DIR *dir = opendir(path);
	if (dir == NULL)
		return false;
	bool found = false;
	for (struct dirent *e; !found && (e = readdir(dir)) != NULL;) {
		if (strlen(e->d_name) != n || strncasecmp(e->d_name, name, n) != 0)
			continue;
		path[len] = '/';
		memcpy(path + len + 1, e->d_name, n + 1);
		found = true;
	}
	closedir(dir);
	return found;
}

/* Bytes read, or -1 if there is no such file. */
static ssize_t read_zone_file(const char *name, unsigned char *data, size_t max)
{
	char path[PATH_MAX] = ZONE_DIR;
	for (const char *part = name;; part++) {
		size_t n = strcspn(part, "/");
		if (!find_entry(path, part, n))
			return -1;
		part += n;
		if (*part == '\0')
			break;
	}
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -1;
	struct stat st;
	ssize_t got = -1;
	size_t len = 0;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		while (len < max && ((got = read(fd, data + len, max - len)) > 0 || (got < 0 && errno == EINTR)))
			len += got > 0 ? (size_t)got : 0;
	close(fd);
	return got < 0 ? -1 : (ssize_t)len;
}

/* ---- the cache ------------------------------------------------------------------------------------ */

static _Atomic(struct zone *) cache[CACHE_SLOTS]; /* filled under cache_lock, read without, never emptied */
static size_t cache_used;
static pthread_mutex_t cache_lock = PTHREAD_MUTEX_INITIALIZER;

static struct zone *cache_find(const char *name, size_t *slot)
{
	uint32_t h = 2166136261u;
	for (const char *s = name; *s != '\0'; s++)
		h = (h ^ (unsigned char)*s) * 16777619u;
	for (*slot = h % CACHE_SLOTS;; *slot = (*slot + 1) % CACHE_SLOTS) {
		struct zone *z = atomic_load_explicit(&cache[*slot], memory_order_acquire);
		if (z == NULL || strcmp(z->name, name) == 0)
			return z;
	}
}

static const struct zone *cache_add(const struct draft *d, const char *name)
{
	size_t slot;
	pthread_mutex_lock(&cache_lock);
	struct zone *z = cache_find(name, &slot);
	if (z == NULL && cache_used < CACHE_SLOTS / 2) {
		z = finish(d, mem_alloc(zone_bytes(d)), mem_strdup(name), false);
		atomic_store_explicit(&cache[slot], z, memory_order_release);
		cache_used++;
	}
	pthread_mutex_unlock(&cache_lock);
	return z;
}

static const struct zone *load_posix(struct where_call *c, struct draft *d, const char *name)
{
	memset(d, 0, sizeof *d);
	enum posix_result r = name[0] == ':' ? POSIX_BAD : read_posix(d, name);
	if (r == POSIX_OK)
		return finish(d, arena_alloc(c->mem, zone_bytes(d)), NULL, true);
	if (r == POSIX_NO_RULES)
		where_fail(c, "time zones with daylight saving time need its rules, or use a name like America/New_York");
	else if (access(ZONE_DIR, R_OK | X_OK) != 0)
		where_fail(c, "time zone names need the time zone files of the package tzdata");
	else
		where_fail(c, "time zone not recognized");
	return NULL;
}

static const struct zone *load(struct where_call *c, const char *name)
{
	struct draft *d = mem_zalloc(sizeof *d);
	unsigned char *data = mem_alloc(FILE_BYTES_MAX);
	const struct zone *z = NULL;
	ssize_t n = read_zone_file(name, data, FILE_BYTES_MAX);
	int rc = n < 0 ? -1 : read_tzif(d, data, (size_t)n);
	if (rc == 0) {
		if ((z = cache_add(d, name)) == NULL)
			where_fail(c, "too many time zones in use");
	} else if (rc == -2)
		where_fail(c, "time zones with leap seconds aren't supported");
	else
		z = load_posix(c, d, name);
	free(data);
	free(d);
	return z;
}

const struct zone *zone_named(struct where_call *c, const char *p, size_t n)
{
	char name[ZONE_NAME_MAX + 1];
	if (n == 0 || n > ZONE_NAME_MAX || memchr(p, '\0', n) != NULL) {
		where_fail(c, "time zone not recognized");
		return NULL;
	}
	for (size_t i = 0; i < n; i++)
		name[i] = (char)(p[i] >= 'a' && p[i] <= 'z' ? p[i] - 'a' + 'A' : p[i]);
	name[n] = '\0';
	if (strcmp(name, "LOCALTIME") == 0) { /* each machine has its own */
		where_fail(c, "the time zone localtime depends on the machine");
		return NULL;
	}
	if (strcmp(name, "GMT") == 0 || strcmp(name, "UTC") == 0) /* needs no file */
		return zone_fixed(c, 0);
	size_t slot;
	const struct zone *z = cache_find(name, &slot);
	return z != NULL ? z : load(c, name);
}

/* ---- abbreviations -------------------------------------------------------------------------------- */

struct abbrev { const char *name; int32_t east; bool dst; const char *zone; };

/* Postgres's default set (timezone_abbreviations = 'Default'), by name. */
static const struct abbrev abbrevs[] = {
	{"acdt", 37800, true, NULL}, {"acsst", 37800, true, NULL}, {"acst", 34200, false, NULL},
	{"act", -18000, false, NULL}, {"acwst", 31500, false, NULL}, {"adt", -10800, true, NULL},
	{"aedt", 39600, true, NULL}, {"aesst", 39600, true, NULL}, {"aest", 36000, false, NULL},
	{"aft", 16200, false, NULL}, {"akdt", -28800, true, NULL}, {"akst", -32400, false, NULL},
	{"almst", 25200, true, NULL}, {"almt", 21600, false, NULL}, {"amst", 0, false, "Asia/Yerevan"},
	{"amt", -14400, false, NULL}, {"anast", 0, false, "Asia/Anadyr"}, {"anat", 0, false, "Asia/Anadyr"},
	{"arst", 0, false, "America/Argentina/Buenos_Aires"}, {"art", 0, false, "America/Argentina/Buenos_Aires"},
	{"ast", -14400, false, NULL}, {"awsst", 32400, true, NULL}, {"awst", 28800, false, NULL},
	{"azost", 0, true, NULL}, {"azot", -3600, false, NULL}, {"azst", 0, false, "Asia/Baku"},
	{"azt", 0, false, "Asia/Baku"}, {"bdst", 7200, true, NULL}, {"bdt", 21600, false, NULL},
	{"bnt", 28800, false, NULL}, {"bort", 28800, false, NULL}, {"bot", -14400, false, NULL},
	{"bra", -10800, false, NULL}, {"brst", -7200, true, NULL}, {"brt", -10800, false, NULL},
	{"bst", 3600, true, NULL}, {"btt", 21600, false, NULL}, {"cadt", 37800, true, NULL},
	{"cast", 34200, false, NULL}, {"cct", 28800, false, NULL}, {"cdt", -18000, true, NULL},
	{"cest", 7200, true, NULL}, {"cet", 3600, false, NULL}, {"cetdst", 7200, true, NULL},
	{"chadt", 49500, true, NULL}, {"chast", 45900, false, NULL}, {"chut", 36000, false, NULL},
	{"ckt", 0, false, "Pacific/Rarotonga"}, {"clst", -10800, true, NULL}, {"clt", 0, false, "America/Santiago"},
	{"cot", -18000, false, NULL}, {"cst", -21600, false, NULL}, {"cxt", 25200, false, NULL},
	{"davt", 0, false, "Antarctica/Davis"}, {"ddut", 36000, false, NULL}, {"easst", 0, false, "Pacific/Easter"},
	{"east", 0, false, "Pacific/Easter"}, {"eat", 10800, false, NULL}, {"edt", -14400, true, NULL},
	{"eest", 10800, true, NULL}, {"eet", 7200, false, NULL}, {"eetdst", 10800, true, NULL}, {"egst", 0, true, NULL},
	{"egt", -3600, false, NULL}, {"est", -18000, false, NULL}, {"fet", 10800, false, NULL},
	{"fjst", 46800, true, NULL}, {"fjt", 43200, false, NULL}, {"fkst", 0, false, "Atlantic/Stanley"},
	{"fkt", 0, false, "Atlantic/Stanley"}, {"fnst", -3600, true, NULL}, {"fnt", -7200, false, NULL},
	{"galt", -21600, false, NULL}, {"gamt", -32400, false, NULL}, {"gest", 0, false, "Asia/Tbilisi"},
	{"get", 0, false, "Asia/Tbilisi"}, {"gft", -10800, false, NULL}, {"gilt", 43200, false, NULL},
	{"gmt", 0, false, NULL}, {"gyt", 0, false, "America/Guyana"}, {"hkt", 28800, false, NULL},
	{"hst", -36000, false, NULL}, {"ict", 25200, false, NULL}, {"idt", 10800, true, NULL},
	{"iot", 0, false, "Indian/Chagos"}, {"irkst", 0, false, "Asia/Irkutsk"}, {"irkt", 0, false, "Asia/Irkutsk"},
	{"irt", 12600, false, NULL}, {"ist", 7200, false, NULL}, {"jayt", 32400, false, NULL},
	{"jst", 32400, false, NULL}, {"kdt", 36000, true, NULL}, {"kgst", 21600, true, NULL},
	{"kgt", 0, false, "Asia/Bishkek"}, {"kost", 0, false, "Pacific/Kosrae"},
	{"krast", 0, false, "Asia/Krasnoyarsk"}, {"krat", 0, false, "Asia/Krasnoyarsk"}, {"kst", 32400, false, NULL},
	{"lhdt", 0, false, "Australia/Lord_Howe"}, {"lhst", 37800, false, NULL}, {"ligt", 36000, false, NULL},
	{"lint", 0, false, "Pacific/Kiritimati"}, {"lkt", 0, false, "Asia/Colombo"},
	{"magst", 0, false, "Asia/Magadan"}, {"magt", 0, false, "Asia/Magadan"}, {"mart", -34200, false, NULL},
	{"mawt", 0, false, "Antarctica/Mawson"}, {"mdt", -21600, true, NULL}, {"mest", 7200, true, NULL},
	{"mesz", 7200, true, NULL}, {"met", 3600, false, NULL}, {"metdst", 7200, true, NULL},
	{"mez", 3600, false, NULL}, {"mht", 43200, false, NULL}, {"mmt", 23400, false, NULL},
	{"mpt", 36000, false, NULL}, {"msd", 14400, true, NULL}, {"msk", 0, false, "Europe/Moscow"},
	{"mst", -25200, false, NULL}, {"must", 18000, true, NULL}, {"mut", 14400, false, NULL},
	{"mvt", 18000, false, NULL}, {"myt", 28800, false, NULL}, {"ndt", -9000, true, NULL},
	{"nft", -12600, false, NULL}, {"novst", 0, false, "Asia/Novosibirsk"}, {"novt", 0, false, "Asia/Novosibirsk"},
	{"npt", 20700, false, NULL}, {"nst", -12600, false, NULL}, {"nut", 0, false, "Pacific/Niue"},
	{"nzdt", 46800, true, NULL}, {"nzst", 43200, false, NULL}, {"nzt", 43200, false, NULL},
	{"omsst", 0, false, "Asia/Omsk"}, {"omst", 0, false, "Asia/Omsk"}, {"pdt", -25200, true, NULL},
	{"pet", -18000, false, NULL}, {"petst", 0, false, "Asia/Kamchatka"}, {"pett", 0, false, "Asia/Kamchatka"},
	{"pgt", 36000, false, NULL}, {"pht", 28800, false, NULL}, {"pkst", 21600, true, NULL},
	{"pkt", 18000, false, NULL}, {"pmdt", -7200, true, NULL}, {"pmst", -10800, false, NULL},
	{"pont", 39600, false, NULL}, {"pst", -28800, false, NULL}, {"pwt", 32400, false, NULL},
	{"pyst", -10800, true, NULL}, {"pyt", 0, false, "America/Asuncion"}, {"ret", 14400, false, NULL},
	{"sadt", 37800, true, NULL}, {"sast", 7200, false, NULL}, {"sct", 14400, false, NULL},
	{"sgt", 0, false, "Asia/Singapore"}, {"taht", -36000, false, NULL}, {"tft", 18000, false, NULL},
	{"tjt", 18000, false, NULL}, {"tkt", 0, false, "Pacific/Fakaofo"}, {"tmt", 0, false, "Asia/Ashgabat"},
	{"tot", 46800, false, NULL}, {"trut", 36000, false, NULL}, {"tvt", 43200, false, NULL}, {"uct", 0, false, NULL},
	{"ulast", 32400, true, NULL}, {"ulat", 0, false, "Asia/Ulaanbaatar"}, {"ut", 0, false, NULL},
	{"utc", 0, false, NULL}, {"uyst", -7200, true, NULL}, {"uyt", -10800, false, NULL}, {"uzst", 21600, true, NULL},
	{"uzt", 18000, false, NULL}, {"vet", 0, false, "America/Caracas"}, {"vlast", 0, false, "Asia/Vladivostok"},
	{"vlat", 0, false, "Asia/Vladivostok"}, {"volt", 0, false, "Europe/Volgograd"}, {"vut", 39600, false, NULL},
	{"wadt", 28800, true, NULL}, {"wakt", 43200, false, NULL}, {"wast", 25200, false, NULL},
	{"wat", 3600, false, NULL}, {"wdt", 32400, true, NULL}, {"wet", 0, false, NULL}, {"wetdst", 3600, true, NULL},
	{"wft", 43200, false, NULL}, {"wgst", -7200, true, NULL}, {"wgt", -10800, false, NULL},
	{"xjt", 21600, false, NULL}, {"yakst", 0, false, "Asia/Yakutsk"}, {"yakt", 0, false, "Asia/Yakutsk"},
	{"yapt", 36000, false, NULL}, {"yekst", 21600, true, NULL}, {"yekt", 0, false, "Asia/Yekaterinburg"},
	{"z", 0, false, NULL}, {"zulu", 0, false, NULL},
};

enum zone_abbrev zone_abbrev_find(const char *p, size_t n, int32_t *east, const char **name)
{
	size_t lo = 0, hi = sizeof abbrevs / sizeof *abbrevs;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		const struct abbrev *a = &abbrevs[mid];
		int order = strncasecmp(p, a->name, n);
		if (order == 0)
			order = a->name[n] == '\0' ? 0 : -1;
		if (order == 0) {
			*east = a->east;
			*name = a->zone;
			return a->zone != NULL ? ZONE_ABBREV_DYNAMIC : a->dst ? ZONE_ABBREV_DST : ZONE_ABBREV_FIXED;
		}
		if (order < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return ZONE_ABBREV_NONE;
}
