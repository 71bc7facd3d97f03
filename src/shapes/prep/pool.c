/*
 * pool.c - the PG threads: look-ups, the birth of shapes, and looking after our tables.
 *
 * ADMIN threads answer look-ups and what INGEST asks; one of them reconciles what we remember of our
 * tables with the catalog. CREATE threads take a table into the publication and its snapshots into the
 * store; shapes of one table that wait together share one snapshot. (Subset queries have threads of their
 * own, subset.c.) Connections are opened when needed and closed when idle, at most ELECTRIC_DB_POOL_SIZE in
 * all, if that is not below 5.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "shapes/core/engine.h"
#include "shapes/core/jobs.h"
#include "shapes/prep/prep.h"

#define ADMIN_THREADS 2
#define CREATE_THREADS 6 /* two connections each; BUSBAR_SNAPSHOT_CONCURRENCY */
#define SUBSET_THREADS 4 /* BUSBAR_SUBSET_CONCURRENCY */
#define GUARD_FIRST_MS 10000 /* the guard's first look, unless the stream runs before */
#define SUBSET_POOL_PART 5 /* one connection in so many is for subsets */

static void run_job(struct pg_thread *w, struct job *j)
{
	REQUIRE(w->creates == (j->kind == JOB_CREATE));
	switch (j->kind) {
	case JOB_LOOKUP:
		lookup_run(w, j);
		break;
	case JOB_CREATE:
		create_run(w, j);
		break;
	case JOB_RESOLVE:
		leaves_resolve(w, j);
		break;
	case JOB_WAL_END:
		lookup_wal_end(w);
		break;
	case JOB_GROUND:
		watch_ground(w, j);
		break;
	case JOB_HEARTBEAT:
		heartbeat_send(w);
		break;
	case JOB_LOOK:
		inspect_run(w, j);
		break;
	}
	queue_free(j);
}

/* With job_lock held, as when it returns. */
static void run_guard(struct pg_thread *w)
{
	struct shapes *s = w->s;
	s->pg_working++;
	pthread_mutex_unlock(&s->job_lock);
	int64_t next_ms = clock_mono_ms() + guard_run(w);
	pthread_mutex_lock(&s->job_lock);
	s->pg_working--;
	if (s->guard.next_ms > next_ms)
		s->guard.next_ms = next_ms;
	s->guard.queued = false;
}

static void *worker_main(void *arg)
{
	struct pg_thread *w = arg;
	struct shapes *s = w->s;
	w->self = pthread_self();
	pthread_mutex_lock(&s->job_lock);
	while (!s->pg_stop) {
		/* Before the jobs: however many there are, it has its turn. */
		if (!w->creates && queue_guard(s))
			run_guard(w);
		struct job *j = queue_take(w);
		bool reconcile = j == NULL && !w->creates && queue_reconcile(s);
		bool watch = j == NULL && !w->creates && !reconcile && queue_watch(s);
		if (j == NULL && !reconcile && !watch) {
			queue_wait(w);
			bool unused = idle_asleep(&s->idle) || clock_mono_ms() - w->used_ms > CONNECTION_IDLE_MS;
			if (unused && (w->admin != NULL || w->snap != NULL)) {
				pthread_mutex_unlock(&s->job_lock);
				session_close(w);
				pthread_mutex_lock(&s->job_lock);
			}
			continue;
		}
		s->pg_working++;
		pthread_mutex_unlock(&s->job_lock);
		if (j != NULL) {
			run_job(w, j);
		} else if (watch) {
			watch_run(w);
		} else {
			reconcile_run(w);
			evict_run(s);
		}
		pthread_mutex_lock(&s->job_lock);
		s->pg_working--;
		REQUIRE(!(reconcile || watch) || s->reconcile_queued); /* nobody had the turn meanwhile */
		if (reconcile || watch)
			s->reconcile_queued = false;
	}
	pthread_mutex_unlock(&s->job_lock);
	session_close(w);
	free(w);
	return NULL;
}

static int threads_of(int n, int max) { return n < 1 ? 1 : n > max ? max : n; }

/* At least one of each, whatever the pool; subsets have theirs for themselves, so that shapes can always be made. */
static int subset_threads(const struct config *c)
{
	if (c->subset_concurrency > 0)
		return threads_of(c->db_pool_size - ADMIN_THREADS - 2, c->subset_concurrency);
	return threads_of(c->db_pool_size / SUBSET_POOL_PART, SUBSET_THREADS);
}

static int create_threads(const struct config *c, int subsets)
{
	return threads_of((c->db_pool_size - ADMIN_THREADS - subsets) / 2, c->snapshot_concurrency > 0 ? c->snapshot_concurrency : CREATE_THREADS);
}

int prep_start(struct shapes *s, struct err *e)
{
	int subsets = subset_threads(s->config), creates = create_threads(s->config, subsets);
	REQUIRE((size_t)(ADMIN_THREADS + creates) <= ARRAY_LEN(s->pg_threads) &&
	        (size_t)(ADMIN_THREADS + creates) <= ARRAY_LEN(s->preparing));
	s->next_reconcile_ms = clock_mono_ms() + s->config->schema_reconciler_ms;
	s->guard.next_ms = clock_mono_ms() + GUARD_FIRST_MS;
	for (int i = 0; i < ADMIN_THREADS + creates; i++) {
		struct pg_thread *w = mem_zalloc(sizeof *w);
		w->s = s;
		w->creates = i >= ADMIN_THREADS;
		w->index = i;
		int rc = pthread_create(&s->pg_threads[s->npg], NULL, worker_main, w);
		if (rc != 0) {
			free(w);
			return err_errno(e, rc, "cannot start a database thread");
		}
		s->npg++;
	}
	return subsets_start(s, subsets, e) != 0 ? -1 : keeper_start(s, e);
}

void prep_stop(struct shapes *s)
{
	keeper_stop(s);
	subsets_stop(s);
	pthread_mutex_lock(&s->job_lock);
	s->pg_stop = true;
	pthread_cond_broadcast(&s->job_cond);
	pthread_mutex_unlock(&s->job_lock);
	for (int i = 0; i < s->npg; i++)
		pthread_join(s->pg_threads[i], NULL);
	s->npg = 0;
	queue_clear(s);
}
