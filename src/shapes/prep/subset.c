/*
 * subset.c - subset queries: part of a shape's rows in one snapshot, straight to the client that asks.
 *
 * A few threads of their own, a connection each, so that slow queries and slow clients can't keep shapes
 * from being made. A thread holds few rows: it waits for its client to take them, for a bounded time.
 *
 * A client merges what it gets with the log: it leaves out changes that the snapshot shows. For this to be
 * right the snapshot must show all that the stream had passed before (INGEST says whether it does), its
 * database_lsn must be above every commit it shows, and what it shows counts for the mark.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "base/lock_order.h"
#include "base/log.h"
#include "base/mem.h"
#include "pg/message.h"
#include "shapes/core/cache.h"
#include "shapes/core/cmds.h"
#include "shapes/core/def.h"
#include "shapes/core/engine.h"
#include "shapes/core/registry.h"
#include "shapes/core/sets.h"
#include "shapes/logs/writer.h"
#include "shapes/prep/prep.h"
#include "shapes/routing/keys.h"
#include "shapes/routing/row.h"

#define SUBSET_QUEUE_MAX 1000
/* Rows kept for one client; for all together: BUSBAR_SUBSET_MEMORY, beyond which only clients that have taken all they had get
 * more. */
#define SUBSET_BUFFER_BYTES (1u << 20)
/* The same while others wait for a session: what fits lets go of the client's. */
#define SUBSET_BUFFER_WAITED_BYTES (8u << 20)
#define SUBSET_PIECE_BYTES (64u << 10)
#define SUBSET_ROW_BYTES_MAX ((size_t)2 << 30)
/* A client that takes nothing for so long, or is waited for so long in all, loses its query. */
#define SUBSET_STALL_MAX_MS 10000
#define SUBSET_SLOW_MAX_MS 120000
#define SUBSET_OTHERS_WAIT_MS 500
#define SUBSET_SLOW_WAITED_MS 20000 /* in all, while others wait: for a slow client nobody else waits two minutes */
#define SUBSET_TIME_MAX_MS 600000
#define SUBSET_RETAKE_MAX_MS 20000
#define SUBSET_SQL_BYTES_MAX (8u << 20) /* of the shape's condition; the statement as a whole is bounded by pg */
#define LOOK_MS 100
#define CONNECTION_LOOK_MS 1000 /* whether one that nobody uses is to be closed */
/* A subset of a shape with subqueries waits so long for the stream; longer, it is far behind. */
#define SUBSET_PASS_MAX_MS 10000
#define SUBSET_FLUSH_LOOK_MS 200 /* so often it is looked at whether what it waits for can come at all */
/* Of WAL, as Postgres is built unless told otherwise; with others a subset waits for the next record. */
#define WAL_PAGE_BYTES 8192
#define WAL_PAGE_HEADER 24
#define WAL_PAGE_LONG_HEADER 40
#define SNAPSHOT_MARK_MASK 0x7fffffffu

struct subset {
	_Atomic uint32_t refs; /* the caller's, and the queue's or the thread's */
	struct subsets *all;
	struct subset *next;   /* in its asker's queue */
	uint64_t from;
	struct shape_def def;
	struct shape *shape;   /* of a shape with subqueries, whose sets it has; else NULL */
	char *where, *order_by;
	bool guarded;          /* spec.where_may_fail */
	int64_t limit, offset;
	_Atomic bool cancelled;

	/* the thread's until it tells of rows, then constant */
	struct pg_snapshot snap;
	uint32_t mark;

	pthread_mutex_t lock;
	pthread_cond_t room;
	/* under lock */
	struct wait_list waiters;
	enum subset_state state;
	struct buf rows; /* rows[taken..) are there for the client */
	size_t taken;
	struct err err;
};

/* Who asks, by address, and has queries that wait. */
struct asker {
	struct asker *next;
	uint64_t from;
	struct subset *head, **tail;
};

struct subsets {
	struct shapes *engine;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	/* under lock */
	struct asker *first, **last; /* the next free thread takes a query of the first, who then goes to the end */
	size_t waiting;
	_Atomic int64_t waiting_since_ms; /* without a pause, 0: nobody waits; read without the lock, too */
	int64_t query_ms; /* what one took lately, on the average */
	bool stop;

	int nthreads;
	pthread_t threads[16];
};

