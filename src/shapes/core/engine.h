/*
 * engine.h - what the parts of the engine share; private to src/shapes (and its unit tests).
 *
 * Threads and who owns what:
 *   INGEST   (one; runs wal/stream) owns relations, routes, the running transaction, the `in` part of
 *            each shape. Publishes tails.
 *   WRITER   (one) owns the store's write side, the fold list, the `wr` part of each shape.
 *   PG       (a few) run look-ups, joins, snapshots; meet the others through queues only.
 *   any      reads the `tail` part of a shape under its lock, the registry under registry_lock.
 *
 * Locks, in the order in which they may be taken (base/lock_order.h checks it in debug builds; none is held during a call
 * into libpq, LMDB or MHD):
 *   registry_lock > a shape's lock > a leaf: job_lock, cmd_lock, headers_lock, lookup_lock, lsn_lock, status_lock,
 *   server_lock, removed_lock (logs are written under it), failing_lock, guard.lock, usage.lock, writer.lock. A wait list has one of these, or its
 *   shape's; waiters are called with it held, and may take locks of whoever waits, which know none of ours.
 */
#ifndef BUSBAR_SHAPES_ENGINE_H
#define BUSBAR_SHAPES_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "shapes/core/cmds.h"
#include "shapes/core/guard.h"
#include "shapes/core/idle.h"
#include "shapes/core/jobs.h"
#include "shapes/core/limits.h"
#include "shapes/core/registry.h"
#include "shapes/core/usage.h"
#include "shapes/logs/writer.h"
#include "shapes/shapes.h"
#include "store/store.h"
#include "wal/stream.h"

struct ingest; /* ingest/ingest.h */
struct subsets; /* prep/subset.c */

struct shapes {
	const struct config *config;
	struct store *store;
	struct stream *stream;
	pthread_t ingest_thread;
	bool ingest_started;
	struct ingest *ingest;
	struct writer writer;
	struct usage usage;

	pthread_rwlock_t registry_lock;
	struct map held_back;              /* identity -> struct held_back: definitions that are not made for a while (held_back.c) */
	struct map by_handle, by_identity; /* active shapes; each holds one reference (by_handle's) */
	int64_t held_back_tidied_ms;
	struct map leaving;                /* handle -> shape, a reference: it has been taken out, which isn't durable yet */
	struct map tables;                 /* oid -> table_state */
	struct map cache;                  /* "schema\0name" -> struct cached */
	pthread_mutex_t headers_lock;      /* a leaf */
	struct map headers;                /* key -> header */
	struct map inflight;               /* the same key -> table_lookup; under lookup_lock */
	_Atomic uint64_t next_id;
	int64_t last_handle_us;
	_Atomic uint64_t nshapes;

	pthread_mutex_t shape_locks[SHAPE_LOCKS];

	/* What was said last of a shape that went, and how many others went since by the same cause: registry.c. */
	pthread_mutex_t removed_lock;
	struct {
		char table[2 * 64 + 2], why[160];
		enum reason reason;
		size_t more;
		int64_t said_ms;
	} removed;

	pthread_mutex_t status_lock;
	struct wait_list status_waiters;
	enum stream_phase phase;
	enum stream_wait wait;  /* what its set-up waits for */
	int64_t started_ms;     /* this process */
	int64_t unproven_ms;    /* since when currency is SHAPES_UNPROVEN */
	int64_t loaded_ms;      /* shapes read last then, or before, haven't been read in this process */
	_Atomic int currency;   /* enum shapes_currency */
	_Atomic bool backing_off; /* the stream waits before it connects again */
	bool stream_was_active; /* in this process */
	bool away;              /* the last attempt to reach Postgres failed */
	char phase_error[400];
	bool fatal;
	struct err fatal_err;
	void (*on_fatal)(void *);
	void *on_fatal_ctx;
	void (*on_foreign)(void *);
	void *on_foreign_ctx;

	pthread_mutex_t lookup_lock;

