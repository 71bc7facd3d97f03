/*
 * queue.c - what a PG thread does next: jobs in their order, one thread to a table whose shapes are made, and whose turn the
 * watch and the reconciliation are. What says "held" wants job_lock held; the others take it.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "shapes/core/cache.h"
#include "shapes/core/engine.h"
#include "shapes/core/jobs.h"
#include "shapes/prep/prep.h"

#define CREATE_LOOK_MAX 1000 /* jobs that a thread looks through for one it may take */

/* They are copied one after another by one thread: of a table that isn't known to be quick, few, so that the other
 * threads take their part and no transaction stays open for many long copies. */
#define SNAPSHOT_SHARED_SLOW_MAX 8

/* Tables with shapes are watched by one small query this often: drops, renames, partitions. */
#define TABLE_WATCH_MS 1000

/* …and as soon as the stream gives a sign, at most this often. */
#define TABLE_WATCH_SOON_MS 100

/* …but rest so many times as long as two looks took at least, up to this. */
#define WATCH_REST_TIMES 20
#define WATCH_REST_MAX_MS 30000
#define WATCH_FREE_MS 100 /* a look may take so long without a rest: on the way to a server far away */

void queue_free(struct job *j)
{
	table_lookup_unref(j->lookup);
	for (int i = 0; i < j->nshapes; i++)
		shape_unref(j->shapes[i]);
	free(j->oids);
	free(j);
}

/* With job_lock held. */
static bool is_quick(const struct shapes *s, uint32_t oid) { return has_oid(s->quick, ARRAY_LEN(s->quick), oid); }

void queue_prepared(struct pg_thread *w)
{
	struct shapes *s = w->s;
	pthread_mutex_lock(&s->job_lock);
	s->preparing[w->index] = 0;
	if (s->create_jobs != NULL)
		pthread_cond_broadcast(&s->job_cond);
	pthread_mutex_unlock(&s->job_lock);
}

void queue_quick(struct shapes *s, uint32_t oid)
{
	pthread_mutex_lock(&s->job_lock);
	if (!is_quick(s, oid))
		s->quick[s->next_quick++ % ARRAY_LEN(s->quick)] = oid;
	pthread_mutex_unlock(&s->job_lock);
}

static struct job *pop(struct job **head, struct job ***tail)
{
	struct job *j = *head;
	if (j == NULL)
		return NULL;
	*head = j->next;
	if (*head == NULL)
		*tail = head;
	return j;
}

/*
 * The first of a table that no other thread is joining and taking a snapshot of: those that wait for it will share
 * the next one, which costs more than the rows of a small table. With job_lock held.
 */
static struct job *pop_create(struct pg_thread *w)
{
	struct shapes *s = w->s;
	struct job **at = &s->create_jobs, *j;
	for (size_t looked = 0; (j = *at) != NULL && looked < CREATE_LOOK_MAX; at = &j->next, looked++) {
		uint32_t oid = j->shapes[0]->def.table->oid;
		if (has_oid(s->preparing, ARRAY_LEN(s->preparing), oid))
			continue;
		*at = j->next;
		if (j->next == NULL)
			s->create_tail = at;
		REQUIRE(s->preparing[w->index] == 0); /* queue_prepared() has been called for the last one */
		s->preparing[w->index] = oid;
		return j;
	}
	return NULL;
}

/* Takes others of the same tables along: they share the snapshot. With job_lock held. */
static void gather(struct shapes *s, struct job *first)
{
	struct job **at = &s->create_jobs;
	REQUIRE(first->nshapes == 1);
	int max = is_quick(s, first->shapes[0]->def.table->oid) ? SNAPSHOT_SHARED_MAX : SNAPSHOT_SHARED_SLOW_MAX;
	while (*at != NULL && first->nshapes < max) {
		struct job *j = *at;
		if (!same_tables(&j->shapes[0]->def, &first->shapes[0]->def)) {
			at = &j->next;
			continue;
		}
		REQUIRE(j->kind == JOB_CREATE && j->nshapes == 1);
		*at = j->next;
		first->shapes[first->nshapes++] = j->shapes[0];
		free(j);
	}
	s->create_tail = &s->create_jobs;
	while (*s->create_tail != NULL)
		s->create_tail = &(*s->create_tail)->next;
}

