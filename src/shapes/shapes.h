/*
 * shapes.h - the engine: which change belongs to whom, and what a client reads.
 *
 * Public face of src/shapes for src/http and main.c. The engine owns the INGEST thread (stream,
 * routing, tails), the WRITER thread (the only writer of the store) and a few PG threads (catalog,
 * publication, snapshots). All functions here may be called from any thread and never block on
 * Postgres or the disk's write path; what takes time registers a waiter and is asked again.
 *
 * Waiting, everywhere the same: a function that can't answer yet puts the caller's `struct waiter` on
 * a list and says so; `wake` is then called exactly once, from any thread, when asking again makes
 * sense (a spurious wake is possible). It runs under a lock of the engine: it may only hand the
 * waiter over to its own thread (push on a queue, poke an eventfd) and never calls back in here.
 * waiter_cancel() takes a waiter off its list; once it has returned, `wake` will not be called. A
 * waiter is on one list at a time: cancel it before asking again without having been woken.
 */
#ifndef BUSBAR_SHAPES_SHAPES_H
#define BUSBAR_SHAPES_SHAPES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/config.h"
#include "base/err.h"
#include "base/lsn.h"
#include "pg/table/table.h"

struct shapes;
struct shape;
struct wait_list;

/* Microseconds since 1970: of a transaction's commit, by Postgres's clock, and of its rows' coming into the logs, by ours. */
struct change_times { int64_t commit_us, logged_us; };

struct waiter {
	struct waiter *next, *prev;
	struct wait_list *list; /* NULL: not waiting. Guarded by the list's lock */
	void *lock;             /* that lock, as long as the owner hasn't cancelled or registered anew; the owner's */
	void (*wake)(struct waiter *w);
	struct log_offset seen; /* of those who wait for a change */
	lsn_t lsn;              /* of those who wait for the stream */
	struct change_times times; /* of the change that woke it; zeroes: it waits, or something else did */
};

/* Off its list; false if it was on none (never registered, or already woken). Zeroed memory with
 * `wake` set is a valid idle waiter. */
bool waiter_cancel(struct waiter *w);

/* ---- definitions ------------------------------------------------------------------------------ */

enum shape_replica { REPLICA_DEFAULT, REPLICA_FULL };
enum shape_log_mode { LOG_MODE_FULL, LOG_MODE_CHANGES_ONLY };

/*
 * A checked definition. Made by def.c from a request and a table; plain data whose pointers it owns
 * (def_clear), copied by the engine. `identity` are the bytes by which two requests are the same shape
 * (docs/protocol.md 3.1): table oid and name, key columns, canonical where, selected and explicitly
 * selected columns, flags, replica, log mode.
 */
struct shape_def {
	struct pg_table *table; /* a reference */
	struct pg_table **inner; /* references: the other tables that subqueries of its condition name, by oid, each once */
	uint16_t ninner;
	bool has_subqueries;    /* of its condition; all of them may name `table` itself */
	uint16_t *selected;     /* indexes into table->columns, sorted by column name */
	uint16_t nselected;
	bool explicit_columns;  /* `columns` was given */
	bool selects_all;       /* neither `columns` nor `queryable_columns` was given */
	enum shape_replica replica;
	enum shape_log_mode log_mode;
	const char *where;      /* the condition in its stored form (where.h): the end of identity; NULL: none */
	char *identity;
	size_t identity_len;
};

void shape_def_clear(struct shape_def *d);
void shape_def_copy(struct shape_def *to, const struct shape_def *from);
/* What the definition knows of a table that it names: `table` or one of `inner`; NULL: it doesn't name it. */
struct pg_table *shape_def_table(const struct shape_def *d, uint32_t oid);

/* ---- life ------------------------------------------------------------------------------------- */

