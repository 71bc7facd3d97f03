/*
 * log.c - see log.h. Lines go through a ring with a thread of its own, because stdout may be a pipe that nobody
 * reads or a disk that hangs: write(2) then blocks its caller, which must not be a thread that serves requests.
 */
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define LOG_LINE_BYTES_MAX 4096      /* longer lines are cut; no more than PIPE_BUF, so that a ready pipe takes one */
#define LOG_RING_BYTES (256u << 10)  /* lines beyond it are dropped and counted */
#define LOG_DIRECT_WAIT_MS 1000      /* for a line without the thread: at start, and at the end */

#define SELDOM_KEYS 256              /* that are remembered */
#define SELDOM_BURST 40              /* lines of all keys at once, then SELDOM_PER_S */
#define SELDOM_PER_S 4

static enum log_level least_level = LOG_INFO;
static const char *const names[] = {"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t filled, emptied;
	pthread_t thread;
	bool started;  /* the thread runs: lines go to the ring */
	bool stopping;
	bool stuck;    /* the end was reached with lines that nobody took: no line waits any more */
	uint64_t put, taken; /* bytes ever; the ring holds what lies between */
	uint64_t dropped;    /* lines since the last that said so */
	struct seldom {
		uint64_t key;
		int64_t said_ms; /* 0: free */
		uint64_t kept;   /* lines of this key since */
	} seldom[SELDOM_KEYS];
	int64_t allowed_ms;  /* time that lines of all keys have used up: one takes 1 / SELDOM_PER_S */
	uint64_t kept;       /* new keys that found the allowance used up */
	char ring[LOG_RING_BYTES];
} out = {.lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER, .emptied = PTHREAD_COND_INITIALIZER};

void log_init(enum log_level least) { least_level = least; }

bool log_level_parse(const char *s, enum log_level *level)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(s, names[i]) == 0) {
			*level = (enum log_level)i;
			return true;
		}
	if (strcmp(s, "warn") != 0)
		return false;
	*level = LOG_WARNING;
	return true;
}

static size_t format_line(char *line, size_t max, enum log_level level, const char *fmt, va_list ap)
{
	int64_t us = clock_wall_us();
	time_t s = (time_t)(us / 1000000);
	struct tm tm;
	gmtime_r(&s, &tm);
	int n = snprintf(line, max, "%02d:%02d:%02d.%03d [%s] ", tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(us / 1000 % 1000),
	                 names[level]);
	int m = vsnprintf(line + n, max - (size_t)n - 1, fmt, ap);
	size_t len = (size_t)n + (m < 0 ? 0 : (size_t)m);
	if (len > max - 2)
		len = max - 2;
	line[len++] = '\n';
	return len;
}

/* All of it, or as much as there is somebody for: a closed pipe or a full disk must not stop the service. */
static void write_all(const char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDOUT_FILENO, p, len);
		if (n < 0 && errno == EAGAIN) { /* who shares it has made it so */
			struct pollfd fd = {.fd = STDOUT_FILENO, .events = POLLOUT};
			(void)poll(&fd, 1, -1);
			continue;
		}
		if (n < 0 && errno != EINTR)
			return;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
}

/* Without the thread. Under the lock. */
static void write_direct(const char *line, size_t len)
{
	struct pollfd fd = {.fd = STDOUT_FILENO, .events = POLLOUT};
	if (poll(&fd, 1, out.stuck ? 0 : LOG_DIRECT_WAIT_MS) <= 0) {
		out.stuck = true;
		return;
	}
	write_all(line, len);
}

/* ---- the ring; all under the lock ---- */

static bool ring_put(const char *line, size_t len)
{
	if (out.put - out.taken + len > LOG_RING_BYTES)
		return false;
	size_t at = out.put % LOG_RING_BYTES, first = LOG_RING_BYTES - at;
	if (first > len)
		first = len;
	memcpy(out.ring + at, line, first);
	memcpy(out.ring, line + first, len - first);
	out.put += len;
	pthread_cond_signal(&out.filled);
	return true;
}

static size_t format_any(char *line, size_t max, enum log_level level, const char *fmt, ...) PRINTF_LIKE(4, 5);
static size_t format_any(char *line, size_t max, enum log_level level, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	size_t len = format_line(line, max, level, fmt, ap);
	va_end(ap);
	return len;
}

/* Where lines are missing, a line says how many, as soon as it fits. */
static void tell_dropped(void)
{
	char line[200];
	if (out.dropped == 0)
		return;
	size_t len = format_any(line, sizeof line, LOG_WARNING, "%llu lines of the log are missing here: it was not read fast enough",
	                        (unsigned long long)out.dropped);
	if (ring_put(line, len))
		out.dropped = 0;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	if (level < least_level)
		return;
	char line[LOG_LINE_BYTES_MAX];
	va_list ap;
	va_start(ap, fmt);
	size_t len = format_line(line, sizeof line, level, fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&out.lock);
	if (!out.started) {
		write_direct(line, len);
	} else {
		tell_dropped();
		if (out.dropped > 0 || !ring_put(line, len))
			out.dropped++;
	}
	pthread_mutex_unlock(&out.lock);
}

