/*
 * log.h - one line per event on stdout, `HH:MM:SS.mmm [level] text`, UTC.
 *
 * Levels and their names are Electric's (reference ops.md 1.5): most life-cycle lines are `notice`.
 * Any thread. A text never holds a password or the API secret: callers pass addresses, not URLs.
 */
#ifndef BUSBAR_BASE_LOG_H
#define BUSBAR_BASE_LOG_H

#include <stdbool.h>

#include "base/require.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARNING, LOG_ERROR, LOG_CRITICAL, LOG_ALERT, LOG_EMERGENCY };

/* Before other threads run. */
void log_init(enum log_level least);
/* "debug" … "emergency", and "warn"; false if it is none of them. Lower case only. */
bool log_level_parse(const char *s, enum log_level *out);

void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_notice(...) log_line(LOG_NOTICE, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)

#endif