/* Opens the store, loads what it holds and starts the threads. Known shapes can be served at once. */
int shapes_start(struct shapes **out, const struct config *config, struct err *e) MUST_USE;
/* Makes the store's file smaller, without an engine; refused while one has it open. `text`: what was done, terminated. */
#define COMPACTED_TEXT_MAX 200
int shapes_compact(const struct config *config, char *text, size_t max, struct err *e) MUST_USE;
/* Looks around, every SHAPES_TICK_MS: tells what nobody else would. For the thread that waits for signals. */
#define SHAPES_TICK_MS 1000
void shapes_tick(struct shapes *s);

/* True when the engine has met something fatal: main exits with `e`'s line. */
bool shapes_fatal(struct shapes *s, struct err *e);
/* `notify` (may be NULL) is called once, from any thread, when shapes_fatal() turns true. */
void shapes_on_fatal(struct shapes *s, void (*notify)(void *), void *ctx);
/* Stops ingest, syncs the store. HTTP has been stopped before: nobody holds a shape or waits. */
void shapes_stop(struct shapes *s);

/* ---- readiness (docs/protocol.md 1.7, 8.2) --------------------------------------------------------- */

enum shapes_status {
	SHAPES_STARTING,
	SHAPES_WAITING, /* another instance holds the lock: nothing is served; or Postgres wasn't reached yet: known shapes are */
	SHAPES_ACTIVE,
};

enum shapes_status shapes_status(struct shapes *s);
/* ACTIVE, or registers `w` (woken when the status changes). */
enum shapes_status shapes_status_wait(struct shapes *s, struct waiter *w);
/*
 * Whether this process's data may be served. SHAPES_UNPROVEN: it has just started, or been woken, and doesn't know yet who
 * holds the lock; hold the request, for a few seconds at most. SHAPES_FOREIGN: another session holds it (or held it, and we haven't
 * caught up): nothing here can be called current, requests get a 503, event streams end. When that begins
 * shapes_on_foreign() says so. Cheap.
 */
enum shapes_currency { SHAPES_CURRENT, SHAPES_UNPROVEN, SHAPES_FOREIGN };
enum shapes_currency shapes_currency(struct shapes *s);
/*
 * `notify` (NULL: nobody) is called, from any thread, whenever SHAPES_FOREIGN begins, and at once if it has: whoever waits for
 * anything is to look again, of which not all lists of waiters are told. Like wake() it runs under a lock of the engine, so
 * it may only hand over; with NULL, it isn't running any more once this has returned.
 */
void shapes_on_foreign(struct shapes *s, void (*notify)(void *), void *ctx);
/* shapes_currency() for a request, for which the stream may connect again sooner; in SHAPES_UNPROVEN it registers `w` for the end of that. */
enum shapes_currency shapes_currency_wait(struct shapes *s, struct waiter *w);
/*
 * ELECTRIC_REPLICATION_IDLE_TIMEOUT. A request has come: if the connections to Postgres are closed they are opened. True: `w` is
 * registered, and woken when the stream has caught up, or it is known that it won't soon; wait for a few seconds at most. Cheap.
 */
bool shapes_wake(struct shapes *s, struct waiter *w);
/* They are closed, and nobody has asked for anything yet. */
bool shapes_asleep(struct shapes *s);
#define STORE_FAILING_TEXT_MAX 300
#define WAL_TEXT_MAX 400 /* of what the WAL guard says */
/* What GET /v1/ready says; for everybody to see: no names or addresses in it. What the store says is as in /v1/health. */
struct shapes_ready {
	bool ready;         /* a request for a shape would be answered here and now */
	bool away;          /* ... as of our last position: Postgres is away, so no new shapes either */
	bool asleep;        /* ... once the connections that idleness has closed are open again */
	const char *status; /* "ready", "starting", "waiting", "store_failing", "refusing" */
	const char *wal;    /* what the WAL guard does: "warn", "refuse", "drop", "given_up", "held_by_others"; NULL: nothing */
	enum reason why;    /* REASON_NONE: ready */
	const char *reason; /* NULL: none. May point into `text`: not to be copied */
	char text[STORE_FAILING_TEXT_MAX + 32];
	char wal_text[WAL_TEXT_MAX]; /* of `wal` */
};
void shapes_ready(struct shapes *s, struct shapes_ready *out);
/* The 503 text of the first unmet condition, terminated. */
void shapes_status_text(struct shapes *s, char *text, size_t max);
/* What a request that waits for SHAPES_ACTIVE waits for. */
enum reason shapes_status_why(struct shapes *s);

