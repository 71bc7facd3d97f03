/*
 * doors.c - the queues through which threads meet: items for the WRITER, commands into INGEST, jobs for the PG threads.
 * Whoever puts something in needs nothing of the room where it comes out.
 */
#include <stdlib.h>

#include "base/lock_order.h"
#include "shapes/core/cmds.h"
#include "shapes/core/engine.h"
#include "shapes/core/items.h"
#include "shapes/core/jobs.h"
#include "shapes/logs/writer.h"

/* Rows of transactions wait a moment for more of them (GATHER_MS in writer.c); so much doesn't. */
#define GATHER_BYTES_MAX (1u << 20)

/* ---- items ---- */

/* Whether what is queued may wait for more of it. With the lock held. */
bool writer_can_gather(const struct writer *w)
{
	lock_held(&w->lock);
	return w->head != NULL && w->urgent == 0 && w->queued_bytes < GATHER_BYTES_MAX && w->flushing == 0 && !w->stop;
}

bool item_is_urgent(const struct item *it) { return it->kind != ITEM_ROWS; }

void writer_put(struct shapes *s, struct item *it)
{
	struct writer *w = &s->writer;
	it->next = NULL;
	if (it->kind == ITEM_ROWS || it->kind == ITEM_STAGE)
		atomic_fetch_add(&s->ahead_bytes, it->bytes);
	if (it->kind == ITEM_PIECE)
		usage_comes(s, it->bytes);
	pthread_mutex_lock(&w->lock);
	if (it->kind == ITEM_PIECE)
		w->snapshot_bytes += it->bytes;
	bool was_empty = w->head == NULL, gathered = writer_can_gather(w);
	w->nput++;
	*w->tail = it;
	w->tail = &it->next;
	w->queued_bytes += it->bytes;
	w->urgent += item_is_urgent(it);
	if (was_empty || (gathered && !writer_can_gather(w)))
		pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

void writer_room_again(struct shapes *s)
{
	pthread_mutex_lock(&s->writer.lock);
	pthread_cond_broadcast(&s->writer.room);
	pthread_mutex_unlock(&s->writer.lock);
}

/* ---- commands ---- */

static void enqueue(struct shapes *s, struct cmd *c)
{
	lock_held(&s->cmd_lock);
	c->next = NULL;
	*s->cmds_tail = c;
	s->cmds_tail = &c->next;
}

void cmd_post(struct shapes *s, struct cmd *c)
{
	pthread_mutex_lock(&s->cmd_lock);
	enqueue(s, c);
	pthread_mutex_unlock(&s->cmd_lock);
	if (s->stream != NULL)
		stream_wake(s->stream);
}

int cmd_call(struct shapes *s, struct cmd *c)
{
	c->waited = true;
	pthread_mutex_lock(&s->cmd_lock);
	enqueue(s, c);
	pthread_mutex_unlock(&s->cmd_lock);
	stream_wake(s->stream);
	pthread_mutex_lock(&s->cmd_lock);
	/* INGEST runs commands in every phase, and once more after its loop has ended. */
	while (!c->done)
		pthread_cond_wait(&s->cmd_cond, &s->cmd_lock);
	pthread_mutex_unlock(&s->cmd_lock);
	return c->result;
}

void cmd_settle(struct shapes *s)
{
	struct cmd nop = {.kind = CMD_NOP};
	cmd_call(s, &nop);
}

struct cmd *cmd_take(struct shapes *s)
{
	pthread_mutex_lock(&s->cmd_lock);
	struct cmd *c = s->cmds;
	if (c != NULL) {
		s->cmds = c->next;
		if (s->cmds == NULL)
			s->cmds_tail = &s->cmds;
	}
	pthread_mutex_unlock(&s->cmd_lock);
	return c;
}

static void cmd_free(struct cmd *c)
{
	for (int i = 0; i < c->nshapes; i++)
		shape_unref(c->shapes[i]);
	free(c);
}

void cmd_done(struct shapes *s, struct cmd *c)
{
	if (!c->waited) {
		cmd_free(c);
		return;
	}
	pthread_mutex_lock(&s->cmd_lock);
	c->done = true;
	pthread_cond_broadcast(&s->cmd_cond);
	pthread_mutex_unlock(&s->cmd_lock);
}

/* ---- jobs ---- */

/* Then a thread takes the table's jobs when it is (queue_prepared()), and tells the others: with the lock held. */
static bool is_being_prepared(const struct shapes *s, uint32_t oid)
{
	lock_held(&s->job_lock);
	for (size_t i = 0; i < ARRAY_LEN(s->preparing); i++)
		if (s->preparing[i] == oid)
			return true;
	return false;
}

void job_post(struct shapes *s, struct job *j)
{
	pthread_mutex_lock(&s->job_lock);
	struct job ***tail = j->kind == JOB_CREATE ? &s->create_tail : &s->admin_tail;
	j->next = NULL;
	**tail = j;
	*tail = &j->next;
	if (j->kind != JOB_CREATE || !is_being_prepared(s, j->shapes[0]->def.table->oid))
		pthread_cond_broadcast(&s->job_cond);
	pthread_mutex_unlock(&s->job_lock);
	idle_wake(s, "there is something to look up, or to make");
}

bool jobs_busy(struct shapes *s)
{
	pthread_mutex_lock(&s->job_lock);
	bool busy = s->admin_jobs != NULL || s->create_jobs != NULL || s->pg_working > 0 || s->reconcile_now || atomic_load(&s->watch_soon);
	pthread_mutex_unlock(&s->job_lock);
	return busy;
}

void jobs_watch_soon(struct shapes *s)
{
	if (atomic_exchange(&s->watch_soon, true))
		return;
	pthread_mutex_lock(&s->job_lock);
	pthread_cond_broadcast(&s->job_cond);
	pthread_mutex_unlock(&s->job_lock);
}

void jobs_reconcile_now(struct shapes *s)
{
	pthread_mutex_lock(&s->job_lock);
	s->reconcile_now = true;
	pthread_cond_broadcast(&s->job_cond);
	pthread_mutex_unlock(&s->job_lock);
}

void jobs_guard_now(struct shapes *s)
{
	pthread_mutex_lock(&s->job_lock);
	s->guard.next_ms = 0;
	pthread_cond_broadcast(&s->job_cond);
	pthread_mutex_unlock(&s->job_lock);
}
