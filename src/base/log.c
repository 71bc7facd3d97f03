/* log.c - log lines to stdout, each written by one write(2) so that threads don't mix. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define LOG_LINE_BYTES_MAX 4096 /* longer lines are cut */

static enum log_level least_level = LOG_INFO;
static const char *const names[] = {"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"};

void log_init(enum log_level least) { least_level = least; }

bool log_level_parse(const char *s, enum log_level *out)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(s, names[i]) == 0) {
			*out = (enum log_level)i;
			return true;
		}
	if (strcmp(s, "warn") != 0)
		return false;
	*out = LOG_WARNING;
	return true;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	if (level < least_level)
		return;
	char line[LOG_LINE_BYTES_MAX];
	int64_t us = clock_wall_us();
	time_t s = (time_t)(us / 1000000);
	struct tm tm;
	gmtime_r(&s, &tm);
	int n = snprintf(line, sizeof line, "%02d:%02d:%02d.%03d [%s] ", tm.tm_hour, tm.tm_min, tm.tm_sec,
	                 (int)(us / 1000 % 1000), names[level]);
	va_list ap;
	va_start(ap, fmt);
	int m = vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, ap);
	va_end(ap);
	size_t len = (size_t)n + (m < 0 ? 0 : (size_t)m);
	if (len > sizeof line - 2)
		len = sizeof line - 2;
	line[len++] = '\n';
	/* A log nobody reads (closed pipe, full disk) must not stop the service. */
	ssize_t ignored = write(STDOUT_FILENO, line, len);
	(void)ignored;
}