/* Whether the store can't be written: since when (monotonic ms), and why, terminated. Any of the three may be NULL. Known
 * shapes are served meanwhile; nothing new can be made, and Postgres keeps its WAL. */
bool shapes_store_failing(struct shapes *s, int64_t *since_ms, char *text, size_t max);

/* Whether new shapes are refused for the WAL that Postgres keeps for us; `text`: what to tell who asks for one, terminated. Cheap. */
#define WAL_REFUSAL_TEXT_MAX (WAL_TEXT_MAX + 50)
bool shapes_wal_refuses(struct shapes *s, char *text, size_t max);

/* ---- tables ----------------------------------------------------------------------------------- */

/* One look-up of a table by name: at once from the cache, else by a PG thread. Reference counted. */
struct table_lookup;
struct table_lookup *shapes_table_lookup(struct shapes *s, const char *schema, const char *name);
void table_lookup_unref(struct table_lookup *l);
/*
 * 0: found, *out is a borrowed pointer, valid as long as the look-up. 1: no such table. -1: error (an
 * outage: 503 "Cannot connect to the database to verify the shape. Please try again later."; with
 * kind ERR_PG the database's text goes under `table`, with ERR_TIMEOUT it is a 503's). 2: not yet, `w` is registered.
 */
int table_lookup_result(struct table_lookup *l, struct waiter *w, struct pg_table **out, struct err *e);

/* server_version_num, 0 if not known yet; and whether the publication publishes generated columns. */
int shapes_server_version(struct shapes *s);
bool shapes_publishes_generated(struct shapes *s);

/* ---- shapes: finding, creating, deleting ------------------------------------------------------ */

struct shape *shape_ref(struct shape *s);
void shape_unref(struct shape *s); /* NULL is fine */

/* A reference to the active shape of this handle / identity, or NULL. */
struct shape *shapes_by_handle(struct shapes *s, const char *handle, size_t len);
/* One that had this handle and has rotated, or was deleted, as long as that isn't durable (shape_wait_gone()); a reference, or NULL. */
struct shape *shapes_leaving(struct shapes *s, const char *handle, size_t len);
/* Why the shape that had this handle ended, as long as that is remembered (core/gone.h); else REASON_UNKNOWN_HANDLE. */
enum reason shapes_why_gone(const char *handle, size_t len);
struct shape *shapes_find(struct shapes *s, const struct shape_def *def);
/*
 * How many seconds nobody gets a shape of this definition, and what to tell whoever asks for one: a changed row was too costly for
 * its condition, or what its subqueries select keeps changing. 0: it can be made.
 */
int shapes_held_back(struct shapes *s, const struct shape_def *def, enum reason *reason, const char **why);
/* Whether the store takes no new shapes (BUSBAR_STORE_LIMIT, BUSBAR_STORE_MIN_FREE): what to tell whoever asks for one, terminated,
 * and after how many seconds to ask again. */
#define STORE_FULL_TEXT_MAX 300
bool shapes_full(struct shapes *s, char *text, size_t max, int *retry_s);
/* The active shape of this definition, made if there is none. NULL with `e` if it can't be now. */
struct shape *shapes_get(struct shapes *s, const struct shape_def *def, struct err *e);

