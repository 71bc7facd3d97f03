/*
 * prep.h - the PG threads: look-ups, births, watching, subsets. Other threads ask them by jobs (core/jobs.h); what is here is
 * their life, and what the files of this room share.
 */
#ifndef BUSBAR_SHAPES_PREP_H
#define BUSBAR_SHAPES_PREP_H

#include "pg/conn.h"
#include "pg/snapshot.h"
#include "shapes/core/registry.h"

struct shapes;
struct job;

/* pool.c: the threads, from start to stop. */
int prep_start(struct shapes *s, struct err *e) MUST_USE;
void prep_stop(struct shapes *s);

/* keeper.c: the KEEPER, a thread that decides which shapes go when the store is at its limit, when nobody has read them for long, or
 * when their log has grown. It has no connection: nothing that Postgres does keeps it waiting. It runs only if it is wanted. */
int keeper_start(struct shapes *s, struct err *e) MUST_USE;
void keeper_stop(struct shapes *s);

/* What a PG thread has for itself: ADMIN, or CREATE. */
struct pg_thread {
	struct shapes *s;
	pthread_t self; /* nobody else uses its connections */
	bool creates;
	int index; /* among all of them */
	PGconn *admin, *snap;
	unsigned outages; /* when they were opened */
	int64_t used_ms;
	bool snapshot_open; /* begun over `snap`, and not ended: what we asked for, whatever came of it */
	bool large; /* a row above ROW_ROOM_KEPT_BYTES came over `snap` */
};

static inline bool has_oid(const uint32_t *oids, size_t n, uint32_t oid)
{
	for (size_t i = 0; i < n; i++)
		if (oids[i] == oid)
			return true;
	return false;
}

/* What follows is of the PG threads alone, unless it says otherwise. */

/* session.c: the thread's connection, opened if need be; it stays the thread's. NULL: `e`. */
PGconn *session_admin(struct pg_thread *w, struct err *e) MUST_USE;
PGconn *session_snapshot(struct pg_thread *w, struct err *e) MUST_USE;
void session_close(struct pg_thread *w);
/* Postgres is there and doesn't let us look: the stream isn't to begin again for that, over and over. */
bool session_refused(const PGconn *conn, const struct err *e);

/* queue.c. Held: the next job, NULL if there is none; whether it is time for the reconciliation, or the watch (their turn is
 * then taken, until reconcile_queued is cleared); a wait for any of this; all jobs gone. */
struct job *queue_take(struct pg_thread *w);
bool queue_reconcile(struct shapes *s);
bool queue_watch(struct shapes *s);
bool queue_guard(struct shapes *s); /* the same, until guard.queued is cleared */
void queue_wait(struct pg_thread *w);
void queue_clear(struct shapes *s);
/* Not held. */
void queue_free(struct job *j);
void queue_prepared(struct pg_thread *w); /* others may make shapes of the table it has taken, too */
void queue_quick(struct shapes *s, uint32_t oid); /* shapes of the table take little time to copy */
/* What a look costs grows with all partitions of our tables: it may take a part of the time only. One that is slow by
 * itself says nothing of that: it waited for a lock, or found no cache filled. */
void queue_rest_from_watch(struct shapes *s, int64_t began_ms);

/* lookup.c: JOB_LOOKUP, JOB_WAL_END */
void lookup_run(struct pg_thread *w, struct job *j);
void lookup_wal_end(struct pg_thread *w);
void heartbeat_send(struct pg_thread *w);

/* leaves.c: JOB_RESOLVE */
void leaves_resolve(struct pg_thread *w, struct job *j);
bool leaves_same(const struct pg_table *a, const struct pg_table *b);
/*
 * Tells INGEST (CMD_RESOLVED) whose partition `oid` is, and returns of how many; -1: it couldn't be looked up. `xid`: of the
 * transaction in which INGEST waits for this, 0 if it doesn't; then a warning names `relation`. `conn` NULL: an outage; the stream will break too, and ask
 * again.
 */
int leaves_post(struct shapes *s, PGconn *conn, uint32_t oid, uint32_t xid, const char *relation, struct err *e);
/* Rotates the shapes of all tables that have, or may have, partitions or children. */
void leaves_rotate_families(struct shapes *s, enum reason reason, const char *why);
/*
 * The stream brings a transaction as soon as it is flushed; others see what it did a little later, with a slow
 * synchronous standby much later. Until then the catalog doesn't show the partitions it made, and its rows in
 * them would go nowhere. So INGEST waits - but not for ever, for that standby may be ourselves: then the
 * shapes whose tables it may have given partitions begin again, with a snapshot that shows it.
 */
int leaves_wait_seen(struct shapes *s, PGconn *conn, uint32_t xid, struct err *e) MUST_USE;

/* claims.c: one join of a table at a time; false: another thread is at it. What is known of the last one goes to *known. */
bool claim_table(struct shapes *s, uint32_t oid, struct pg_join *known, bool *has_known) MUST_USE;
/*
 * `join`: what the join brought, NULL if it failed. The table's leaves are replaced only by whoever has
 * dealt with the difference (to `dealt_with`): an attached or detached partition must not be overlooked because
 * a new shape came with a newer view.
 */
