/*
 * ingest_test.h - INGEST without a network, for tests that stand in the places of the stream and of the PG threads: the real sink,
 * commands and WRITER, run by the test's own thread. What the stream brings is made up in advance.
 */
#ifndef BUSBAR_TESTS_INGEST_TEST_H
#define BUSBAR_TESTS_INGEST_TEST_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/log.h"
#include "check.h"
#include "engine_test.h"
#include "shapes/core/cmds.h"
#include "shapes/core/engine.h"
#include "shapes/core/items.h"
#include "shapes/core/jobs.h"
#include "shapes/core/registry.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/sink.h"
#include "shapes/logs/record.h"
#include "shapes/logs/writer.h"

static struct err e;

/* ---- beginning and end ---- */

static inline struct shapes *ingest_open(struct config *config, const char *dir)
{
	struct shapes *s = engine_begin(config, dir);
	struct stream_sink sink = ingest_sink(s);
	atomic_store(&s->seen, 0);
	s->stream = stream_new(config, &sink);
	return s;
}

/* The stream's end; shapes may be let go of between the two. */
static inline void ingest_end(struct shapes *s)
{
	struct stream_sink sink = ingest_sink(s);
	atomic_store(&s->stopping, true);
	sink.lost(s);
	sink.idle(s);
}

static inline void ingest_close(struct shapes *s)
{
	writer_stop(s);
	stream_free(s->stream);
	engine_close(s);
}

/* ---- PG threads ---- */

static inline struct job *take_job(struct shapes *s)
{
	pthread_mutex_lock(&s->job_lock);
	struct job *j = s->admin_jobs;
	if (j != NULL && (s->admin_jobs = j->next) == NULL)
		s->admin_tail = &s->admin_jobs;
	pthread_mutex_unlock(&s->job_lock);
	return j;
}

/* What they would do: nothing has changed in the catalog, up to `lsn`. */
static inline void serve_jobs(struct shapes *s, lsn_t lsn)
{
	for (struct job *j; (j = take_job(s)) != NULL;) {
		struct cmd *c = mem_zalloc(sizeof *c);
		c->kind = j->kind == JOB_GROUND ? CMD_GROUND : j->kind == JOB_LOOK ? CMD_LOOKED : CMD_NOP;
		c->number = j->number;
		c->lsn = lsn;
		c->xmin = 1000;
		cmd_post(s, c);
		free(j->oids);
		free(j);
	}
}

/* A command as one of them gives it: it waits, and INGEST runs. */
struct ingest_call {
	struct shapes *s;
	struct cmd *c;
	_Atomic bool done;
};

static inline void *ingest_call_main(void *arg)
{
	struct ingest_call *call = arg;
	cmd_call(call->s, call->c);
	atomic_store(&call->done, true);
	return NULL;
}

static inline int ingest_call(struct shapes *s, struct cmd *c)
{
	struct ingest_call call = {.s = s, .c = c};
	struct stream_sink sink = ingest_sink(s);
	pthread_t t;
	REQUIRE(pthread_create(&t, NULL, ingest_call_main, &call) == 0);
	while (!atomic_load(&call.done)) {
		sink.idle(s);
		sched_yield();
	}
	pthread_join(t, NULL);
	return c->result;
}

/* `shape` NULL: about none. */
static inline struct cmd ingest_command(enum cmd_kind kind, struct shape *shape)
{
	struct cmd c = {.kind = kind, .nshapes = shape != NULL ? 1 : 0};
	c.shapes[0] = shape;
	return c;
}

/* The rows that a shape begins with: none. */
static inline void put_no_rows(struct shape *shape, const struct pg_snapshot *snap)
{
	struct shapes *s = shape->engine;
	struct buf b = BUF_INIT((size_t)1 << 20);
	writer_put(s, item_piece_new(shape, 0, 0, true, &b));
	record_shape(shape, snap, true, 1, &b);
	writer_put(s, item_complete_new(shape, &b, 1, atomic_load(&s->next_id)));
}

/* ---- snapshots of a history of so many transactions ---- */

static inline uint32_t xid_of(size_t i) { return 1000 + (uint32_t)(i ^ 1); } /* not in the order of commits */