const char *shape_handle(const struct shape *s);         /* terminated; lives as long as the reference */
const struct shape_def *shape_definition(const struct shape *s);
enum reason shape_why(const struct shape *s);            /* of one that has ended: why */
const char *shape_schema_header(const struct shape *s);  /* the electric-schema value; stays while the shape is held */
bool shape_schema_renewed(const struct shape *s);        /* earlier answers had another */

enum shape_state {
	SHAPE_CREATING,     /* not durable yet: no client may see the handle */
	SHAPE_SNAPSHOTTING, /* durable; the first rows are there or coming */
	SHAPE_LIVE,         /* the snapshot is complete */
	SHAPE_FAILED,       /* the snapshot failed; gone for everybody else */
	SHAPE_GONE,         /* rotated or deleted: 409 */
};

/*
 * The state, once the shape has started: registers `w` and returns SHAPE_CREATING while it is durable
 * and its snapshot's first rows (or its end) are not there yet. For SHAPE_FAILED, `e` says why:
 * ERR_NOT_FOUND -> 409 without a handle; ERR_TIMEOUT, ERR_CONFIG, ERR_PG_CONN, ERR_LIMIT -> 503 with
 * the text (docs/protocol.md 8.3); ERR_PG -> 503 "Unable to create initial snapshot: …" is in the text already;
 * others -> 500.
 */
enum shape_state shape_started(struct shape *s, struct waiter *w, struct err *e);

/* Removes the shape: from now on no request finds it. shape_wait_gone(): false once that is
 * durable (readers get 409 then), else `w` is registered. */
void shapes_delete(struct shapes *s, struct shape *shape);
bool shape_wait_gone(struct shape *s, struct waiter *w);

/* Marks the shape as read now (for who goes first, and BUSBAR_SHAPE_EXPIRY). Cheap. */
void shape_touch(struct shape *s);

/* ---- reading ---------------------------------------------------------------------------------- */

#define OFFSET_BEFORE_ALL ((struct log_offset){0, UINT64_MAX - 1}) /* stands for -1; never compared */

enum slice_kind {
	SLICE_SNAPSHOT, /* chunk `chunk` of the snapshot; `to` is 0_chunk; never up_to_date */
	SLICE_LOG,      /* log entries in (from, to]; none if `empty` */
	SLICE_WAIT,     /* that part of the snapshot doesn't exist yet: `w` is registered */
	SLICE_AHEAD,    /* `from` is beyond what the stream has passed: shapes_wait_lsn() */
	SLICE_GONE,     /* 409 */
};

/* What one response covers: at most one chunk (docs/protocol.md 6.2, 6.3). */
struct shape_slice {
	enum slice_kind kind;
	struct log_offset from, to; /* `to` is the electric-offset; never below `from` */
	uint32_t chunk;
	bool empty;
	bool up_to_date;            /* `to` was the tail */
	lsn_t seen;                 /* all commits up to here have been delivered to this shape at `to`: for
	                               global_last_seen_lsn */
};

/* `from`: OFFSET_BEFORE_ALL for -1, 0_i inside the snapshot, or a position in the log. */
void shape_slice(struct shape *s, bool from_start, struct log_offset from, struct waiter *w, struct shape_slice *out);
/* Where offset=now starts: an empty, up_to_date SLICE_LOG at the tail; or SLICE_GONE. */
void shape_slice_now(struct shape *s, struct shape_slice *out);

/* Registers `w` for a change after `seen`, rotation included; false if there already is one. */
bool shape_wait_change(struct shape *s, struct log_offset seen, struct waiter *w);

/* Registers `w` until the stream has passed `lsn` for all shapes; false if it has. */
bool shapes_wait_lsn(struct shapes *s, lsn_t lsn, struct waiter *w);
/* The server's WAL end as asked for at or after `since_mono_ms`; 0 if not known (Postgres is away). Each
 * call with no fresh answer asks a PG thread for one. */
lsn_t shapes_wal_end(struct shapes *s, int64_t since_mono_ms);

