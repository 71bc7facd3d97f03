/* events.c - see events.h. */
#include "base/events.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

static struct {
	pthread_mutex_t lock;
	uint64_t put; /* ever; event number n is at (n - 1) % EVENTS_MAX */
	struct event ring[EVENTS_MAX];
	/* Numbers, 0: none. Of the one before with the same kind and reason; of the newest of both, and of a kind. */
	uint64_t before[EVENTS_MAX];
	uint64_t newest[EVENT_KINDS][REASONS], newest_of[EVENT_KINDS];
} events = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const char *const kinds[EVENT_KINDS] = {"process", "settings", "stream", "slot", "store", "rotation", "refusal",
                                                "refetch", "wal"};

const char *event_kind_text(enum event_kind kind)
{
	REQUIRE(kind < EVENT_KINDS);
	return kinds[kind];
}

static struct event *event_at(uint64_t number) { return &events.ring[(number - 1) % EVENTS_MAX]; }

/* The end of a UTF-8 text that was cut may be the first bytes of a character. */
static void copy_cut(char *to, size_t max, const char *from)
{
	size_t len = strlen(from);
	if (len >= max)
		for (len = max - 1; len > 0 && ((unsigned char)from[len] & 0xc0) == 0x80;)
			len--;
	memcpy(to, from, len);
	to[len] = '\0';
}

static bool same(const struct event *a, const struct event *b)
{
	return strcmp(a->table, b->table) == 0 && strcmp(a->text, b->text) == 0;
}

/* What comes by itself, again and again, until something else is mended. */
static bool retried(enum event_kind kind)
{
	return kind == EVENT_STREAM || kind == EVENT_STORE || kind == EVENT_REFUSAL || kind == EVENT_REFETCH;
}

/* Of these each is for itself; the others are states, one after the other. */
static bool answered(enum event_kind kind) { return kind == EVENT_REFUSAL || kind == EVENT_REFETCH || kind == EVENT_ROTATION; }

/* Clocks may be set back: what was later than now is nobody's companion. */
static bool within(int64_t was_us, int64_t now_us, int64_t ms) { return now_us >= was_us && now_us - was_us < ms * 1000; }

static bool goes_on(const struct event *was, const struct event *e)
{
	return within(was->last_us, e->at_us, EVENT_AGAIN_MS) && strcmp(was->shape, e->shape) == 0 &&
	       (answered(e->kind) || events.newest_of[e->kind] == was->number);
}

/* Under the lock: the event that the new one is counted with, NULL: none. */
static struct event *companion(const struct event *e)
{
	struct event *newest = NULL;
	int alike = 0;
	uint64_t n = events.newest[e->kind][e->reason];
	for (int looked = 0; looked < EVENT_LOOK_MAX && n > 0 && events.put - n < EVENTS_MAX; looked++) {
		struct event *was = event_at(n);
		n = events.before[(n - 1) % EVENTS_MAX];
		if (same(was, e) && (within(was->at_us, e->at_us, EVENT_TOGETHER_MS) || goes_on(was, e)))
			return was;
		if (!within(was->at_us, e->at_us, retried(e->kind) ? EVENT_AGAIN_MS : EVENT_TOGETHER_MS))
			continue;
		if (newest == NULL)
			newest = was;
		alike++;
	}
	if (alike < EVENT_ALIKE_MAX)
		return NULL;
	if (strcmp(newest->table, e->table) != 0)
		newest->table[0] = '\0';
	return newest;
}

static void put_new(struct event *e)
{
	e->number = ++events.put;
	*event_at(e->number) = *e;
	events.before[(e->number - 1) % EVENTS_MAX] = events.newest[e->kind][e->reason];
	events.newest[e->kind][e->reason] = events.newest_of[e->kind] = e->number;
}

void event_put(enum event_kind kind, enum reason reason, const char *shape, const char *table, const char *fmt, ...)
{
	char text[1200];
	struct event e = {.kind = kind, .reason = reason, .count = 1};
	va_list ap;
	va_start(ap, fmt);
	if (vsnprintf(text, sizeof text, fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	copy_cut(e.shape, sizeof e.shape, shape != NULL ? shape : "");
	copy_cut(e.table, sizeof e.table, table != NULL ? table : "");
	copy_cut(e.text, sizeof e.text, text);
	pthread_mutex_lock(&events.lock);
	e.at_us = e.last_us = clock_wall_us();
	struct event *was = companion(&e);
	if (was != NULL) {
		was->count++;
		was->last_us = e.at_us;
	} else {
		put_new(&e);
	}
	pthread_mutex_unlock(&events.lock);
}

size_t events_copy(struct event *out, size_t max, uint64_t after)
{
	size_t n = 0;
	pthread_mutex_lock(&events.lock);
	for (uint64_t at = events.put; at > after && n < max && events.put - at < EVENTS_MAX; at--)
		out[n++] = *event_at(at);
	pthread_mutex_unlock(&events.lock);
	return n;
}
