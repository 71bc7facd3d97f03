/*
 * log.c - see log.h. Lines go through a ring with a thread of its own, because stdout may be a pipe that nobody
 * reads or a disk that hangs: write(2) then blocks its caller, which must not be a thread that serves requests.
 */
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"

#define LOG_LINE_BYTES_MAX 4096      /* longer lines are cut; no more than PIPE_BUF, so that a ready pipe takes one */
#define LOG_RING_BYTES (256u << 10)  /* lines beyond it are dropped and counted */
#define LOG_DIRECT_WAIT_MS 1000      /* for a line without the thread: at start, and at the end */

#define SELDOM_KEYS 256              /* that are remembered */
#define SELDOM_TEXT_BYTES 160
#define SELDOM_BURST 40              /* lines of all keys at once, then SELDOM_PER_S */
#define SELDOM_PER_S 4

static _Atomic int least_level = LOG_INFO;
static _Atomic int line_format = LOG_TEXT;
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
	uint64_t left_out;   /* of the process, for this or another cause */
	struct seldom {
		uint64_t key;
		int64_t said_ms; /* 0: free */
		uint64_t kept;   /* lines of this key since */
		enum log_level level;
		char text[SELDOM_TEXT_BYTES]; /* of the line that was said, cut */
	} seldom[SELDOM_KEYS];
	int64_t allowed_ms;  /* time that lines of all keys have used up: one takes 1 / SELDOM_PER_S */
	uint64_t kept;       /* new keys that found the allowance used up, */
	int64_t kept_ms;     /* the first of them when */
	char ring[LOG_RING_BYTES];
} out = {.lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER, .emptied = PTHREAD_COND_INITIALIZER};

void log_init(enum log_level least) { atomic_store_explicit(&least_level, (int)least, memory_order_relaxed); }

bool log_shows(enum log_level level) { return (int)level >= atomic_load_explicit(&least_level, memory_order_relaxed); }

void log_format(enum log_format format) { atomic_store_explicit(&line_format, (int)format, memory_order_relaxed); }

bool log_format_parse(const char *s, enum log_format *format)
{
	bool json = strcasecmp(s, "json") == 0;
	*format = json ? LOG_JSON : LOG_TEXT;
	return json || strcasecmp(s, "text") == 0;
}

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

const char *log_level_text(enum log_level level) { return names[level]; }

/* ---- a line ---- */

/* A line being written; what doesn't fit is left out. */
struct line {
	char *to;
	size_t len, max;
};

static void put_bytes(struct line *l, const char *p, size_t n)
{
	if (n > l->max - l->len)
		n = l->max - l->len;
	memcpy(l->to + l->len, p, n);
	l->len += n;
}

static void put_text(struct line *l, const char *s) { put_bytes(l, s, strlen(s)); }

static void put_time(struct line *l)
{
	int64_t us = clock_wall_us();
	time_t s = (time_t)(us / 1000000);
	struct tm tm;
	char text[64];
	gmtime_r(&s, &tm);
	snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
	         tm.tm_min, tm.tm_sec, (int)(us / 1000 % 1000));
	put_text(l, text);
}

/* One character as JSON has it inside of a string, whole or not at all; what is no UTF-8 becomes U+FFFD. */
static bool put_escaped(struct line *l, const char **p, const char *end)
{
	char text[8];
	size_t n;
	uint32_t c = utf8_decode(p, end);
	if (c == '"' || c == '\\') {
		text[0] = '\\';
		text[1] = (char)c;
		n = 2;
	} else if (c < 0x20 || c == 0x7f) {
		n = (size_t)snprintf(text, sizeof text, "\\u%04x", (unsigned)c);
	} else {
		if (c > UTF8_POINT_MAX || (c >= 0xd800 && c < 0xe000))
			c = UTF8_REPLACEMENT;
		n = utf8_encode(text, c);
	}
	if (n > l->max - l->len)
		return false;
	put_bytes(l, text, n);
	return true;
}

static void put_string(struct line *l, const char *s)
{
	const char *end = s + strlen(s);
	while (s < end && put_escaped(l, &s, end))
		;
}

static void put_field(struct line *l, const char *name, const char *value)
{
	if (value == NULL || value[0] == '\0')
		return;
	put_text(l, ",\"");
	put_text(l, name);
	put_text(l, "\":\"");
	put_string(l, value);
	put_text(l, "\"");
}

#define ABOUT_BYTES_MAX 1024 /* of a line, for what it is about: a handle and a name, escaped */

static void put_json(struct line *l, enum log_level level, const struct log_about *about, const char *text)
{
	char after[ABOUT_BYTES_MAX];
	struct line end = {after, 0, sizeof after - 4};
	/* A name of a table has at most 2 * 63 bytes, each six at most. */
	if (about != NULL) {
		put_field(&end, "reason", reason_code(about->reason));
		put_field(&end, "shape", about->shape);
		put_field(&end, "table", about->table);
	}
	end.max = sizeof after;
	put_text(&end, "}");
	put_text(l, "{\"time\":\"");
	put_time(l);
	put_text(l, "\",\"level\":\"");
	put_text(l, names[level]);
	put_text(l, "\",\"message\":\"");
	l->max -= end.len + 1;
	put_string(l, text);
	l->max += end.len + 1;
	put_text(l, "\"");
	put_bytes(l, after, end.len);
}

