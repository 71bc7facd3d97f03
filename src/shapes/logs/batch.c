/*
 * batch.c - what was queued, in one commit of the store; what that makes true is told behind it, in the order of the queue.
 */
#include "shapes/core/engine.h"
#include "shapes/core/items.h"
#include "shapes/core/limits.h"
#include "shapes/logs/batch.h"
#include "shapes/logs/record.h"

#define JOURNAL_ROOM_BYTES (2 * (size_t)BATCH_BYTES_MAX) /* a batch's buffer beyond isn't kept for the next one */

static int write_commits(struct shapes *s, struct batch *b, struct err *e)
{
	const uint64_t max = (uint64_t)COMMITS_MAX * COMMIT_BYTES;
	uint64_t gone = 0;
	if (b->commits.len == 0)
		return 0;
	b->commits_bytes += b->commits.len;
	if (store_put_commits(s->store, b->commits_first, b->commits.data, b->commits.len, e) != 0)
		return -1;
	/* In steps: pages at the front of the list aren't touched by each commit. */
	if (b->commits_bytes > max + max / 8 && store_trim_commits(s->store, b->commits_bytes - max, GC_ENTRIES_MAX, &gone, e) != 0)
		return -1;
	b->commits_bytes -= gone < b->commits_bytes ? gone : b->commits_bytes;
	return 0;
}

static void after_commit(struct shapes *s, struct batch *b, uint64_t seq, size_t journal_bytes)
{
	struct writer *w = &s->writer;
	if (b->nrows_items > 0) {
		w->journal_bytes += journal_bytes + b->journal_refs * sizeof(struct entry);
		w->journal_refs += b->journal_refs;
		for (size_t i = 0; i < b->nrows_items; i++)
			for (size_t j = 0; j < b->rows[i]->nrows; j++)
				writer_track(s, b->rows[i]->rows[j].shape, seq);
	}
	if (b->has_mark) {
		atomic_store(&s->mark, b->mark);
		atomic_store(&s->mark_done, b->mark_seq);
	}
	/* Behind the commit only (docs/invariants.md 2.1): the stream acknowledges what stands here. */
	REQUIRE(!store_in_txn(s->store) && (b->reset || b->durable >= atomic_load(&s->durable)));
	if (b->reset || b->durable > atomic_load(&s->durable))
		atomic_store(&s->durable, b->durable);
	if (b->next_id != 0)
		w->next_id = b->next_id;
	size_t snapshot = 0, ahead = 0;
	for (size_t i = 0; i < b->n; i++) {
		struct item *it = b->items[i];
		apply_committed(s, it);
		if (it->kind == ITEM_PIECE)
			snapshot += it->bytes;
		if (it->kind == ITEM_ROWS || it->kind == ITEM_STAGE)
			ahead += it->bytes;
		item_free(it);
	}
	atomic_fetch_sub(&s->ahead_bytes, ahead);
	w->written_bytes += ahead + snapshot;
	w->unmeasured += snapshot;
	pthread_mutex_lock(&w->lock);
	w->snapshot_bytes -= snapshot;
	w->ndone += b->n;
	pthread_cond_broadcast(&w->room);
	pthread_mutex_unlock(&w->lock);
	if (s->stream != NULL)
		stream_wake(s->stream);
}

/* Everything in `b->items`, in one transaction. */
int batch_commit(struct shapes *s, struct batch *b, struct err *e)
{
	struct writer *w = &s->writer;
	REQUIRE(writer_is_mine(w));
	b->nrows_items = b->journal_refs = 0;
	b->durable = atomic_load(&s->durable);
	b->has_mark = b->reset = false;
	b->attempt++;
	b->next_id = 0;
	b->commits_bytes = w->commits_bytes;
	buf_reset(&b->commits);
	for (size_t i = 0; i < b->n; i++)
		if (b->items[i]->kind == ITEM_STAGE && fold_before_staging(s, item_as_stage(b->items[i]), e) != 0)
			return -1;
	if (store_begin(s->store, e) != 0)
		return -1;
	for (size_t i = 0; i < b->n; i++)
		if (apply_item(s, b, b->items[i], e) != 0)
			return -1;
	uint64_t seq = w->next_seq;
	buf_reset(&b->journal);
	size_t nrows = 0;
	for (size_t i = 0; i < b->nrows_items; i++)
		nrows += b->rows[i]->nrows;
	if (nrows > 0) {
		journal_encode(b->rows, b->nrows_items, &b->journal);
		if (b->journal.failed) {
			store_abort(s->store);
			return err_set(e, ERR_LIMIT, "store: a journal batch is too large");
		}
		if (store_put_journal(s->store, seq, b->journal.data, b->journal.len, e) != 0)
			return -1;
	}
	if ((b->reset || b->durable > atomic_load(&s->durable)) && store_put_meta_u64(s->store, "durable", b->durable, e) != 0)
		return -1;
	if (write_commits(s, b, e) != 0)
		return -1;
	if (b->has_mark && store_put_meta_u64(s->store, "mark", b->mark, e) != 0)
		return -1;
	if (store_commit(s->store, e) != 0)
		return -1;
	w->commits_bytes = b->commits_bytes;
	if (nrows > 0)
		w->next_seq = seq + 1;
	after_commit(s, b, seq, nrows > 0 ? b->journal.len : 0);
	b->n = 0;
	if (b->journal.cap > JOURNAL_ROOM_BYTES)
		buf_clear(&b->journal);
	return 0;
}
