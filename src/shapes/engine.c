/*
 * engine.c - the engine as a whole: start, stop, status, and the waits that belong to no single shape.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "shapes/internal.h"

#define WAL_END_FRESH_MS 200 /* an answer this young is asked for only once */

static void init_locks(struct shapes *s)
{
	pthread_rwlock_init(&s->registry_lock, NULL);
	pthread_mutex_init(&s->headers_lock, NULL);
	for (int i = 0; i < SHAPE_LOCKS; i++)
		pthread_mutex_init(&s->shape_locks[i], NULL);
	pthread_mutex_init(&s->status_lock, NULL);
	pthread_mutex_init(&s->lookup_lock, NULL);
	pthread_mutex_init(&s->lsn_lock, NULL);
	pthread_mutex_init(&s->cmd_lock, NULL);
	pthread_cond_init(&s->cmd_cond, NULL);
	pthread_mutex_init(&s->job_lock, NULL);
	pthread_cond_init(&s->job_cond, NULL);
	pthread_mutex_init(&s->server_lock, NULL);
	pthread_mutex_init(&s->failing_lock, NULL);
	pthread_mutex_init(&s->writer.lock, NULL);
	pthread_cond_init(&s->writer.cond, NULL);
	pthread_cond_init(&s->writer.room, NULL);
	wait_list_init(&s->status_waiters, &s->status_lock);
	wait_list_init(&s->lsn_waiters, &s->lsn_lock);
	s->cmds_tail = &s->cmds;
	s->admin_tail = &s->admin_jobs;
	s->create_tail = &s->create_jobs;
	s->writer.tail = &s->writer.head;
}

int shapes_start(struct shapes **out, const struct config *config, struct err *e)
{
	struct shapes *s = mem_zalloc(sizeof *s);
	s->config = config;
	init_locks(s);
	ingest_new(s);
	if (store_open(&s->store, config->storage_dir, config->storage_memory, e) != 0 || engine_load(s, e) != 0 ||
	    writer_start(s, e) != 0 || ingest_start(s, e) != 0 || pgwork_start(s, e) != 0) {
		shapes_stop(s);
		return -1;
	}
	*out = s;
	return 0;
}

static void free_registry(struct shapes *s)
{
	struct shape *shape;
	for (size_t i = 0; (shape = map_next(&s->by_handle, &i)) != NULL;)
		shape_unref(shape);
	struct table_state *t;
	for (size_t i = 0; (t = map_next(&s->tables, &i)) != NULL;) {
		pg_table_unref(t->table);
		free(t);
	}
	registry_cache_clear(s);
	map_clear(&s->by_handle);
	map_clear(&s->by_identity);
	map_clear(&s->tables);
	map_clear(&s->inflight);
}

void shapes_stop(struct shapes *s)
{
	if (s == NULL)
		return;
	atomic_store(&s->stopping, true);
	pthread_mutex_lock(&s->writer.lock);
	pthread_cond_broadcast(&s->writer.room);
	pthread_mutex_unlock(&s->writer.lock);
	pgwork_stop(s);
	ingest_stop(s);
	writer_stop(s);
	ingest_release(s);
	free_registry(s);
	ingest_free(s);
	if (s->stream != NULL)
		stream_free(s->stream);
	store_close(s->store);
	free(s);
}

/* ---- status ---- */

bool shapes_fatal(struct shapes *s, struct err *e)
{
	pthread_mutex_lock(&s->status_lock);
	bool fatal = s->fatal;
	if (fatal)
		*e = s->fatal_err;
	pthread_mutex_unlock(&s->status_lock);
	return fatal;
}

void shapes_on_fatal(struct shapes *s, void (*notify)(void *), void *ctx)
{
	pthread_mutex_lock(&s->status_lock);
	s->on_fatal = notify;
	s->on_fatal_ctx = ctx;
	bool now = s->fatal;
	pthread_mutex_unlock(&s->status_lock);
	if (now && notify != NULL)
		notify(ctx);
}