static void put_plain(struct line *l, enum log_level level, const struct log_about *about, const char *text)
{
	put_time(l);
	put_text(l, " [");
	put_text(l, names[level]);
	put_text(l, "] ");
	size_t from = l->len;
	put_text(l, text);
	if (about != NULL && about->reason != REASON_NONE) {
		put_text(l, " [");
		put_text(l, reason_code(about->reason));
		put_text(l, "]");
	}
	/* A name may have a line's end in it: it must not pass for a line of ours. */
	for (size_t i = from; i < l->len; i++)
		if ((unsigned char)l->to[i] < 0x20 || l->to[i] == 0x7f)
			l->to[i] = ' ';
}

static size_t format_line(char *to, size_t max, enum log_level level, const struct log_about *about, const char *text)
{
	struct line l = {to, 0, max - 1};
	if (atomic_load_explicit(&line_format, memory_order_relaxed) == LOG_JSON)
		put_json(&l, level, about, text);
	else
		put_plain(&l, level, about, text);
	to[l.len++] = '\n';
	return l.len;
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

/* Where lines are missing, a line says how many, as soon as it fits. */
static void tell_dropped(void)
{
	char line[300], text[120];
	if (out.dropped == 0)
		return;
	snprintf(text, sizeof text, "%llu lines of the log are missing here: it was not read fast enough", (unsigned long long)out.dropped);
	size_t len = format_line(line, sizeof line, LOG_WARNING, NULL, text);
	if (ring_put(line, len))
		out.dropped = 0;
}

static void put_line(enum log_level level, const struct log_about *about, const char *text)
{
	char line[LOG_LINE_BYTES_MAX];
	size_t len = format_line(line, sizeof line, level, about, text);
	pthread_mutex_lock(&out.lock);
	if (!out.started) {
		write_direct(line, len);
	} else {
		tell_dropped();
		if (out.dropped > 0 || !ring_put(line, len)) {
			out.dropped++;
			out.left_out++;
		}
	}
	pthread_mutex_unlock(&out.lock);
}

static void put_formatted(enum log_level level, const struct log_about *about, const char *fmt, va_list ap)
{
	char text[LOG_LINE_BYTES_MAX];
	if (!log_shows(level))
		return;
	(void)vsnprintf(text, sizeof text, fmt, ap);
	put_line(level, about, text);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	put_formatted(level, NULL, fmt, ap);
	va_end(ap);
}

void log_about(enum log_level level, const struct log_about *about, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	put_formatted(level, about, fmt, ap);
	va_end(ap);
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
static bool seldom_due(enum log_level level, uint64_t key, const char *text, uint64_t *same, uint64_t *others)
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
		if (out.kept++ == 0)
			out.kept_ms = now;
	} else {
		out.allowed_ms += each_ms;
		*same = k->kept;
		*others = out.kept;
		*k = (struct seldom){.key = key, .said_ms = now > 0 ? now : 1, .level = level};
		snprintf(k->text, sizeof k->text, "%s", text);
		out.kept = 0;
	}
	out.left_out += !due;
	pthread_mutex_unlock(&out.lock);
	return due;
}

uint64_t log_left_out(void)
{
	pthread_mutex_lock(&out.lock);
	uint64_t n = out.left_out;
	pthread_mutex_unlock(&out.lock);
	return n;
}

void log_seldom(enum log_level level, uint64_t key, const char *fmt, ...)
{
	char text[LOG_LINE_BYTES_MAX], same_text[60] = "", others_text[60] = "";
	uint64_t same = 0, others = 0;
	if (!log_shows(level))
		return;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (!seldom_due(level, key, text, &same, &others))
		return;
	if (same > 0)
		snprintf(same_text, sizeof same_text, " (%llu times more since it was said)", (unsigned long long)same);
	if (others > 0)
		snprintf(others_text, sizeof others_text, " (%llu other lines of the kind left out)", (unsigned long long)others);
	log_line(level, "%s%s%s", text, same_text, others_text);
}

void log_tell_seldom(void)
{
	for (size_t i = 0; i < SELDOM_KEYS; i++) {
		struct seldom was = {.kept = 0};
		pthread_mutex_lock(&out.lock);
		struct seldom *k = &out.seldom[i];
		if (k->kept > 0 && clock_mono_ms() - k->said_ms >= LOG_SELDOM_MS) {
			was = *k;
			k->kept = 0;
		}
		pthread_mutex_unlock(&out.lock);
		if (was.kept > 0)
			log_line(was.level, "%s (%llu times more since it was said)", was.text, (unsigned long long)was.kept);
	}
	pthread_mutex_lock(&out.lock);
	uint64_t others = out.kept > 0 && clock_mono_ms() - out.kept_ms >= LOG_SELDOM_MS ? out.kept : 0;
	out.kept -= others;
	pthread_mutex_unlock(&out.lock);
	if (others > 0)
		log_warning("%llu other lines of kinds that repeat were left out", (unsigned long long)others);
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
