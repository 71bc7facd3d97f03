/*
 * writer.c - the WRITER thread: one commit for everything that is queued (batch.c, apply.c), and the folding of the journal into
 * blocks beside it (housekeep.c, fold.c).
 *
 * Items are taken in the order they were queued and committed together; what a commit must make true
 * for others (a shape may be seen, a rotation may be told, the slot may be acknowledged) happens after
 * it, in the same order. When the store fails, nothing is told and nothing acknowledged: the
 * environment is reopened and the same items - all of them still in memory, and exactly what the slot
 * would send again - go into a new transaction. Nothing is retried in the failed one.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/lock_order.h"
#include "base/mem.h"
#include "shapes/core/engine.h"
#include "shapes/core/items.h"
#include "shapes/core/limits.h"
#include "shapes/logs/batch.h"
#include "shapes/logs/writer.h"

/* Snapshot rows queued for the writer; beyond, the copying threads wait. */
#define SNAPSHOT_QUEUE_BYTES_MAX (16u << 20)

#define BATCH_ITEMS_MAX 20000

/* Of a store that has a limit (BUSBAR_STORE_LIMIT), what the journal may take before it is folded. */
#define JOURNAL_PART_OF_LIMIT 4
/* Nobody waits for a transaction's rows to be durable but the slot's position: their commit begins this much after the
 * first of them. Clients are being answered meanwhile, on few processors by the one that the commit would take, and a
 * commit costs the same (some 0.5 ms of a processor, most of it in the kernel) for one row as for a thousand. */
#define GATHER_MS 10

/* Why something waits longer than it may. Clients are told that it is the store, which isn't what a timeout means else. */
static int too_long(struct shapes *s, struct err *e)
{
	char why[300];
	if (atomic_load(&s->stopping))
		return err_set(e, ERR_CANCELLED, "stopping");
	if (shapes_store_failing(s, NULL, why, sizeof why))
		err_set(e, ERR_TIMEOUT, "The storage can't be written: %s", why);
	else
		err_set(e, ERR_TIMEOUT, "The storage is too slow: it did not take what was to be written in time");
	return err_why(e, REASON_STORE_FAILING);
}

static int64_t wait_max(const struct writer *w, int64_t usual_ms) { return w->wait_max_ms != 0 ? w->wait_max_ms : usual_ms; }

int writer_flush(struct shapes *s, struct err *e)
{
	struct writer *w = &s->writer;
	int64_t until = clock_mono_ms() + wait_max(w, WRITER_FLUSH_MAX_MS), left;
	pthread_mutex_lock(&w->lock);
	uint64_t upto = w->nput;
	w->flushing++;
	pthread_cond_signal(&w->cond);
	while (w->ndone < upto && !atomic_load(&s->stopping) && (left = until - clock_mono_ms()) > 0)
		clock_cond_wait(&w->room, &w->lock, left);
	w->flushing--;
	bool done = w->ndone >= upto;
	pthread_mutex_unlock(&w->lock);
	return done ? 0 : too_long(s, e);
}

int writer_room(struct shapes *s, struct shape *shape, struct err *e)
{
	struct writer *w = &s->writer;
	int64_t until = clock_mono_ms() + wait_max(w, WRITER_ROOM_MAX_MS), left;
	pthread_mutex_lock(&w->lock);
	while (w->snapshot_bytes > SNAPSHOT_QUEUE_BYTES_MAX && !atomic_load(&s->stopping) && !atomic_load(&shape->dropped) &&
	       (left = until - clock_mono_ms()) > 0)
		clock_cond_wait(&w->room, &w->lock, left);
	bool room = w->snapshot_bytes <= SNAPSHOT_QUEUE_BYTES_MAX;
	pthread_mutex_unlock(&w->lock);
	if (atomic_load(&shape->dropped) && !atomic_load(&s->stopping))
		return 1;
	return room && !atomic_load(&s->stopping) ? 0 : too_long(s, e);
}

static bool commit_batch(struct shapes *s, struct batch *b)
{
	int64_t rest_ms = 0;
	for (int tries = 0;; tries++) {
		struct err e = {0};
		if (batch_commit(s, b, &e) == 0) {
			failing_works_again(s, FAILING_COMMITS);
			return true;
		}
		if (!failing_recover(s, FAILING_COMMITS, &e))
			return false;
		if (atomic_load(&s->stopping) && tries > 2)
			return false;
		if (tries == 0)
			continue; /* what failed once may have been that alone */
		rest_ms = failing_next_rest(rest_ms);
		failing_rest(&s->writer, rest_ms);
	}
}

/* With the lock held. */
static void gather(struct writer *w)
{
	lock_held(&w->lock);
	int64_t now = clock_mono_ms(), until = now + GATHER_MS;
	for (; now < until && writer_can_gather(w); now = clock_mono_ms())
		clock_cond_wait(&w->cond, &w->lock, until - now);
}

