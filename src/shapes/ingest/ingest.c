/*
 * ingest.c - the INGEST thread: the sink of the replication stream.
 *
 * A transaction's changes are routed to the shapes of their table, rendered once per format, and kept
 * until the commit; then each touched shape's tail is published (readers see it at once, waiting
 * clients are woken) and the writer gets the same rows to make them durable. The order, asserted
 * where it happens: the mark covers it -> tails -> wake; and, independently, store commit -> feedback.
 *
 * Transactions too large for memory are staged: their rows go straight into blocks that no reader
 * looks at until the commit is durable (docs/invariants.md 2.8).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "shapes/core/engine.h"
#include "shapes/core/items.h"
#include "shapes/core/jobs.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/inner.h"
#include "shapes/core/sets.h"
#include "shapes/ingest/route.h"
#include "shapes/ingest/sink.h"
#include "shapes/logs/writer.h"
#include "shapes/routing/render.h"

/* The durable LSN moves to a keepalive's position at most this often: an fsync each. */
#define KEEPALIVE_COMMIT_MS 1000

/* Staged lines queued for the writer; at the limit the stream waits. */
#define STAGED_AHEAD_BYTES_MAX (16u << 20)

/* How far delivery may run ahead of the disk; at the limit the stream waits. */
#define AHEAD_BYTES_MAX (32u << 20)

#define LINE_BYTES_MAX (1200u << 20) /* a row of Postgres is below 1 GB, and escaping may lengthen it */

/* ---- changes ------------------------------------------------------------------------------------------ */

/* Asks a PG thread whose partition this is; the stream waits meanwhile. The transaction may have made it one. */
static void resolve(struct shapes *s, const struct relation *r)
{
	struct job *j = mem_zalloc(sizeof *j);
	j->kind = JOB_RESOLVE;
	j->oid = r->oid;
	snprintf(j->relation, sizeof j->relation, "%s.%s", r->schema, r->name);
	j->xid = s->ingest->xid;
	s->ingest->resolving = r->oid;
	s->ingest->resolve_until_ms = clock_mono_ms() + LOOK_WAIT_MS;
	job_post(s, j);
}

static void change_for_route(struct shapes *s, struct route *route, const struct relation *rel, const struct wal_change *c)
{
	if (route != NULL && route->watched != NULL)
		inner_change(s, route, rel, c);
	if (route != NULL && (route->loose != NULL || route->held != NULL))
		keys_hold(s, route, rel, c);
	else
		row_for_route(s, route, rel, c);
}

/* ELECTRIC_EXPERIMENTAL_MAX_TXN_SIZE, if set: the shapes that such a transaction touches rotate. */
static void count_bytes(struct shapes *s, const struct wal_change *c)
{
	struct ingest *in = s->ingest;
	const struct wal_tuple *tuples[] = {&c->u.row.old_tuple, &c->u.row.new_tuple};
	for (size_t k = 0; k < ARRAY_LEN(tuples); k++) {
		if ((k == 0 && c->kind == WAL_INSERT) || (k == 1 && c->kind == WAL_DELETE))
			continue;
		for (uint16_t i = 0; i < tuples[k]->ncolumns; i++)
			in->wire_bytes += tuples[k]->values[i].len + 5;
	}
	if (in->oversize || in->wire_bytes <= s->config->max_txn_bytes)
		return;
	in->oversize = true;
	log_seldom(LOG_WARNING, log_repeat_key(0, "oversize", 8), "Collected transaction exceeds limit of %" PRId64 " bytes. The shapes it "
	           "touches are rotated.", s->config->max_txn_bytes);
	for (size_t i = 0; i < in->ntouched; i++)
		if (in->touched[i]->n > 0 || in->touched[i]->staged)
			txn_rotate(in, in->touched[i]->shape, REASON_LIMIT_TRANSACTION,
			           "a transaction exceeded ELECTRIC_EXPERIMENTAL_MAX_TXN_SIZE");
}

