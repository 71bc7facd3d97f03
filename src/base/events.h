/*
 * events.h - the last things that happened, for people who ask: a ring of EVENTS_MAX, in memory only.
 *
 * Any thread; one short lock of its own, a leaf. What comes again and again by one cause is one event with a count: the same
 * kind, reason, table and text within EVENT_TOGETHER_MS; and of one kind and reason no more than EVENT_ALIKE_MAX within that
 * time, further ones are counted with the newest of them. Texts hold no values of rows and no secrets, as those of the log.
 */
#ifndef BUSBAR_BASE_EVENTS_H
#define BUSBAR_BASE_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/reason.h"
#include "base/require.h"

#define EVENTS_MAX 512          /* 240 KB */
#define EVENT_TOGETHER_MS 1000
#define EVENT_ALIKE_MAX 8

enum event_kind {
	EVENT_PROCESS,  /* start, stop */
	EVENT_SETTINGS, /* read again */
	EVENT_STREAM,   /* connected, lost, waiting */
	EVENT_SLOT,     /* made, given up */
	EVENT_STORE,    /* can't be written; works again */
	EVENT_ROTATION, /* of shapes: 409 */
	EVENT_REFUSAL,  /* of requests: 503 */
	EVENT_WAL,      /* steps of the guard */
	EVENT_KINDS
};

/* "process", "settings", … Constants. */
const char *event_kind_text(enum event_kind kind);

struct event {
	uint64_t number;           /* from 1, rising by one */
	int64_t at_us, last_us;    /* UTC, of the first and the last of `count` */
	uint64_t count;
	enum event_kind kind;
	enum reason reason;        /* REASON_NONE: none */
	char shape[64];            /* handle, of the first; "": none */
	char table[132];           /* schema.name; "": none, or several */
	char text[200];            /* cut at the end if longer, never inside a character */
};

/* `shape` and `table` may be NULL. */
void event_put(enum event_kind kind, enum reason reason, const char *shape, const char *table, const char *fmt, ...)
	PRINTF_LIKE(5, 6);

/* Copies the newest, newest first, but none up to `after` (0: all there are). How many. */
size_t events_copy(struct event *out, size_t max, uint64_t after);

#endif
