/* base.c - the leaf helpers that are a few lines each: err, lsn, clock. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/lsn.h"
#include "base/require.h"

int err_set(struct err *e, enum err_kind kind, const char *fmt, ...)
{
	if (e == NULL)
		return -1;
	va_list ap;
	va_start(ap, fmt);
	e->kind = kind;
	e->sqlstate[0] = '\0';
	e->why = REASON_NONE;
	e->of_rows = false;
	vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	return -1;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	if (e == NULL)
		return -1;
	char old[sizeof e->text];
	memcpy(old, e->text, sizeof old);
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof e->text)
		snprintf(e->text + n, sizeof e->text - (size_t)n, ": %s", old);
	return -1;
}

int err_errno(struct err *e, int errnum, const char *fmt, ...)
{
	if (e == NULL)
		return -1;
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	e->kind = errnum == ENOSPC || errnum == EDQUOT ? ERR_FULL : ERR_IO;
	e->why = REASON_NONE;
	e->of_rows = false;
	e->sqlstate[0] = '\0';
	char why[128];
	if (n >= 0 && (size_t)n < sizeof e->text)
		snprintf(e->text + n, sizeof e->text - (size_t)n, ": %s", strerror_r(errnum, why, sizeof why));
	return -1;
}

/* Of these the messages name objects, settings, rights and resources. Of all others, 22 (data) foremost, they may quote what a function
 * was given: chr() does with 54000, date_trunc() with 0A000. */
static const char *const harmless[] = {
	"08", "25", "26", "28", "3D", "3F", "40", "42", "53", "54001" /* stack depth */, "55", "57", "58", "72", "F0", "XX",
};

bool err_may_quote(const struct err *e)
{
	if (e->kind != ERR_PG || e->sqlstate[0] == '\0')
		return false;
	if (!e->of_rows)
		return strncmp(e->sqlstate, "22", 2) == 0;
	for (size_t i = 0; i < ARRAY_LEN(harmless); i++)
		if (strncmp(e->sqlstate, harmless[i], strlen(harmless[i])) == 0)
			return false;
	return true;
}

void err_hide_values(struct err *e)
{
	if (err_may_quote(e))
		snprintf(e->text, sizeof e->text, "a row has a value for which the condition fails (SQLSTATE %s)", e->sqlstate);
}

int err_why(struct err *e, enum reason why)
{
	if (e != NULL)
		e->why = why;
	return -1;
}

/* Postgres's classes of errors that pass: conflicts, resources, locks, an operator's or a time limit's end. */
static bool passes(const char *sqlstate)
{
	static const char *const classes[] = {"40", "53", "55", "57", "58"};
	for (size_t i = 0; i < ARRAY_LEN(classes); i++)
		if (strncmp(sqlstate, classes[i], 2) == 0)
			return true;
	return false;
}

enum reason err_reason(const struct err *e)
{
	if (e->why != REASON_NONE)
		return e->why;
	switch (e->kind) {
	case ERR_PG_CONN:
		return REASON_POSTGRES_AWAY;
	case ERR_TIMEOUT:
		return REASON_POSTGRES_SLOW;
	case ERR_CANCELLED:
		return REASON_STOPPING;
	case ERR_LIMIT:
		return REASON_LIMIT_SIZE;
	case ERR_NOT_FOUND: /* a table isn't any more what it was a moment ago */
		return REASON_SCHEMA_CHANGED;
	case ERR_IO:
	case ERR_FULL:
		return REASON_STORE_FAILING;
	case ERR_DAMAGED:
		return REASON_STORE_DAMAGED;
	default:
		return e->kind == ERR_PG && passes(e->sqlstate) ? REASON_POSTGRES_SLOW : REASON_POSTGRES_REFUSES;
	}
}

void err_clear(struct err *e)
{
	e->kind = ERR_NONE;
	e->why = REASON_NONE;
	e->of_rows = false;
	e->sqlstate[0] = e->text[0] = '\0';
}

const char *lsn_text(lsn_t lsn, char buf[LSN_TEXT_MAX])
{
	snprintf(buf, LSN_TEXT_MAX, "%" PRIX32 "/%" PRIX32, (uint32_t)(lsn >> 32), (uint32_t)lsn);
	return buf;
}

static bool hex32(const char **s, uint32_t *out)
{
	uint32_t v = 0;
	int n = 0;
	for (; **s != '\0'; (*s)++, n++) {
		char c = **s;
		uint32_t d;
		if (c >= '0' && c <= '9')
			d = (uint32_t)(c - '0');
		else if (c >= 'A' && c <= 'F')
			d = (uint32_t)(c - 'A' + 10);
		else if (c >= 'a' && c <= 'f')
			d = (uint32_t)(c - 'a' + 10);
		else
			break;
		v = (v << 4) | d;
	}
	*out = v;
	return n >= 1 && n <= 8;
}

bool lsn_parse(const char *s, lsn_t *out)
{
	uint32_t hi, lo;
	if (!hex32(&s, &hi) || *s++ != '/' || !hex32(&s, &lo) || *s != '\0')
		return false;
	*out = ((lsn_t)hi << 32) | lo;
	return true;
}

const char *log_offset_text(struct log_offset o, char buf[LOG_OFFSET_TEXT_MAX])
{
	if (o.op == LOG_OP_INF)
		snprintf(buf, LOG_OFFSET_TEXT_MAX, "%" PRIu64 "_inf", o.tx);
	else
		snprintf(buf, LOG_OFFSET_TEXT_MAX, "%" PRIu64 "_%" PRIu64, o.tx, o.op);
	return buf;
}

int64_t clock_mono_us(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clock_mono_ms(void)
{
	return clock_mono_us() / 1000;
}

int64_t clock_wall_us(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void clock_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t ms)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	(void)pthread_cond_clockwait(cond, lock, CLOCK_MONOTONIC, &until);
}