static int row_change(struct shapes *s, const struct wal_change *c, struct err *e)
{
	struct ingest *in = s->ingest;
	if (s->config->max_txn_bytes > 0)
		count_bytes(s, c);
	in->change_number++;
	metric_add(METRIC_CHANGES, 1);
	struct route *route = route_get(in, c->u.row.relation_oid, false);
	const struct leaf *leaf = in->nroots > 0 ? leaf_get(in, c->u.row.relation_oid) : NULL;
	if (route != NULL || leaf != NULL) {
		struct relation *rel = relation_of(in, c->u.row.relation_oid);
		if (rel == NULL)
			return err_set(e, ERR_PROTOCOL, "a change of relation %u came before its description", c->u.row.relation_oid);
		change_for_route(s, route, rel, c);
		for (size_t i = 0; leaf != NULL && i < leaf->n; i++)
			change_for_route(s, route_get(in, leaf->roots[i], false), rel, c);
		if (in->ncostly > 0)
			select_dismiss(s);
	}
	in->op += 2;
	txn_bound(s);
	keys_bound(s);
	return 0;
}

static void truncate_route(struct ingest *in, struct route *route)
{
	for (size_t j = 0; route != NULL && j < route->n; j++)
		if (!txn_filtered(in, route->shapes[j]))
			txn_rotate(in, route->shapes[j], REASON_TABLE_TRUNCATED, "the table was truncated");
	if (route != NULL)
		inner_rotate(in, route, REASON_TABLE_TRUNCATED, "a table in its condition was truncated");
}

static void truncate_change(struct shapes *s, const struct wal_change *c)
{
	struct ingest *in = s->ingest;
	for (uint32_t i = 0; i < c->u.truncate.count; i++, in->op += 2) {
		uint32_t oid = c->u.truncate.relation_oids[i];
		truncate_route(in, route_get(in, oid, false));
		const struct leaf *leaf = leaf_get(in, oid);
		for (size_t j = 0; leaf != NULL && j < leaf->n; j++)
			truncate_route(in, route_get(in, leaf->roots[j], false));
	}
}

/* Noticed by the stream: start() rotates all, and begins where the slot stands. */
static int other_history(struct ingest *in, const struct err *e)
{
	free(in->other_history);
	in->other_history = mem_strdup(e->text);
	in->other_reason = REASON_DATABASE_CHANGED;
	return -1;
}

static int begin(struct shapes *s, const struct wal_change *c, struct err *e)
{
	struct ingest *in = s->ingest;
	if (in->in_txn)
		return err_set(e, ERR_PROTOCOL, "a transaction began inside another");
	in->in_txn = true;
	in->txn_number++;
	in->xid = c->u.begin.xid;
	in->tx = c->u.begin.final_lsn;
	in->op = 0;
	/* Replays: by commit position and `<`; a position that was durable may be the next commit's own. */
	in->skip = in->tx < in->processed;
	in->commit_us = c->u.begin.commit_time_us;
	struct commit sent = {in->tx, in->commit_us, in->xid};
	return commits_sent(&in->commits, &sent, in->skip, e) == 0 ? 0 : other_history(in, e);
}

static int commit(struct shapes *s, const struct wal_change *c, struct err *e)
{
	struct ingest *in = s->ingest;
	REQUIRE(ingest_is_mine(in));
	if (!in->in_txn || c->u.commit.commit_lsn != in->tx || c->u.commit.end_lsn <= in->tx)
		return err_set(e, ERR_PROTOCOL, "a commit that belongs to no transaction");
	if (in->skip) {
		passed_add_again(in, in->xid);
		txn_clear(in);
		return 0;
	}
	if (in->op > 0) /* PostgreSQL 14 sends those of others, too, and all send our own heartbeat */
		idle_touch(s);
	keys_commit(s);
	counts_commit(in);
	in->end_lsn = c->u.commit.end_lsn;
	in->ending = true;
	in->arrived_us = clock_wall_us();
	metric_observe(METRIC_E_RECEIVE_LAG, in->arrived_us - clock_of_postgres_us(in->commit_us));
	txn_try_finish(s);
	in->arrived_us = 0;
	return 0;
}

