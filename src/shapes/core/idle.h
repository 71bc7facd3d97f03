/*
 * idle.h - ELECTRIC_REPLICATION_IDLE_TIMEOUT: when all connections to Postgres are closed, and when they are opened again.
 *
 *   AWAKE  -> ASLEEP   INGEST (ingest/idle.c): for so long no transaction has brought a change, and nobody has asked for anything
 *   ASLEEP -> WAKING   any thread, by idle_wake(): a request, a job for the PG threads, a subset, the WAL guard
 *   WAKING -> AWAKE    INGEST, likewise: the stream has come to where Postgres's WAL ended as it began again; or it can't, or
 *                      not soon (IDLE_WAKE_MAX_MS), and requests get what they would get in an outage
 *
 * The stream closes its own connection (stream_rest()), the PG threads and those of subsets theirs when they see that it is time
 * (idle_asleep()). Nothing is under way then, and all that has come is durable, so that what happens meanwhile is that of any lost
 * connection: the slot keeps what is to come. The lock goes with the connection. So who is woken doesn't know whether another
 * instance has it: SHAPES_UNPROVEN, as at a start (docs/invariants.md 4.9, 5.4).
 *
 * Any thread, unless it says otherwise. The state and what belongs to it are changed under status_lock.
 */
#ifndef BUSBAR_SHAPES_IDLE_H
#define BUSBAR_SHAPES_IDLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/lsn.h"

#define IDLE_WAKE_MAX_MS 5000

struct shapes;

enum idle_state { IDLE_AWAKE, IDLE_ASLEEP, IDLE_WAKING };

struct idle {
	_Atomic int state;         /* enum idle_state */
	_Atomic int64_t active_ms; /* when something happened last: a start, a change, a request */
	int64_t since_ms;          /* of a state other than AWAKE */
	lsn_t goal;                /* where the WAL ended as the stream began again; 0: it hasn't */
};

/* INGEST: a change has come. Cheap. */
void idle_touch(struct shapes *s);
/* INGEST: the stream begins, and the WAL ends there. */
void idle_started(struct shapes *s, lsn_t wal_end);
/* INGEST: falls asleep, unless something has happened since `active_ms`. What was queued meanwhile is the caller's to see. */
void idle_sleep(struct shapes *s, int64_t active_ms);
/* INGEST, while waking: whether that is over, with the stream where it is. Whoever waits for it is woken then. */
bool idle_recover(struct shapes *s, lsn_t reached);
/* Opens the connections again if they are closed; `why` is for the log. Holding nothing. */
void idle_wake(struct shapes *s, const char *why);

static inline enum idle_state idle_state(const struct idle *i) { return (enum idle_state)atomic_load_explicit(&i->state, memory_order_acquire); }
/* Connections are to be closed. */
static inline bool idle_asleep(const struct idle *i) { return idle_state(i) == IDLE_ASLEEP; }
/* Since when it is asleep; 0: it isn't. */
int64_t idle_asleep_since(struct shapes *s);

#endif
