/*
 * loop.h - waiting without being deaf: private to src/wal.
 *
 * Everything the stream's thread waits for (a socket, a statement, the resolver, a back-off) it waits
 * for here, with one poll() that also hears stream_wake() and stream_stop() and calls `idle` at least
 * every LOOP_IDLE_MS. So no statement, however long Postgres lets it hang, keeps the process from
 * stopping. One thread, except for loop_wake() and loop_stop().
 */
#ifndef BUSBAR_WAL_LOOP_H
#define BUSBAR_WAL_LOOP_H

#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "pg/conn.h"

#define LOOP_IDLE_MS 100

struct loop {
	int wake_fd;
	_Atomic bool stopping;
	_Atomic bool woken; /* somebody called loop_wake() since the last loop_idle() */
	int64_t idle_due_ms;
	void (*idle)(void *ctx);
	void *ctx;
};

/* Called each time a statement has taken `every_ms` more. */
struct loop_tick {
	int every_ms;
	void (*call)(void *ctx);
	void *ctx;
};

void loop_init(struct loop *l, void (*idle)(void *ctx), void *ctx);
void loop_clear(struct loop *l);
void loop_wake(struct loop *l); /* any thread */
void loop_stop(struct loop *l); /* any thread */

static inline bool loop_stopping(const struct loop *l)
{
	return atomic_load_explicit(&l->stopping, memory_order_relaxed);
}

static inline bool loop_woken(const struct loop *l)
{
	return atomic_load_explicit(&l->woken, memory_order_relaxed);
}

/* Calls `idle` if somebody asked for it or it is due. */
void loop_idle(struct loop *l);

/* Waits once, at most until `until_ms` (clock_mono_ms) or the next idle call, for `events` of `fd` (-1: none);
 * returns the events (0: none yet), or -1 with ERR_CANCELLED when stopping. */
int loop_wait(struct loop *l, int fd, short events, int64_t until_ms, struct err *e) MUST_USE;

/* Less than a millisecond or a few, ended early by loop_wake() and loop_stop(); doesn't call `idle`. */
void loop_nap(struct loop *l, int64_t us);

/* -1 (ERR_CANCELLED) when stopped meanwhile. */
int loop_sleep(struct loop *l, int64_t ms, struct err *e) MUST_USE;

/* A connection in non-blocking mode, or NULL. */
PGconn *loop_connect(struct loop *l, const struct config *c, enum pg_role role, int timeout_ms, struct err *e) MUST_USE;

/* Runs a statement; *out is its (last) result, without error, to be cleared by the caller. timeout_ms 0: none;
 * after a timeout the connection is of no use. `tick` may be NULL. */
int loop_query(struct loop *l, PGconn *conn, const char *sql, int timeout_ms, const struct loop_tick *tick, PGresult **out,
               struct err *e) MUST_USE;

/*
 * Ends a copy in both directions by our own will, and waits for the server's word that it has ended, LOOP_END_MAX_MS at most,
 * also when stopping. A walsender that only finds its connection closed keeps the slot for some time after we are gone: who
 * drops it then, or streams from it next, is told that it is active. One that is busy with a huge transaction doesn't hear us.
 */
#define LOOP_END_MAX_MS 500
void loop_end_copy(PGconn *conn);

#endif