/* ---- lines that would come again and again ---- */

uint64_t log_repeat_key(uint64_t key, const void *p, size_t len)
{
	const unsigned char *bytes = p;
	if (key == 0)
		key = 0xcbf29ce484222325;
	for (size_t i = 0; i < len; i++)
		key = (key ^ bytes[i]) * 0x100000001b3;
	return key;
}

/* The key's place, or the one that was said longest ago. */
static struct seldom *seldom_of(uint64_t key)
{
	struct seldom *oldest = &out.seldom[0];
	for (size_t i = 0; i < SELDOM_KEYS; i++) {
		if (out.seldom[i].key == key && out.seldom[i].said_ms != 0)
			return &out.seldom[i];
		if (out.seldom[i].said_ms < oldest->said_ms)
			oldest = &out.seldom[i];
	}
	*oldest = (struct seldom){.key = key};
	return oldest;
}

/* True if a line of the key is due; then how many weren't said, of it and of others. */
static bool seldom_due(uint64_t key, uint64_t *same, uint64_t *others)
{
	const int64_t each_ms = 1000 / SELDOM_PER_S;
	int64_t now = clock_mono_ms();
	pthread_mutex_lock(&out.lock);
	struct seldom *k = seldom_of(key);
	bool due = k->said_ms == 0 || now - k->said_ms >= LOG_SELDOM_MS;
	if (out.allowed_ms < now - SELDOM_BURST * each_ms)
		out.allowed_ms = now - SELDOM_BURST * each_ms;
	if (!due) {
		k->kept++;
	} else if (out.allowed_ms + each_ms > now) {
		due = false;
		out.kept++;
	} else {
		out.allowed_ms += each_ms;
		*same = k->kept;
		*others = out.kept;
		*k = (struct seldom){.key = key, .said_ms = now > 0 ? now : 1};
		out.kept = 0;
	}
	pthread_mutex_unlock(&out.lock);
	return due;
}

void log_seldom(enum log_level level, uint64_t key, const char *fmt, ...)
{
	char text[LOG_LINE_BYTES_MAX], same_text[60] = "", others_text[60] = "";
	uint64_t same = 0, others = 0;
	if (level < least_level || !seldom_due(key, &same, &others))
		return;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (same > 0)
		snprintf(same_text, sizeof same_text, " (%llu times more since it was said)", (unsigned long long)same);
	if (others > 0)
		snprintf(others_text, sizeof others_text, " (%llu other lines of the kind left out)", (unsigned long long)others);
	log_line(level, "%s%s%s", text, same_text, others_text);
}

/* ---- the thread ---- */

static void *writer(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&out.lock);
	for (;;) {
		while (out.put == out.taken && !out.stopping)
			pthread_cond_wait(&out.filled, &out.lock);
		if (out.put == out.taken)
			break;
		size_t at = out.taken % LOG_RING_BYTES, len = (size_t)(out.put - out.taken);
		if (len > LOG_RING_BYTES - at)
			len = LOG_RING_BYTES - at;
		pthread_mutex_unlock(&out.lock);
		write_all(out.ring + at, len); /* nobody writes there until `taken` has moved */
		pthread_mutex_lock(&out.lock);
		out.taken += len;
		tell_dropped();
		if (out.put == out.taken)
			pthread_cond_broadcast(&out.emptied);
	}
	pthread_mutex_unlock(&out.lock);
	return NULL;
}

/* ---- life ---- */

int log_thread_start(struct err *e)
{
	pthread_mutex_lock(&out.lock);
	out.stopping = false;
	int r = pthread_create(&out.thread, NULL, writer, NULL);
	out.started = r == 0;
	pthread_mutex_unlock(&out.lock);
	return r == 0 ? 0 : err_errno(e, r, "no thread for the log");
}

/* Under the lock: until all is written or the time is over. */
static bool wait_emptied(int64_t ms)
{
	int64_t until = clock_mono_ms() + ms;
	while (out.put != out.taken) {
		int64_t left = until - clock_mono_ms();
		if (left <= 0)
			return false;
		clock_cond_wait(&out.emptied, &out.lock, left);
	}
	return true;
}

void log_flush(int64_t ms)
{
	/* The thread that is about to abort may already hold the lock. (Thread sanitizers don't know the variant of this call
	 * with the monotonic clock.) */
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (time_t)(ms / 1000 + 1);
	if (pthread_mutex_timedlock(&out.lock, &until) != 0)
		return;
	if (out.started)
		(void)wait_emptied(ms);
	pthread_mutex_unlock(&out.lock);
}

void log_thread_stop(void)
{
	pthread_mutex_lock(&out.lock);
	if (!out.started) {
		pthread_mutex_unlock(&out.lock);
		return;
	}
	bool done = wait_emptied(LOG_STOP_WAIT_MS);
	out.started = false;
	out.stopping = true;
	out.stuck = !done;
	pthread_cond_signal(&out.filled);
	pthread_t thread = out.thread;
	pthread_mutex_unlock(&out.lock);
	/* One that is inside of write() can't be waited for: it ends with the process. */
	if (done)
		pthread_join(thread, NULL);
	else
		pthread_detach(thread);
}
