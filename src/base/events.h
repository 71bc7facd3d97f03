/*
 * events.h - the last things that happened, for people who ask: a ring of EVENTS_MAX, in memory only.
 *
 * Any thread; one short lock of its own, a leaf. What comes again and again by one cause is one event with a count, so that
 * what retries, or a crowd of clients, leaves room for what was before:
 *
 *  - the same kind, reason, table and text within EVENT_TOGETHER_MS of the first, whatever the shape;
 *  - the same with the same shape within EVENT_AGAIN_MS of the last, as long as nothing else of its kind happened in between
 *    (of what is told to clients: whatever else they were told). An outage is one event, however long it is;
 *  - of one kind and reason no more than EVENT_ALIKE_MAX within EVENT_TOGETHER_MS, or EVENT_AGAIN_MS of what is retried (streams,
 *    the store, answers to clients): further ones are counted with the newest of them.
 *
 * Only the newest EVENT_LOOK_MAX of a kind and reason are looked at, so putting one costs the same whatever happens. Texts hold
 * no values of rows and no secrets, as those of the log.
 */
#ifndef BUSBAR_BASE_EVENTS_H
#define BUSBAR_BASE_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/reason.h"
#include "base/require.h"

#define EVENTS_MAX 512          /* 240 KB */
#define EVENT_TOGETHER_MS 1000
#define EVENT_AGAIN_MS 90000 /* longer than any pause between two attempts */
#define EVENT_ALIKE_MAX 8
#define EVENT_LOOK_MAX 16

enum event_kind {
	EVENT_PROCESS,  /* start, stop */
	EVENT_SETTINGS, /* read again */
	EVENT_STREAM,   /* connected, lost, waiting */
	EVENT_SLOT,     /* made, given up */
	EVENT_STORE,    /* can't be written; works again */
	EVENT_ROTATION, /* of shapes: 409 */
	EVENT_REFUSAL,  /* of requests: 503 */
	EVENT_REFETCH,  /* 409 to a request, though no shape ended: of a handle that is unknown, or another definition's */
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