/* ---- the caller's side ---- */

static void subset_unref(struct subset *q)
{
	if (atomic_fetch_sub_explicit(&q->refs, 1, memory_order_acq_rel) != 1)
		return;
	atomic_fetch_sub(&q->all->engine->subset_bytes, q->rows.len - q->taken);
	atomic_fetch_sub(&q->all->engine->subsets_open, 1);
	shape_def_clear(&q->def);
	shape_unref(q->shape);
	pg_snapshot_clear(&q->snap);
	buf_clear(&q->rows);
	free(q->where);
	free(q->order_by);
	pthread_cond_destroy(&q->room);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

static struct subset *subset_new(struct subsets *all, const struct subset_spec *spec)
{
	struct subset *q = mem_zalloc(sizeof *q);
	atomic_init(&q->refs, 2);
	q->all = all;
	atomic_fetch_add(&all->engine->subsets_open, 1);
	shape_def_copy(&q->def, spec->def);
	if (q->def.has_subqueries)
		q->shape = shape_ref(spec->shape);
	q->where = spec->where != NULL ? mem_strdup(spec->where) : NULL;
	q->guarded = spec->where_may_fail;
	q->order_by = spec->order_by != NULL ? mem_strdup(spec->order_by) : NULL;
	q->limit = spec->limit;
	q->offset = spec->offset;
	q->from = spec->from;
	pthread_mutex_init(&q->lock, NULL);
	lock_rank(&q->lock, LOCK_QUERY);
	pthread_cond_init(&q->room, NULL);
	wait_list_init(&q->waiters, &q->lock);
	buf_init(&q->rows, SUBSET_ROW_BYTES_MAX);
	return q;
}

/* ---- the queue: with its lock held ---- */

static void push(struct subsets *all, struct subset *q)
{
	lock_held(&all->lock);
	struct asker *a = all->first;
	while (a != NULL && a->from != q->from)
		a = a->next;
	if (a == NULL) {
		a = mem_zalloc(sizeof *a);
		a->from = q->from;
		a->tail = &a->head;
		*all->last = a;
		all->last = &a->next;
	}
	*a->tail = q;
	a->tail = &q->next;
	if (all->waiting++ == 0)
		atomic_store(&all->waiting_since_ms, clock_mono_ms());
}

/* Takes it out where it is, and its asker if that was the last. */
static void take_out(struct subsets *all, struct asker **asker, struct subset **at)
{
	lock_held(&all->lock);
	struct asker *a = *asker;
	*at = (*at)->next;
	if (*at == NULL)
		a->tail = at;
	if (--all->waiting == 0)
		atomic_store(&all->waiting_since_ms, 0);
	if (a->head != NULL)
		return;
	*asker = a->next;
	if (*asker == NULL)
		all->last = asker;
	free(a);
}

/* Turn and turn about: who asks for much waits for himself, whoever else has asked. */
static struct subset *pop(struct subsets *all)
{
	lock_held(&all->lock);
	struct asker *a = all->first;
	if (a == NULL)
		return NULL;
	struct subset *q = a->head;
	bool more = q->next != NULL;
	take_out(all, &all->first, &a->head);
	if (more && a->next != NULL) {
		all->first = a->next;
		a->next = NULL;
		*all->last = a;
		all->last = &a->next;
	}
	return q;
}

struct subset *shapes_subset_start(struct shapes *s, const struct subset_spec *spec)
{
	struct subsets *all = s->subsets;
	struct subset *q = NULL;
	pthread_mutex_lock(&all->lock);
	if (all->waiting < SUBSET_QUEUE_MAX) {
		q = subset_new(all, spec);
		push(all, q);
		pthread_cond_signal(&all->cond);
	}
	pthread_mutex_unlock(&all->lock);
	idle_wake(s, "a subset is asked for");
	return q;
}

int64_t shapes_subset_wait_ms(struct shapes *s)
{
	struct subsets *all = s->subsets;
	pthread_mutex_lock(&all->lock);
	int64_t wait_ms = (int64_t)all->waiting * all->query_ms / (all->nthreads > 0 ? all->nthreads : 1);
	pthread_mutex_unlock(&all->lock);
	return wait_ms;
}

/* Out of the queue, if no thread has it yet. */
static bool unqueue(struct subset *q)
{
	struct subsets *all = q->all;
	pthread_mutex_lock(&all->lock);
	struct asker **asker = &all->first;
	while (*asker != NULL && (*asker)->from != q->from)
		asker = &(*asker)->next;
	struct subset **at = *asker == NULL ? NULL : &(*asker)->head;
	while (at != NULL && *at != NULL && *at != q)
		at = &(*at)->next;
	bool found = at != NULL && *at != NULL;
	if (found)
		take_out(all, asker, at);
	pthread_mutex_unlock(&all->lock);
	return found;
}

void subset_free(struct subset *q)
{
	if (q == NULL)
		return;
	atomic_store(&q->cancelled, true);
	pthread_mutex_lock(&q->lock);
	bool queued = q->state == SUBSET_QUEUED;
	pthread_cond_signal(&q->room);
	pthread_mutex_unlock(&q->lock);
	if (queued && unqueue(q))
		subset_unref(q);
	subset_unref(q);
}

enum subset_state subset_look(struct subset *q, struct waiter *w, struct err *e)
{
	pthread_mutex_lock(&q->lock);
	enum subset_state state = q->state;
	if (state == SUBSET_FAILED)
		*e = q->err;
	else if (state == SUBSET_QUEUED || state == SUBSET_RUNNING)
		wait_list_add(&q->waiters, w);
	pthread_mutex_unlock(&q->lock);
	return state;
}

void subset_metadata(const struct subset *q, struct buf *out)
{
	buf_printf(out, "{\"xmin\":\"%" PRIu64 "\",\"xmax\":\"%" PRIu64 "\",\"xip_list\":[", q->snap.xmin, q->snap.xmax);
	for (uint32_t i = 0; i < q->snap.nxip; i++)
		buf_printf(out, "%s\"%" PRIu64 "\"", i > 0 ? "," : "", q->snap.xip[i]);
	buf_printf(out, "],\"database_lsn\":\"%" PRIu64 "\",\"snapshot_mark\":%" PRIu32 "}", (uint64_t)q->snap.insert_lsn, q->mark);
}

/* How many of n bytes of lines to give: whole lines, at least one. */
static size_t whole_lines(const char *p, size_t n, size_t max)
{
	if (n <= max)
		return n;
	const char *end = memrchr(p, '\n', max);
	if (end == NULL)
		end = memchr(p + max, '\n', n - max);
	return end == NULL ? n : (size_t)(end + 1 - p);
}

enum subset_state subset_next(struct subset *q, struct buf *out, size_t max, struct waiter *w, struct err *e)
{
	pthread_mutex_lock(&q->lock);
	enum subset_state state = q->state;
	size_t left = q->rows.len - q->taken;
	if (state == SUBSET_FAILED) {
		*e = q->err;
	} else if (left > 0) {
		size_t n = whole_lines(q->rows.data + q->taken, left, max);
		state = SUBSET_ROWS;
		buf_put(out, q->rows.data + q->taken, n);
		q->taken += n;
		if (q->taken == q->rows.len) {
			buf_clear(&q->rows);
			q->taken = 0;
		}
		atomic_fetch_sub(&q->all->engine->subset_bytes, n);
		pthread_cond_signal(&q->room);
	} else if (state != SUBSET_END) {
		state = SUBSET_RUNNING;
		wait_list_add(&q->waiters, w);
	}
	pthread_mutex_unlock(&q->lock);
	return state;
}

/* ---- a thread and its query ---- */

struct worker {
	struct subsets *all;
	PGconn *conn;
	unsigned outages; /* when it was opened */
	int64_t used_ms;
	/* of the query at hand */
	struct subset *q;
	struct buf piece;
	struct row_form *form;
	struct key_counts counts; /* where rows may be equal: of this query alone, which sees all that are equal */
	int64_t began_ms, waited_ms;
	bool mark_pending;
	bool large;     /* a row above ROW_ROOM_KEPT_BYTES came */
	struct err why; /* why give() refused */
};

static void tell(struct subset *q, enum subset_state state, const struct err *e)
{
	pthread_mutex_lock(&q->lock);
	REQUIRE(q->state != SUBSET_END && q->state != SUBSET_FAILED); /* the last word */
	q->state = state;
	if (e != NULL)
		q->err = *e;
	wait_list_wake_all(&q->waiters);
	pthread_mutex_unlock(&q->lock);
}

static bool given_up(const struct worker *w)
{
	return atomic_load(&w->q->cancelled) || atomic_load(&w->all->engine->stopping);
}

/* All sessions have been taken for a while, or so many ask that the queue is never empty. */
static bool others_wait(const struct subsets *all)
{
	int64_t since_ms = atomic_load(&all->waiting_since_ms);
	return since_ms != 0 && clock_mono_ms() - since_ms >= SUBSET_OTHERS_WAIT_MS;
}

/* With the query's lock held. */
static bool has_room(const struct subset *q, size_t n)
{
	lock_held(&q->lock);
	size_t left = q->rows.len - q->taken, most = others_wait(q->all) ? SUBSET_BUFFER_WAITED_BYTES : SUBSET_BUFFER_BYTES;
	return left == 0 || (left + n <= most && atomic_load(&q->all->engine->subset_bytes) + n <= (uint64_t)q->all->engine->config->subset_memory);
}

static bool wait_room(struct worker *w)
{
	struct subset *q = w->q;
	int64_t began = clock_mono_ms();
	while (!has_room(q, w->piece.len)) {
		int64_t waited = clock_mono_ms() - began;
		if (given_up(w))
			return false;
		int64_t slow_max_ms = others_wait(w->all) ? SUBSET_SLOW_WAITED_MS : SUBSET_SLOW_MAX_MS;
		if (waited >= SUBSET_STALL_MAX_MS || w->waited_ms + waited >= slow_max_ms) {
			err_set(&w->why, ERR_TIMEOUT, "the client takes the rows of a subset too slowly");
			return false;
		}
		clock_cond_wait(&q->room, &q->lock, LOOK_MS);
	}
	w->waited_ms += clock_mono_ms() - began;
	return true;
}

/* Hands the piece over, when there is room for it. false: the query is to end. */
static bool give(struct worker *w)
{
	struct subset *q = w->q;
	pthread_mutex_lock(&q->lock);
	bool given = wait_room(w);
	if (given) {
		if (q->taken > 0) {
			memmove(q->rows.data, q->rows.data + q->taken, q->rows.len - q->taken);
			q->rows.len -= q->taken;
			q->taken = 0;
		}
		atomic_fetch_add(&q->all->engine->subset_bytes, w->piece.len);
		if (q->rows.len == 0) {
			struct buf empty = q->rows;
			q->rows = w->piece;
			w->piece = empty;
		} else {
			buf_put(&q->rows, w->piece.data, w->piece.len);
		}
		REQUIRE(q->state == SUBSET_RUNNING || q->state == SUBSET_ROWS);
		q->state = SUBSET_ROWS;
		wait_list_wake_all(&q->waiters);
	}
	pthread_mutex_unlock(&q->lock);
	buf_reset(&w->piece);
	return given;
}

static int take_row(void *ctx, const struct pg_copy_value *values, struct err *e)
{
	struct worker *w = ctx;
	const struct shape_def *def = &w->q->def;
	if (def->table->nmembers > 0 && row_form_turn(w->form, values[def->nselected]) < 0) {
		err_set(e, ERR_NOT_FOUND, "the table's children changed meanwhile");
		return err_why(e, REASON_PARTITION_CHANGED);
	}
	size_t before = w->piece.len;
	row_put(w->form, values, &w->piece);
	w->large = w->large || w->piece.len - before > ROW_ROOM_KEPT_BYTES;
	if (w->piece.failed)
		return err_set(e, ERR_LIMIT, "a row is too large for a subset");
	if (w->q->def.table->keys == PG_KEYS_COUNTED && key_counts_charge(&w->counts, &w->all->engine->keys_counted, w->q->def.table, e) != 0)
		return -1;
	if (w->piece.len < SUBSET_PIECE_BYTES || give(w))
		return 0;
	return err_set(e, ERR_CANCELLED, "the subset query was given up");
}

/* Asked whenever nothing comes for a moment: then what is there is handed over. */
static bool is_over(void *ctx)
{
	struct worker *w = ctx;
	if (given_up(w))
		return true;
	if (clock_mono_ms() - w->began_ms >= SUBSET_TIME_MAX_MS) {
		err_set(&w->why, ERR_TIMEOUT, "the subset query took longer than %d s", SUBSET_TIME_MAX_MS / 1000);
		return true;
	}
	return w->piece.len > 0 && !give(w);
}

static PGconn *connection(struct worker *w, struct err *e)
{
	unsigned outages = atomic_load(&w->all->engine->outages);
	if (w->conn != NULL && (w->outages != outages || !pg_is_connected(w->conn)))
		pg_disconnect(&w->conn);
	if (w->conn == NULL)
		w->conn = pg_connect(w->all->engine->config, PG_ROLE_SNAPSHOT, e);
	w->outages = outages;
	return w->conn;
}

/* 1: take it again. */
static int take_once(struct worker *w, struct err *e)
{
	struct shapes *s = w->all->engine;
	struct subset *q = w->q;
	/* Its own table alone: the shape's subqueries are constants by now. */
	struct pg_snapshot_tables tables = {.list = &q->def.table, .n = 1};
	PGconn *conn = connection(w, e);
	int locks = conn == NULL ? -1 : pg_snapshot_begin(conn, &tables, e);
	if (locks < 0)
		return -1;
	struct cmd c = {.kind = CMD_SUBSET_BEGIN};
	bool streaming = cmd_call(s, &c) == 0;
	struct server_id server = server_id(s);
	int rc = streaming && locks == 1 ? pg_snapshot_lock_columns(conn, &tables, e) : streaming ? 0 : -1;
	bool again = rc == 1;
	if (rc == 0)
		rc = pg_snapshot_take(conn, &tables, server.system_id, server.timeline, &q->snap, e);
	struct cmd end = {.kind = CMD_SUBSET_END, .snap = rc == 0 ? &q->snap : NULL, .joined = c.joined};
	int shows = cmd_call(s, &end);
	w->mark_pending = end.mark_pending;
	if (rc != 0 && streaming)
		return again ? 1 : -1;
	return shows < 0 ? err_set(e, ERR_PG_CONN, "the replication stream is away") : shows;
}

static void end_transaction(struct worker *w)
{
	struct err ignored;
	if (w->conn != NULL && pg_snapshot_end(w->conn, &ignored) != 0)
		pg_disconnect(&w->conn);
}

static int take(struct worker *w, struct err *e)
{
	int64_t until = clock_mono_ms() + SUBSET_RETAKE_MAX_MS;
	bool retried = false;
	for (;;) {
		bool fresh = w->conn == NULL;
		int rc = take_once(w, e);
		if (rc == 0)
			return 0;
		end_transaction(w);
		pg_snapshot_clear(&w->q->snap);
		if (given_up(w))
			return err_set(e, ERR_CANCELLED, "given up");
		if (rc < 0 && e->kind == ERR_PG_CONN && !fresh && !retried) {
			retried = true; /* it broke while idle */
			pg_disconnect(&w->conn);
			continue;
		}
		if (rc < 0)
			return -1;
		if (clock_mono_ms() > until)
			return pg_snapshot_outrun(w->conn, e);
		struct timespec ts = {0, RETAKE_WAIT_MS * 1000000};
		nanosleep(&ts, NULL);
	}
}

/* Clients may see nothing beyond the mark; INGEST has asked for it. */
static int wait_mark(struct worker *w, struct err *e)
{
	return w->mark_pending ? writer_flush(w->all->engine, e) : 0;
}

/* Where a record that begins at `insert` follows is where the last one ended: page headers are no record. */
static lsn_t end_before(lsn_t insert)
{
	lsn_t in_page = insert % WAL_PAGE_BYTES;
	return in_page == WAL_PAGE_HEADER || in_page == WAL_PAGE_LONG_HEADER ? insert - in_page : insert;
}

static bool pass_given_up(const struct worker *w, int64_t until)
{
	return given_up(w) || atomic_load(&w->q->shape->dropped) || clock_mono_ms() >= until;
}

/* Whether the stream has passed `upto`; waits for it. */
static bool is_passed(struct worker *w, lsn_t upto, int64_t until)
{
	struct waiting p;
	waiting_init(&p);
	while (!pass_given_up(w, until) && shapes_wait_lsn(w->all->engine, upto, &p.waiter))
		waiting_nap(&p, LOOK_MS);
	waiting_clear(&p);
	return atomic_load(&w->all->engine->seen) >= upto;
}

/*
 * The stream has nothing that isn't on the server's disk, and what a transaction that still runs has written, or somebody who read
 * and tidied a page, goes there with the next commit, whenever that is. 1: the stream waits for that commit.
 */
static int waits_for_a_commit(struct worker *w, struct err *e)
{
	lsn_t flushed = 0;
	if (pg_snapshot_flushed(w->conn, &flushed, e) != 0)
		return -1;
	return flushed < w->q->snap.insert_lsn;
}

/*
 * Of a shape with subqueries: the stream has passed all that the snapshot shows, and the shape is still there. So what its
 * subqueries select was at that snapshot what the shape compares with: nobody sees a row by a grant that was revoked before.
 */
static int wait_passed(struct worker *w, int64_t until, bool may_commit, struct err *e)
{
	struct subset *q = w->q;
	lsn_t upto = end_before(q->snap.insert_lsn) - 1;
	if (q->shape == NULL)
		return 0;
	while (!is_passed(w, upto, clock_mono_ms() + SUBSET_FLUSH_LOOK_MS) && !pass_given_up(w, until)) {
		int rc = may_commit ? waits_for_a_commit(w, e) : 0;
		if (rc != 0)
			return rc;
	}
	if (atomic_load(&q->shape->dropped)) {
		err_set(e, ERR_NOT_FOUND, "the shape was rotated");
		return err_why(e, shape_why(q->shape));
	}
	if (given_up(w))
		return err_set(e, ERR_CANCELLED, "given up");
	if (atomic_load(&w->all->engine->seen) < upto)
		return err_set(e, ERR_TIMEOUT, "The replication stream is behind: it has not passed within %d s what a subset of this shape shows. "
		               "Please retry", SUBSET_PASS_MAX_MS / 1000);
	return 0;
}

/* A commit of ours that changes nothing; then another snapshot, which shows no less. */
static int commit_for_the_stream(struct worker *w, struct err *e)
{
	end_transaction(w);
	pg_snapshot_clear(&w->q->snap);
	return w->conn == NULL ? err_set(e, ERR_PG_CONN, "the connection was lost") : pg_commit_nothing(w->conn, e);
}

/* A snapshot that the clients and the stream have come up to. */
static int take_passed(struct worker *w, struct err *e)
{
	int64_t until = 0;
	bool may_commit = true;
	for (;;) {
		int rc = take(w, e);
		if (rc == 0)
			rc = wait_mark(w, e);
		until = until != 0 ? until : clock_mono_ms() + SUBSET_PASS_MAX_MS;
		if (rc == 0)
			rc = wait_passed(w, until, may_commit, e);
		if (rc <= 0)
			return rc;
		if (commit_for_the_stream(w, e) == 0)
			continue;
		if (e->kind != ERR_PG)
			return -1;
		may_commit = false; /* the role may not: then it waits for somebody else's */
		err_clear(e);
	}
}

static int where_own_sql(const struct subset *q, struct buf *own, struct err *e)
{
	if (q->shape == NULL)
		return def_where_sql(&q->def, own, e);
	return sets_where_sql(&q->shape->def, q->shape->sets->texts.data, q->shape->sets->texts.len, own, e);
}

static int copy_rows(struct worker *w, struct err *e)
{
	struct subset *q = w->q;
	struct buf own = BUF_INIT(SUBSET_SQL_BYTES_MAX);
	int rc = where_own_sql(q, &own, e);
	if (rc == 0) {
		struct pg_rows rows = {.where = {own.data, q->where}, .guarded = q->guarded, .order_by = q->order_by, .limit = q->limit, .offset = q->offset};
		rc = pg_snapshot_rows(w->conn, q->def.table, q->def.selected, q->def.nselected, &rows, take_row, w, is_over, w, e);
	}
	buf_clear(&own);
	if (rc == 0 && w->piece.len > 0 && !give(w))
		rc = err_set(e, ERR_CANCELLED, "given up");
	return rc;
}

static void begin(struct worker *w, struct subset *q)
{
	w->q = q;
	w->began_ms = w->used_ms = clock_mono_ms();
	w->waited_ms = 0;
	w->why = (struct err){0};
	buf_init(&w->piece, SUBSET_ROW_BYTES_MAX);
	if (getrandom(&q->mark, sizeof q->mark, GRND_NONBLOCK) != (ssize_t)sizeof q->mark)
		q->mark = (uint32_t)clock_wall_us();
	q->mark &= SNAPSHOT_MARK_MASK;
	char mark[40];
	snprintf(mark, sizeof mark, ",\"snapshot_mark\":%" PRIu32, q->mark); /* it is the last of a row's headers */
	w->form = row_form_new(&q->def, mark);
	if (q->def.table->keys == PG_KEYS_COUNTED)
		row_form_count(w->form, &w->counts);
}

static void run(struct worker *w, struct subset *q)
{
	struct err e = {0};
	begin(w, q);
	int rc = take_passed(w, &e);
	if (rc == 0)
		rc = copy_rows(w, &e);
	/* The session is free before the client is told: who asks again finds it. */
	end_transaction(w);
	if (w->large)
		pg_disconnect(&w->conn);
	w->large = false;
	if (w->why.kind != ERR_NONE)
		e = w->why;
	if (rc != 0 && e.kind == ERR_NOT_FOUND)
		registry_cache_doubt(w->all->engine, q->def.table->oid);
	if (rc != 0 && e.kind == ERR_PG_CONN) {
		pg_advise(&e, w->all->engine->config, PG_ROLE_SNAPSHOT, "", "");
		log_seldom(LOG_WARNING, log_repeat_key(0, e.text, strlen(e.text)), "Subset: %s", e.text);
		err_set(&e, ERR_PG_CONN, "Database connection not available");
	} else if (rc != 0) {
		pg_advise(&e, w->all->engine->config, PG_ROLE_SNAPSHOT, q->def.table->schema, q->def.table->name);
	}
	row_form_free(w->form);
	key_counts_release(&w->counts, &w->all->engine->keys_counted);
	tell(q, rc == 0 ? SUBSET_END : SUBSET_FAILED, rc == 0 ? NULL : &e);
	buf_clear(&w->piece);
	w->used_ms = clock_mono_ms();
}

/* ---- the threads ---- */

static void *thread_main(void *arg)
{
	struct worker w = {.all = arg};
	struct subsets *all = arg;
	pthread_mutex_lock(&all->lock);
	while (!all->stop) {
		struct subset *q = pop(all);
		if (q == NULL) {
			clock_cond_wait(&all->cond, &all->lock, w.conn == NULL ? CONNECTION_IDLE_MS : CONNECTION_LOOK_MS);
			bool unused = idle_asleep(&all->engine->idle) || clock_mono_ms() - w.used_ms >= CONNECTION_IDLE_MS;
			if (w.conn == NULL || !unused)
				continue;
		}
		pthread_mutex_unlock(&all->lock);
		int64_t began = clock_mono_ms();
		if (q != NULL) {
			tell(q, SUBSET_RUNNING, NULL);
			if (!atomic_load(&q->cancelled))
				run(&w, q);
			subset_unref(q);
		} else {
			pg_disconnect(&w.conn);
		}
		pthread_mutex_lock(&all->lock);
		if (q != NULL)
			all->query_ms += (clock_mono_ms() - began - all->query_ms) / 4;
	}
	pthread_mutex_unlock(&all->lock);
	pg_disconnect(&w.conn);
	return NULL;
}

int subsets_start(struct shapes *s, int threads, struct err *e)
{
	struct subsets *all = s->subsets = mem_zalloc(sizeof *all);
	REQUIRE(threads <= (int)ARRAY_LEN(all->threads));
	all->engine = s;
	all->last = &all->first;
	pthread_mutex_init(&all->lock, NULL);
	lock_rank(&all->lock, LOCK_QUEUE);
	pthread_cond_init(&all->cond, NULL);
	for (; all->nthreads < threads; all->nthreads++) {
		int rc = pthread_create(&all->threads[all->nthreads], NULL, thread_main, all);
		if (rc != 0)
			return err_errno(e, rc, "cannot start a database thread");
	}
	return 0;
}

void subsets_stop(struct shapes *s)
{
	struct subsets *all = s->subsets;
	if (all == NULL)
		return;
	pthread_mutex_lock(&all->lock);
	all->stop = true;
	pthread_cond_broadcast(&all->cond);
	pthread_mutex_unlock(&all->lock);
	for (int i = 0; i < all->nthreads; i++)
		pthread_join(all->threads[i], NULL);
	REQUIRE(all->first == NULL); /* HTTP has freed all queries, and so taken them out of the queue */
	pthread_cond_destroy(&all->cond);
	pthread_mutex_destroy(&all->lock);
	free(all);
	s->subsets = NULL;
}