static int on_change(void *ctx, const struct wal_change *c, struct err *e)
{
	struct shapes *s = ctx;
	struct ingest *in = s->ingest;
	if (in->unresolved)
		return err_set(e, ERR_PG_CONN, "cannot look into the catalog; starting again from what is durable");
	bool inside = c->kind == WAL_COMMIT || c->kind == WAL_INSERT || c->kind == WAL_UPDATE || c->kind == WAL_DELETE ||
	              c->kind == WAL_TRUNCATE;
	if (inside && !in->in_txn)
		return err_set(e, ERR_PROTOCOL, "a change ('%c') outside a transaction", c->kind);
	switch (c->kind) {
	case WAL_BEGIN:
		return begin(s, c, e);
	case WAL_COMMIT:
		return commit(s, c, e);
	case WAL_RELATION:
		look_at_relation(s, &c->u.relation);
		relation_put(s, &c->u.relation);
		struct relation *r = relation_of(in, c->u.relation.oid);
		r->looked = !in->looking;
		if (!r->resolved && in->nroots > 0)
			resolve(s, r);
		return 0;
	case WAL_INSERT:
	case WAL_UPDATE:
	case WAL_DELETE:
		return in->skip ? 0 : row_change(s, c, e);
	case WAL_TRUNCATE:
		if (!in->skip)
			truncate_change(s, c);
		return 0;
	case WAL_MESSAGE:
		heartbeat_came(s, c);
		return 0;
	default:
		return 0;
	}
}

/* A PG thread is asking whose partition a relation is. It may be talking to a server that doesn't answer. */
static bool resolve_awaited(struct ingest *in)
{
	if (in->resolving == 0 || clock_mono_ms() <= in->resolve_until_ms)
		return in->resolving != 0;
	const struct relation *r = relation_of(in, in->resolving);
	log_warning("Nobody could look up within %d s whose partition relation %s.%s is: the stream starts again", LOOK_WAIT_MS / 1000,
	            r != NULL ? r->schema : "", r != NULL ? r->name : "");
	in->resolving = 0;
	in->unresolved = true;
	return false;
}

/* ---- the rest of the sink -------------------------------------------------------------------------------- */

static bool looks_awaited(struct shapes *s)
{
	if (look_overdue(s->ingest)) {
		look_give_up(s);
		cmd_run_all(s); /* their drops */
	}
	return s->ingest->looking;
}

/* For the WAL guard: what keeps us from reading. */
static bool held(struct shapes *s, enum guard_hold why)
{
	guard_held(s, why);
	return false;
}

static bool on_ready(void *ctx)
{
	struct shapes *s = ctx;
	struct ingest *in = s->ingest;
	if (resolve_awaited(in))
		return held(s, GUARD_HOLD_PARTITION);
	if (ground_awaited(s))
		return held(s, GUARD_HOLD_GROUND);
	if (looks_awaited(s))
		return held(s, GUARD_HOLD_LOOK);
	size_t ahead_max = in->staged ? STAGED_AHEAD_BYTES_MAX : AHEAD_BYTES_MAX;
	bool ready = txn_try_finish(s) && atomic_load(&s->ahead_bytes) < ahead_max && atomic_load(&s->writer.journal_bytes) < JOURNAL_BYTES_MAX;
	return ready || held(s, GUARD_HOLD_STORE);
}

/* A position from which nothing is to come: durable first, then acknowledged. */
static void keepalive_poll(struct shapes *s)
{
	struct ingest *in = s->ingest;
	int64_t now = clock_mono_ms();
	/* What makes a snapshot safe isn't kept waiting. */
	bool urgent = in->snapshots_lsn > in->processed && in->keepalive >= in->snapshots_lsn;
	if (in->keepalive == 0 || in->in_txn || (!urgent && now - in->keepalive_ms < KEEPALIVE_COMMIT_MS))
		return;
	if (in->keepalive > in->processed) {
		in->processed = in->keepalive;
		writer_put(s, item_lsn_new(in->processed));
	}
	in->keepalive = 0;
	in->keepalive_ms = now;
}

static void on_idle(void *ctx)
{
	struct shapes *s = ctx;
	struct ingest *in = s->ingest;
	status_poll(s);
	cmd_run_all(s);
	if (in->ending)
		txn_try_finish(s);
	keepalive_poll(s);
	heartbeat_poll(s);
	/* Until the stream has passed a snapshot, a restart of Postgres costs its shapes: on an idle server
	 * nothing but a keepalive says that it has. */
	bool unsafe = in->snapshots_lsn > in->processed && in->snapshots_lsn > in->keepalive;
	if (in->streaming && !in->in_txn && (unsafe || in->commits.comparing))
		stream_ask(s->stream);
	mark_idle(s);
	idle_poll(s);
}