static bool is_ready(const struct pg_thread *w) { return (w->creates ? w->snap : w->admin) != NULL; }

static int *ready(struct pg_thread *w) { return w->creates ? &w->s->ready_create : &w->s->ready_admin; }

/* A session that is new to Postgres takes several times as long for what we ask: one that waits goes first. All who wait have
 * been woken, and so are they for what it leaves. */
struct job *queue_take(struct pg_thread *w)
{
	struct shapes *s = w->s;
	if (!is_ready(w) && *ready(w) > 0)
		return NULL;
	struct job *j = w->creates ? pop_create(w) : pop(&s->admin_jobs, &s->admin_tail);
	if (j != NULL && w->creates)
		gather(s, j);
	if (j != NULL && (w->creates ? s->create_jobs : s->admin_jobs) != NULL)
		pthread_cond_broadcast(&s->job_cond);
	return j;
}

void queue_wait(struct pg_thread *w)
{
	struct shapes *s = w->s;
	bool counts = is_ready(w);
	*ready(w) += counts;
	clock_cond_wait(&s->job_cond, &s->job_lock, atomic_load(&s->watch_soon) ? TABLE_WATCH_SOON_MS : TABLE_WATCH_MS);
	*ready(w) -= counts;
}

void queue_clear(struct shapes *s)
{
	struct job *j;
	while ((j = pop(&s->admin_jobs, &s->admin_tail)) != NULL || (j = pop(&s->create_jobs, &s->create_tail)) != NULL)
		queue_free(j);
}

bool queue_reconcile(struct shapes *s)
{
	int64_t now = clock_mono_ms();
	if (s->reconcile_queued || (!s->reconcile_now && now < s->next_reconcile_ms))
		return false;
	s->reconcile_queued = true;
	s->reconcile_now = false;
	int64_t period = s->config->schema_reconciler_ms < s->config->publication_refresh_ms ? s->config->schema_reconciler_ms
	                                                                                     : s->config->publication_refresh_ms;
	s->next_reconcile_ms = now + period;
	return true;
}

bool queue_watch(struct shapes *s)
{
	int64_t now = clock_mono_ms();
	bool soon = atomic_load(&s->watch_soon) && now >= s->next_watch_ms - TABLE_WATCH_MS + TABLE_WATCH_SOON_MS;
	if (s->reconcile_queued || (!soon && now < s->next_watch_ms))
		return false;
	atomic_store(&s->watch_soon, false);
	s->next_watch_ms = now + TABLE_WATCH_MS;
	s->reconcile_queued = true;
	return true;
}

bool queue_guard(struct shapes *s)
{
	if (s->guard.queued || clock_mono_ms() < s->guard.next_ms)
		return false;
	s->guard.queued = true;
	s->guard.next_ms = INT64_MAX; /* sooner: somebody has asked for it since */
	return true;
}

void queue_rest_from_watch(struct shapes *s, int64_t began_ms)
{
	int64_t now = clock_mono_ms(), took = now - began_ms;
	pthread_mutex_lock(&s->job_lock);
	int64_t least = took < s->watch_took_ms ? took : s->watch_took_ms;
	int64_t rest = least > WATCH_FREE_MS ? (least - WATCH_FREE_MS) * WATCH_REST_TIMES : 0;
	int64_t next = now + (rest < WATCH_REST_MAX_MS ? rest : WATCH_REST_MAX_MS);
	if (s->next_watch_ms < next)
		s->next_watch_ms = next;
	s->watch_took_ms = took;
	pthread_mutex_unlock(&s->job_lock);
}