/* Takes what is queued, up to the limits of one transaction. With nothing queued it waits `wait_ms`. */
static void take_items(struct shapes *s, struct batch *b, int64_t wait_ms, bool *stop)
{
	struct writer *w = &s->writer;
	pthread_mutex_lock(&w->lock);
	if (w->head == NULL && !w->stop && wait_ms > 0)
		clock_cond_wait(&w->cond, &w->lock, wait_ms);
	if (writer_can_gather(w))
		gather(w);
	size_t bytes = 0;
	bool rows = false;
	while (w->head != NULL && b->n < BATCH_ITEMS_MAX && (b->n == 0 || bytes + w->head->bytes + w->head->scattered < BATCH_BYTES_MAX)) {
		struct item *it = w->head;
		/* What is staged comes after tails that must be durable: in a commit of its own. */
		if (it->kind == ITEM_STAGE && rows)
			break;
		rows = rows || it->kind == ITEM_ROWS;
		w->head = it->next;
		if (w->head == NULL)
			w->tail = &w->head;
		w->queued_bytes -= it->bytes;
		w->urgent -= item_is_urgent(it);
		bytes += it->bytes + it->scattered;
		b->items[b->n++] = it;
	}
	*stop = w->stop && w->head == NULL;
	pthread_mutex_unlock(&w->lock);
}

/* How long there may be nothing to do. */
static int64_t idle_ms(const struct writer *w)
{
	if (housekeep_busy(w))
		return 0;
	int64_t ms = w->rest_until_ms > clock_mono_ms() ? STORE_RETRY_MS : 1000, due = measure_due_ms(w);
	return due < ms ? due : ms;
}

static void *writer_main(void *arg)
{
	struct shapes *s = arg;
	struct writer *w = &s->writer;
	struct batch b = {0};
	w->owner = pthread_self();
	w->owned = true;
	b.items = mem_alloc(BATCH_ITEMS_MAX * sizeof(struct item *));
	b.rows = mem_alloc(BATCH_ITEMS_MAX * sizeof(struct item_rows *));
	buf_init(&b.journal, UINT32_MAX);
	buf_init(&b.commits, (size_t)BATCH_ITEMS_MAX * COMMIT_BYTES);
	bool stop = false;
	while (!stop) {
		take_items(s, &b, idle_ms(w), &stop);
		bool idle = b.n == 0;
		if (!idle && !commit_batch(s, &b))
			break;
		housekeep(s);
		measure_now_and_then(s);
		if (idle)
			buf_clear(&b.journal);
		housekeep_memory(s, idle);
	}
	for (size_t i = 0; i < b.n; i++)
		item_free(b.items[i]);
	free(b.items);
	free(b.rows);
	buf_clear(&b.journal);
	buf_clear(&b.commits);
	return NULL;
}

void writer_init(struct writer *w)
{
	pthread_mutex_init(&w->lock, NULL);
	lock_rank(&w->lock, LOCK_LEAF);
	pthread_cond_init(&w->cond, NULL);
	pthread_cond_init(&w->room, NULL);
	w->journal_max = JOURNAL_BYTES_MAX;
	w->tail = &w->head;
}

void writer_free(struct writer *w)
{
	pthread_mutex_destroy(&w->lock);
}

uint64_t writer_restore_batch(struct shapes *s, uint64_t seq, size_t len)
{
	struct writer *w = &s->writer;
	uint64_t due = w->next_seq;
	if (due == 0)
		due = w->first_seq = seq;
	w->journal_bytes += len;
	w->next_seq = seq + 1;
	return due;
}

void writer_restore_row(struct shapes *s, struct shape *shape, uint64_t seq)
{
	s->writer.journal_refs++;
	writer_track(s, shape, seq);
}

uint64_t writer_first_batch(const struct shapes *s) { return s->writer.first_seq; }
void writer_journal_ends(struct shapes *s, uint64_t next) { s->writer.next_seq = next; }
void writer_restore_commits(struct shapes *s, size_t bytes) { s->writer.commits_bytes += bytes; }

void writer_restored(struct shapes *s)
{
	struct writer *w = &s->writer;
	w->gc_pending = true;
	w->next_id = s->next_id;
	if (w->fold_head != NULL) {
		w->trim_upto = w->fold_head->wr.oldest_seq;
		w->trim_pending = true;
	}
}

int writer_start(struct shapes *s, struct err *e)
{
	struct writer *w = &s->writer;
	uint64_t part = s->usage.limit / JOURNAL_PART_OF_LIMIT;
	if (part > 0 && part < w->journal_max)
		w->journal_max = (size_t)part;
	int rc = pthread_create(&w->thread, NULL, writer_main, s);
	if (rc != 0)
		return err_errno(e, rc, "cannot start the writer thread");
	w->started = true;
	return 0;
}

void writer_stop(struct shapes *s)
{
	struct writer *w = &s->writer;
	if (!w->started)
		return;
	/* The mark is drawn back to what clients can have seen: nobody is served any more. */
	writer_put(s, item_mark_new(atomic_load(&s->delivered), UINT64_MAX));
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	w->started = w->owned = false;
	while (w->head != NULL) {
		struct item *it = w->head;
		w->head = it->next;
		item_free(it);
	}
	w->tail = &w->head;
}