void claim_release(struct shapes *s, struct pg_table *table, const struct pg_join *join, const struct pg_table *dealt_with);
/* Shapes of the table that were there before, except those being made. Their drops are in the writer's
 * queue when it returns, ahead of whatever is put there next. */
void claim_rotate_older(struct shapes *s, uint32_t oid, struct shape *const *keep, int nkeep, enum reason reason, const char *why);

/* create.c: JOB_CREATE */
void create_run(struct pg_thread *w, struct job *j);

/* selects.c: what the subqueries of a shape's condition select, in the snapshot that is open on `conn`; bound, the caller's. Of
 * errors ERR_REQUEST is the condition's fault. */
int selects_read(PGconn *conn, const struct shape *shape, bool (*cancelled)(void *), void *cancel_ctx, struct sets **out,
                 struct err *e) MUST_USE;

/* copy.c: the rows of one shape, over `w`'s snapshot; it is complete then, or dropped. */
int copy_shape(struct pg_thread *w, struct shape *shape, const struct pg_snapshot *snap, bool (*cancelled)(void *), void *cancel_ctx,
               struct err *e) MUST_USE;

/* misfit.c: rotates the shapes that the table as it is now doesn't bear; those that stay have the schema header of now. If any
 * had another one, the reconciliation looks again, at once. */
void misfits_rotate(struct shapes *s, struct pg_table *now);

/* inspect.c: JOB_LOOK */
void inspect_run(struct pg_thread *w, struct job *j);
/* The catalog's view of a table that has shapes, which end if they don't fit it: *now is the caller's, NULL if the table is
 * gone. -1: an outage. */
int inspect_table(struct shapes *s, PGconn *conn, struct pg_table *was, struct pg_table **now, struct err *e) MUST_USE;
/* The table's record has columns that are NOT NULL, or not, as `now` has it, which is younger than what it has. */
void table_renew(struct shapes *s, struct pg_table *now);

/* reconcile.c: all tables, or one that has shapes: catalog, partitions, publication. -1: an outage, try again later. */
void reconcile_run(struct pg_thread *w);
int reconcile_table(struct pg_thread *w, struct pg_table *was, struct err *e) MUST_USE;

/* watch.c: the look each second; JOB_GROUND */
void watch_run(struct pg_thread *w);
void watch_ground(struct pg_thread *w, struct job *j);

/* guard.c: a look at the slot, and what that calls for; returns after how many ms the next one is due. */
int64_t guard_run(struct pg_thread *w);

/* evict.c */
void evict_run(struct shapes *s);

/* subset.c: threads with a connection each, at most `threads`. */
int subsets_start(struct shapes *s, int threads, struct err *e) MUST_USE;
void subsets_stop(struct shapes *s); /* every query's end has been told before */

/* tables.c */
bool prep_stopping(void *engine); /* for what asks whether to go on; any thread */
/* True if the shape shows the column of a table that it names, has it in its key, or its condition looks at it. `column` is an
 * index into shape_def_table(). */
bool shape_uses(const struct shape *s, uint32_t oid, uint16_t column);
bool condition_uses(const struct shape_def *d, uint32_t oid, uint16_t column); /* the last of these */
/* They name the same tables, as the same descriptions have them: their shapes may share a snapshot. */
bool same_tables(const struct shape_def *a, const struct shape_def *b);
/* Puts the table's record into the writer's queue; with registry_lock held. */
void table_save(struct shapes *s, const struct table_state *t);

/* ground.c */
/* Before a snapshot begins, for ground_born(). */
uint64_t ground_version(struct shapes *s, uint32_t oid);
/* What a snapshot of a table is measured by. */
struct ground_since {
	uint64_t version;          /* ground_version() before it began */
	uint32_t publication_xmin; /* as the table's join saw it… */
	uint32_t publication_rel_oid; /* …and this */
};
/*
 * In a snapshot that is taken: its shapes stand on what it shows of the publication and of each of their tables; older ones
 * that don't bear the difference rotate. `since`: of each table. 1: take the snapshot again. GROUND_JOIN: the publication was
 * altered, or a table left it and came back, since it joined: join all again, then take the snapshot. -1: not everything
 * is published (ERR_CONFIG), or an error. But for 0 `failed` is the table that it is about.
 */
#define GROUND_JOIN 2
int ground_born(struct shapes *s, PGconn *snap, struct pg_snapshot_tables *tables, const struct ground_since *since,
                struct shape *const *shapes, int n, struct err *e) MUST_USE;
/* One look at the ground of all tables with shapes; what doesn't bear the difference rotates. *gone: those that don't
 * exist any more, the caller's to free, also after an error. PG threads. */
int ground_look(struct shapes *s, PGconn *conn, uint32_t **gone, size_t *ngone, struct err *e) MUST_USE;

#endif