static enum shapes_status status_of(const struct shapes *s)
{
	if (s->phase == STREAM_RUNNING)
		return SHAPES_ACTIVE;
	bool no_lock = s->phase == STREAM_CONNECTING || s->phase == STREAM_WAITING_LOCK || s->phase == STREAM_BACKING_OFF;
	return no_lock && !s->stream_was_active ? SHAPES_WAITING : SHAPES_STARTING;
}

enum shapes_status shapes_status(struct shapes *s)
{
	pthread_mutex_lock(&s->status_lock);
	enum shapes_status st = status_of(s);
	pthread_mutex_unlock(&s->status_lock);
	return st;
}

enum shapes_status shapes_status_wait(struct shapes *s, struct waiter *w)
{
	pthread_mutex_lock(&s->status_lock);
	enum shapes_status st = status_of(s);
	if (st != SHAPES_ACTIVE)
		wait_list_add(&s->status_waiters, w);
	pthread_mutex_unlock(&s->status_lock);
	return st;
}

void shapes_status_text(struct shapes *s, char *text, size_t max)
{
	static const char hint[] = "Check that you don't have pending transactions in the database. Electric has to wait for all pending "
	                           "transactions to commit or rollback before it can create the replication slot.";
	pthread_mutex_lock(&s->status_lock);
	bool client = s->phase == STREAM_SETTING_UP;
	const char *what = client ? "Timeout waiting for replication client to be ready" : "Timeout waiting for Postgres lock acquisition";
	if (s->phase_error[0] != '\0')
		snprintf(text, max, "%s: %s", what, s->phase_error);
	else if (client)
		snprintf(text, max, "%s. %s", what, hint);
	else
		snprintf(text, max, "%s", what);
	pthread_mutex_unlock(&s->status_lock);
}

int shapes_server_version(struct shapes *s)
{
	pthread_mutex_lock(&s->server_lock);
	int v = s->server.version_num;
	pthread_mutex_unlock(&s->server_lock);
	return v;
}

bool shapes_publishes_generated(struct shapes *s)
{
	pthread_mutex_lock(&s->server_lock);
	bool yes = s->server.publishes_generated;
	pthread_mutex_unlock(&s->server_lock);
	return yes;
}

/* ---- positions ---- */

bool shapes_wait_lsn(struct shapes *s, lsn_t lsn, struct waiter *w)
{
	pthread_mutex_lock(&s->lsn_lock);
	bool wait = atomic_load(&s->seen) < lsn;
	if (wait) {
		w->lsn = lsn;
		wait_list_add(&s->lsn_waiters, w);
	}
	pthread_mutex_unlock(&s->lsn_lock);
	return wait;
}

lsn_t shapes_wal_end(struct shapes *s, int64_t since_mono_ms)
{
	lsn_t lsn = 0;
	bool ask = false;
	pthread_mutex_lock(&s->server_lock);
	if (s->wal_end != 0 && s->wal_end_ms >= since_mono_ms)
		lsn = s->wal_end;
	else if (!s->wal_end_queued && clock_mono_ms() - s->wal_end_asked_ms > WAL_END_FRESH_MS) {
		ask = s->wal_end_queued = true;
		s->wal_end_asked_ms = clock_mono_ms();
	}
	pthread_mutex_unlock(&s->server_lock);
	if (ask) {
		struct job *j = mem_zalloc(sizeof *j);
		j->kind = JOB_WAL_END;
		job_post(s, j);
	}
	return lsn;
}

lsn_t shapes_seen_lsn(struct shapes *s) { return atomic_load(&s->seen); }

void shapes_stats(struct shapes *s, struct shapes_stats *out)
{
	out->shapes = atomic_load(&s->nshapes);
	out->transactions = atomic_load(&s->stat_transactions);
	out->changes = atomic_load(&s->stat_changes);
	out->where_failures = atomic_load(&s->stat_where_failures);
	out->appended = atomic_load(&s->stat_appended);
	out->received = atomic_load(&s->received);
	out->seen = atomic_load(&s->seen);
	out->durable = atomic_load(&s->durable);
	out->mark = atomic_load(&s->mark);
}
