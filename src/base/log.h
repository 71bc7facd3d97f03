/*
 * log.h - one line per event on stdout, UTC: `2026-01-31T23:59:59.999Z [level] text`, or the same as a JSON object with the
 * fields time, level, message and, where they are known, shape, table and reason.
 *
 * Levels and their names are Electric's: most life-cycle lines are `notice`. Level and format may change at any time. Whatever
 * a text holds, it stays one line: control characters in it become blanks, or are escaped.
 * Any thread, and no caller ever waits for the reader of the log: lines go through a ring of bounded size
 * to a thread that writes them. Where the ring was full lines are dropped; how many, a line says in their
 * place. A text never holds a password or the API secret: callers pass addresses, not URLs.
 */
#ifndef BUSBAR_BASE_LOG_H
#define BUSBAR_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/reason.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARNING, LOG_ERROR, LOG_CRITICAL, LOG_ALERT, LOG_EMERGENCY };

#define LOG_STOP_WAIT_MS 1000  /* for lines that are still to be written when we end */
#define LOG_ABORT_WAIT_MS 500  /* the same before abort() */

enum log_format { LOG_TEXT, LOG_JSON };

/* Lines below it aren't shown from now on. Any thread. */
void log_init(enum log_level least);
bool log_shows(enum log_level level);
/* LOG_TEXT before it is called. Any thread. */
void log_format(enum log_format format);
/* "text" or "json", in any case of letters. */
bool log_format_parse(const char *s, enum log_format *format);
/* "debug" … "emergency", and "warn"; false if it is none of them. Lower case only. */
bool log_level_parse(const char *s, enum log_level *level);
const char *log_level_text(enum log_level level);

/* Before log_thread_start() and after log_thread_stop() lines are written at once, by the caller. Signals are blocked as the caller has
 * them. -1: no thread. */
int log_thread_start(struct err *e) MUST_USE;
/* Writes what there is, for at most LOG_STOP_WAIT_MS. When other threads have ended. */
void log_thread_stop(void);
/* Waits until what was said is written, for at most that time. */
void log_flush(int64_t ms);

void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* What a line is about, as fields of its own in JSON; the text says it too, but for the reason, which then ends it in brackets. */
struct log_about {
	const char *shape, *table; /* NULL: none */
	enum reason reason;        /* REASON_NONE: none */
};
void log_about(enum log_level level, const struct log_about *about, const char *fmt, ...) PRINTF_LIKE(3, 4);

/*
 * For what clients or rows can cause again and again: a line of the same key comes once in LOG_SELDOM_MS, then with the
 * number of those that didn't; and of all keys together some at once, then a few a second. log_repeat_key(0, ...) begins a key,
 * log_repeat_key(key, ...) goes on with it.
 */
#define LOG_SELDOM_MS 60000
uint64_t log_repeat_key(uint64_t key, const void *p, size_t len);
void log_seldom(enum log_level level, uint64_t key, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Lines of this process that nobody has seen: there was no room, or too many of one kind. */
uint64_t log_left_out(void);

#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_notice(...) log_line(LOG_NOTICE, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)

#endif