static int on_keepalive(void *ctx, lsn_t wal_end, struct err *e)
{
	struct shapes *s = ctx;
	struct ingest *in = s->ingest;
	if (in->unresolved)
		return err_set(e, ERR_PG_CONN, "cannot look into the catalog; starting again from what is durable");
	if (!in->in_txn && commits_passed(&in->commits, wal_end, in->processed, e) != 0)
		return other_history(in, e);
	bool ahead = !in->in_txn && wal_end > in->processed;
	if (ahead)
		in->keepalive = wal_end;
	if (idle_state(&s->idle) == IDLE_WAKING) /* requests wait for this */
		idle_poll(s);
	if (!ahead)
		return 0;
	/* The next record starts there, so all below has been seen; but no further than the mark allows: a
	 * position alone isn't worth an fsync. */
	mark_poll(s);
	if (wal_end - 1 <= in->mark_limit)
		mark_set_seen(s, wal_end - 1);
	else if (in->mark_limit == in->mark_wanted && (!in->mark_idle || mark_awaited(s)))
		mark_request(s, lsn_add(wal_end, MARK_STEP_BYTES));
	keepalive_poll(s);
	return 0;
}

static lsn_t on_durable(void *ctx)
{
	struct shapes *s = ctx;
	/* As long as it isn't known whose history this is, the slot stays where it is: what is there to compare must be
	 * there again for the next process, should this one end before all that is wrong is gone durably. */
	return s->ingest->commits.comparing || s->ingest->other_history != NULL ? 0 : atomic_load(&s->durable);
}

static void on_lost(void *ctx)
{
	struct shapes *s = ctx;
	struct ingest *in = s->ingest;
	atomic_fetch_add(&s->outages, 1);
	in->streaming = in->unresolved = in->grounding = in->looking = false;
	in->resolving = 0;
	if (in->ending) {
		/* Complete: what was read of it is all there is. It is finished by on_idle(). */
		return;
	}
	if (in->staged)
		txn_unstage(s);
	txn_clear(in);
	in->keepalive = 0;
}

static void on_phase(void *ctx, enum stream_phase phase, const char *error)
{
	struct shapes *s = ctx;
	status_phase(s, phase, error);
	if (phase != STREAM_RUNNING)
		return;
	/* What happened to our tables while we were away is looked at at once. */
	jobs_reconcile_now(s);
	jobs_guard_now(s);
}

static void on_waits(void *ctx, enum stream_wait wait) { status_wait(ctx, wait); }

/* ---- the thread ---------------------------------------------------------------------------------------------- */

void ingest_new(struct shapes *s)
{
	s->ingest = mem_zalloc(sizeof *s->ingest);
	buf_init(&s->ingest->scratch, LINE_BYTES_MAX);
}

void ingest_restore_snapshot(struct shape *shape, struct pg_snapshot *snap)
{
	shape->in.filter.snap = *snap;
	snap->xip = NULL;
	snap->nxip = 0;
	shape->in.filter.known = true;
}

void ingest_restore_open(struct shape *shape, uint64_t bytes) { shape->in.open_bytes = bytes; }

void ingest_restore_entry(struct shape *shape, const struct line *line, uint32_t flags)
{
	if (flags & ENTRY_CHUNK_END)
		shape->in.open_bytes = 0;
	else
		shape->in.open_bytes += line->len + (flags & ENTRY_LAST ? (uint32_t)LINE_LAST_LEN : 0u);
}

int ingest_restore_commits(struct shapes *s, const void *p, size_t len, struct err *e)
{
	return commits_decode(&s->ingest->commits, p, len, e);
}

void ingest_forget_commits(struct shapes *s) { s->ingest->commits.n = 0; }

int ingest_adopt(struct shapes *s, struct shape *shape, struct err *e)
{
	int rc = route_add_shape(s, shape, e);
	if (shape->sets != NULL)
		sets_unbind(shape->sets);
	return rc;
}

void ingest_adopt_table(struct shapes *s, const struct pg_table *t) { leaf_add_all(s->ingest, t); }

void ingest_set_processed(struct shapes *s, lsn_t lsn)
{
	s->ingest->processed = lsn;
	s->ingest->mark_limit = s->ingest->mark_wanted = atomic_load(&s->mark);
}