	pthread_mutex_t lsn_lock;
	struct wait_list lsn_waiters;

	pthread_mutex_t cmd_lock;
	pthread_cond_t cmd_cond;
	struct cmd *cmds, **cmds_tail;

	pthread_mutex_t job_lock;
	pthread_cond_t job_cond;
	struct job *admin_jobs, **admin_tail, *create_jobs, **create_tail;
	pthread_t pg_threads[16];
	uint32_t quick[32];     /* tables whose shapes are quickly copied, as of late; next_quick: the place for one more */
	unsigned next_quick;
	uint32_t preparing[16]; /* by thread: the table that it joins and takes a snapshot of, 0: none */
	int ready_admin, ready_create; /* threads that wait, with a connection for what they do: they go first */
	int npg, pg_working;    /* threads; those that do something */
	bool pg_stop;
	int64_t next_reconcile_ms, next_watch_ms;
	int64_t watch_took_ms;  /* the last look of the watch */
	bool reconcile_queued, reconcile_now;
	_Atomic bool watch_soon;       /* the stream has seen a sign that something changed */

	_Atomic bool stopping, ingest_quit;
	_Atomic unsigned outages;      /* of the stream: connections older than the last are doubtful */
	_Atomic lsn_t seen, durable;
	_Atomic lsn_t delivered;       /* the largest LSN a client of this process can have seen */
	_Atomic lsn_t mark;            /* as it stands in the store */
	_Atomic uint64_t mark_done;    /* sequence of the last committed mark */
	_Atomic size_t ahead_bytes;    /* queued for the writer or being written: ROWS and STAGE */
	_Atomic unsigned store_failing; /* FAILING_…, each until what failed has worked */
	pthread_mutex_t failing_lock;  /* a leaf */
	char failing_text[300];        /* while it fails: what the store said */
	int64_t failing_since_ms, failing_told_ms;
	_Atomic lsn_t published_tx;    /* last staged transaction the writer has published */
	_Atomic size_t keys_counted;   /* of all shapes whose rows may be equal */
	_Atomic unsigned snapshots_ahead; /* of births that are taken, or to be, before their shapes register */
	_Atomic size_t sets_bytes;     /* what subqueries of all shapes select (core/sets.h) */

	struct subsets *subsets; /* subset.c */
	_Atomic size_t subset_bytes; /* of rows that no client has taken */
	struct guard guard;      /* of the WAL */
	struct idle idle;        /* core/idle.h; under status_lock */
	_Atomic unsigned subsets_open;

	pthread_mutex_t server_lock;
	/* Under server_lock, for look-ups and for snapshots: the last attempt at a session failed then, 0: it didn't. */
	struct { int64_t failed_ms; struct err err; } session[2];
	struct stream_server server;   /* of the running connection; version 0: none yet */
	int64_t server_ms;             /* when that was */
	lsn_t wal_end;
	int64_t wal_end_asked_ms, wal_end_ms;
	bool wal_end_queued;
	_Atomic bool heartbeat_queued;
	uint64_t heartbeat_id; /* of this process's messages */
};

/* engine.c: every lock, condition and list of a zeroed engine; also for tests, which make one without its threads. */
void engine_init_locks(struct shapes *s);
void engine_free_locks(struct shapes *s);

/* status.c: the process is to end, for what the user must mend; the first reason counts. Any thread, holding nothing. */
void status_fatal(struct shapes *s, const struct err *e);

static inline pthread_mutex_t *shape_lock(const struct shape *s) { return &s->engine->shape_locks[s->id % SHAPE_LOCKS]; }

/* status.c: what the stream has learned; INGEST calls them. */
void status_phase(struct shapes *s, enum stream_phase phase, const char *error);
void status_wait(struct shapes *s, enum stream_wait wait);
enum stream_phase status_phase_now(struct shapes *s);
/* At least every 100 ms: ends SHAPES_UNPROVEN in time. */
void status_poll(struct shapes *s);

#endif