/* The lines of a slice, in order. Holds a reference to the shape, no transaction of the store. */
struct shape_reader;
struct shape_reader *shape_reader_new(struct shape *s, const struct shape_slice *slice);
void shape_reader_free(struct shape_reader *r);
/* The bytes of all its lines with their ends; -1 if that isn't known before they are read: it is of whole chunks of a
 * snapshot. */
int64_t shape_reader_size(struct shape_reader *r);
/* Lines of a snapshot end in this instead of a newline. */
void shape_reader_end_lines(struct shape_reader *r, char end);

enum shape_read { SHAPE_READ_MORE, SHAPE_READ_END, SHAPE_READ_WAIT /* `w` registered */, SHAPE_READ_GONE, SHAPE_READ_ERROR };
/*
 * Appends whole messages, each one JSON object on a line ended by '\n' (JSON text itself holds no raw
 * newline), until `out` holds about `max` bytes (one message may be larger). SHAPE_READ_MORE with nothing
 * added: there is nothing more yet, come with an empty buffer to wait for it. Copies out of the store in
 * a short read transaction. One thread at a time.
 */
enum shape_read shape_reader_next(struct shape_reader *r, struct buf *out, size_t max, struct waiter *w, struct err *e);
/*
 * Where a reader stands; and back to a place from which it has read something: the same lines follow, though not in
 * pieces of the same size.
 */
struct shape_place {
	struct log_offset at;
	uint32_t piece;
};
struct shape_place shape_reader_place(const struct shape_reader *r);
void shape_reader_return(struct shape_reader *r, struct shape_place place);

/* ---- subsets ---------------------------------------------------------------------------------- */

/* Some rows of a shape's table as they are now, beside the shape's log. SQL is ours, made from checked trees. */
struct subset_spec {
	const struct shape_def *def; /* the request's: its table is as the catalog had it just now */
	const char *where;           /* NULL: none; the definition's own condition holds as well */
	bool where_may_fail;         /* then it isn't computed for rows that the definition's hides */
	const char *order_by;        /* "ORDER BY …", NULL: none */
	int64_t limit, offset;       /* limit below 0: none */
	struct shape *shape;         /* whose subset it is */
	uint64_t from;               /* who asks (an address, say): sessions are shared evenly among those that wait */
};

struct subset;
/* Queues the query; copies what it needs. NULL: too many wait already. */
struct subset *shapes_subset_start(struct shapes *s, const struct subset_spec *spec);
/* In how many milliseconds those that wait now will have had their turn, as far as can be told. Any thread. */
int64_t shapes_subset_wait_ms(struct shapes *s);
/* Cancels what is left of it. Waiters must have been cancelled before. */
void subset_free(struct subset *q);

enum subset_state {
	SUBSET_QUEUED,  /* all sessions are busy */
	SUBSET_RUNNING, /* nothing to be told yet */
	SUBSET_ROWS,
	SUBSET_END,     /* all rows have been taken */
	SUBSET_FAILED,
};
/* Where it is; registers `w` for the next state while it is QUEUED or RUNNING. In SUBSET_FAILED `e` is as for
 * shape_started(), but ERR_PG has what Postgres said and its sqlstate. */
enum subset_state subset_look(struct subset *q, struct waiter *w, struct err *e);
/* From SUBSET_ROWS on: {"xmin":…,"database_lsn":…,"snapshot_mark":…} of the rows. Every commit they show is
 * below database_lsn. */
void subset_metadata(const struct subset *q, struct buf *out);
/*
 * From SUBSET_ROWS on: appends whole rows, a JSON object on a line each, about `max` bytes (one row may be
 * larger). SUBSET_RUNNING: none yet, `w` is registered. Who takes nothing for a while loses the query:
 * SUBSET_FAILED.
 */
enum subset_state subset_next(struct subset *q, struct buf *out, size_t max, struct waiter *w, struct err *e);

#endif