static void *ingest_main(void *arg)
{
	struct shapes *s = arg;
	struct err e = {0};
	s->ingest->owner = pthread_self();
	s->ingest->owned = true;
	counts_restore(s);
	if (stream_run(s->stream, &e) != 0) {
		s->ingest->streaming = false;
		status_fatal(s, &e);
		/* Known shapes are served until main has decided; commands still get their answers. */
		while (!atomic_load(&s->ingest_quit)) {
			cmd_run_all(s);
			struct timespec ts = {0, 50 * 1000000};
			nanosleep(&ts, NULL);
		}
	}
	return NULL;
}

struct stream_sink ingest_sink(struct shapes *s)
{
	return (struct stream_sink){
		.ctx = s, .start = ingest_on_start, .change = on_change, .keepalive = on_keepalive, .ready = on_ready,
		.idle = on_idle, .durable = on_durable, .lost = on_lost, .phase = on_phase, .waits = on_waits,
	};
}

int ingest_start(struct shapes *s, struct err *e)
{
	struct stream_sink sink = ingest_sink(s);
	s->stream = stream_new(s->config, &sink);
	s->ingest->delivered_ms = clock_mono_ms();
	int rc = pthread_create(&s->ingest_thread, NULL, ingest_main, s);
	if (rc != 0)
		return err_errno(e, rc, "cannot start the ingest thread");
	s->ingest_started = true;
	return 0;
}

/* After the PG threads have ended: nobody calls, and the last posts are run here. */
void ingest_stop(struct shapes *s)
{
	if (!s->ingest_started)
		return;
	atomic_store(&s->ingest_quit, true);
	stream_stop(s->stream);
	pthread_join(s->ingest_thread, NULL);
	s->ingest_started = s->ingest->owned = false;
	s->ingest->streaming = false;
	cmd_run_all(s);
	if (s->ingest->staged && !s->ingest->ending)
		txn_unstage(s);
	txn_clear(s->ingest);
}

/* What the writer, who ended last, still asked for. Nobody waits for it: all who could have ended before. */
static void release_commands(struct shapes *s)
{
	for (struct cmd *c; s->ingest != NULL && (c = cmd_take(s)) != NULL; cmd_done(s, c)) {
		for (int i = 0; i < c->nshapes; i++) {
			route_remove_shape(s, c->shapes[i]);
			if (c->kind == CMD_DROP && !c->shapes[i]->in.drop_put)
				shape_unref(c->shapes[i]); /* the engine's own reference, which the drop's item would let go */
		}
	}
}

/* At the very end: the shapes let go of formats, so that they can be freed. */
void ingest_release(struct shapes *s)
{
	struct shape *shape;
	release_commands(s);
	for (size_t i = 0; s->ingest != NULL && (shape = map_next(&s->by_handle, &i)) != NULL;)
		route_remove_shape(s, shape);
}

void ingest_free(struct shapes *s)
{
	struct ingest *in = s->ingest;
	if (in == NULL)
		return;
	keys_clear(in);
	struct relation *rel;
	for (size_t i = 0; (rel = map_next(&in->relations, &i)) != NULL;)
		relation_free(rel);
	struct passed_page *p;
	for (size_t i = 0; (p = map_next(&in->passed, &i)) != NULL;)
		free(p);
	struct route *r;
	for (size_t i = 0; (r = map_next(&in->routes, &i)) != NULL;) {
		free(r->shapes);
		free(r->plain);
		free(r->watches);
		free(r);
	}
	struct leaf *leaf;
	for (size_t i = 0; (leaf = map_next(&in->leaves, &i)) != NULL;) {
		free(leaf->roots);
		free(leaf);
	}
	map_clear(&in->leaves);
	map_clear(&in->relations);
	map_clear(&in->passed);
	map_clear(&in->routes);
	map_clear(&in->formats);
	buf_clear(&in->scratch);
	txn_free(in);
	arena_clear(&in->held_rows);
	free(in->touched);
	free(in->hits);
	free(in->watch_hits);
	free(in->costly);
	commits_clear(&in->commits);
	free(in->other_history);
	passed_free(in);
	free(in->look_oids);
	free(in);
	s->ingest = NULL;
}