/* One that shows these, and calls all others running. */
static inline struct pg_snapshot snapshot_of(const bool *shown, size_t n, lsn_t insert_lsn)
{
	struct pg_snapshot snap = {.xmax = 1000, .incarnation_us = 7, .insert_lsn = insert_lsn};
	for (size_t i = 0; i < n; i++)
		if (shown[i] && xid_of(i) >= snap.xmax)
			snap.xmax = xid_of(i) + 1;
	snap.xip = mem_alloc((n + 1) * sizeof *snap.xip);
	for (uint64_t xid = 1000; xid < snap.xmax; xid++)
		if (!shown[(xid - 1000) ^ 1])
			snap.xip[snap.nxip++] = xid;
	snap.xmin = snap.nxip > 0 ? snap.xip[0] : snap.xmax;
	return snap;
}

/* Whether a transaction that had been passed `before` a shape registered, or was under way, is in neither its snapshot nor the
 * stream `since`. One that comes again after a loss, and is under way now, will be there in whole: `coming`, or a number that none has. */
static inline bool one_is_lost(const bool *before, const bool *since, const bool *shown, size_t n, size_t coming)
{
	for (size_t i = 0; i < n; i++)
		if (before[i] && !since[i] && !shown[i] && i != coming)
			return true;
	return false;
}

/* ---- the stream ---- */

/* As its loop before each message. */
static inline void await_ready(struct shapes *s, lsn_t looked)
{
	struct stream_sink sink = ingest_sink(s);
	while (!sink.ready(s)) {
		serve_jobs(s, looked);
		sink.idle(s);
		CHECK(writer_flush(s, &e) == 0);
	}
}

/* It begins where the slot stands, which it returns. */
static inline lsn_t begin_stream(struct shapes *s, lsn_t wal_end, lsn_t confirmed)
{
	static struct stream_server server;
	struct stream_sink sink = ingest_sink(s);
	server = (struct stream_server){.system_id = "1", .timeline = 1, .version_num = 180000, .database_oid = 5, .incarnation_us = 7,
	                                .wal_end = wal_end, .confirmed_flush = confirmed};
	lsn_t from;
	while (sink.start(s, &server, &from, &e) != 0) { /* a commit's end may wait for the store */
		CHECK(writer_flush(s, &e) == 0);
		sink.idle(s);
	}
	CHECK(from == confirmed);
	return from;
}

static inline struct wal_change begin_change(lsn_t lsn, uint32_t xid)
{
	struct wal_change c = {.kind = WAL_BEGIN};
	c.u.begin.final_lsn = lsn;
	c.u.begin.commit_time_us = (int64_t)lsn;
	c.u.begin.xid = xid;
	return c;
}

static inline struct wal_change commit_change(lsn_t lsn, lsn_t end)
{
	struct wal_change c = {.kind = WAL_COMMIT};
	c.u.commit.commit_lsn = lsn;
	c.u.commit.end_lsn = end;
	return c;
}

static inline struct wal_change truncate_change(const uint32_t *oid)
{
	struct wal_change c = {.kind = WAL_TRUNCATE};
	c.u.truncate.count = 1;
	c.u.truncate.relation_oids = oid;
	return c;
}

static inline struct wal_value text(const char *p, size_t n) { return (struct wal_value){WAL_TEXT, (uint32_t)n, p}; }

/* ---- what a log holds ---- */

/* Of lines, but for the last one, without their ends. */
static inline size_t bytes_before_last(const char *p, size_t n)
{
	size_t bytes = 0, line = 0;
	for (size_t i = 0; i < n; i++) {
		line += p[i] != '\n';
		if (p[i] == '\n' && i + 1 < n) {
			bytes += line;
			line = 0;
		}
	}
	return bytes;
}

/* All lines. Chunks end with the line that fills them. */
static inline struct buf log_text(struct shape *shape)
{
	struct buf got = BUF_INIT((size_t)1 << 30);
	struct waiter waiter = {0};
	struct log_offset from = {0, LOG_OP_INF};
	for (bool done = false; !done;) {
		struct shape_slice slice;
		shape_slice(shape, false, from, &waiter, &slice);
		if (!CHECK(slice.kind == SLICE_LOG))
			break;
		struct shape_reader *r = shape_reader_new(shape, &slice);
		enum shape_read rc;
		size_t start = got.len;
		while ((rc = shape_reader_next(r, &got, got.len + 5000, &waiter, &e)) == SHAPE_READ_MORE)
			;
		shape_reader_free(r);
		waiter_cancel(&waiter);
		CHECK(rc == SHAPE_READ_END && log_offset_cmp(slice.to, from) >= 0);
		CHECK(bytes_before_last(got.data + start, got.len - start) < shape->chunk_bytes);
		from = slice.to;
		done = slice.up_to_date;
	}
	return got;
}

#endif
