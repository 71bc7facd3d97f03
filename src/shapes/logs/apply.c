/*
 * apply.c - what each kind of item (items.h) does: inside the store's transaction, and once that is committed.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "shapes/core/engine.h"
#include "shapes/core/items.h"
#include "shapes/logs/batch.h"

/* ---- inside the transaction ---- */

static void put_commit(struct batch *b, struct commit commit)
{
	if (b->commits.len == 0)
		b->commits_first = commit.lsn;
	commits_encode(&commit, &b->commits);
}

/* Another history begins at `from`: nothing that came before is compared with it. */
static int forget_commits(struct shapes *s, struct batch *b, lsn_t from, struct err *e)
{
	buf_reset(&b->commits);
	b->commits_bytes = 0;
	put_commit(b, (struct commit){.lsn = from});
	return store_clear_commits(s->store, e);
}

/* Rows of a running transaction, shape by shape, as blocks above everything that is published. */
static int stage(struct shapes *s, const struct item *it, struct err *e)
{
	if (store_put_meta_u64(s->store, "staging", it->tx, e) != 0)
		return -1;
	for (size_t i = 0; i < it->nrows;) {
		struct shape *shape = it->rows[i].shape;
		size_t end = i;
		while (end < it->nrows && it->rows[end].shape == shape)
			end++;
		struct entry *entries = mem_alloc((end - i) * sizeof *entries);
		for (size_t j = i; j < end; j++)
			entries[j - i] = it->rows[j].entry;
		int rc = fold_put_blocks(s->store, shape->id, entries, end - i, e);
		free(entries);
		if (rc != 0 && failing_unless_damaged(shape, e) != 0)
			return -1;
		i = end;
	}
	return 0;
}

static int mark_last(struct shapes *s, const struct item *it, struct err *e)
{
	for (size_t i = 0; i < it->nends; i++) {
		const struct staged_end *end = &it->ends[i];
		if (store_insert_last(s->store, end->shape->id, end->at, end->split, LINE_LAST, LINE_LAST_LEN, end->chunk_end, e) != 0 &&
		    failing_unless_damaged(end->shape, e) != 0)
			return -1;
	}
	return 0;
}

static int unstage(struct shapes *s, const struct item *it, struct err *e)
{
	for (size_t i = 0; i < it->len / sizeof(uint64_t); i++) {
		uint64_t id;
		memcpy(&id, it->data + i * sizeof id, sizeof id);
		/* One that is damaged is found by the next that reads or writes it. */
		if (store_cut_log(s->store, id, it->tx, e) != 0 && e->kind != ERR_DAMAGED)
			return -1;
	}
	return it->number == 1 ? 0 : store_put_meta_u64(s->store, "staging", 0, e);
}

/* Its ITEM_DROP was committed, or stands before this item in the batch. */
static bool is_dropped(const struct batch *b, const struct shape *shape)
{
	return shape->wr.dropped || shape->wr.drop_attempt == b->attempt;
}

/* Threads read the counter at different times: it never goes back. */
static int put_next_id(struct shapes *s, struct batch *b, uint64_t id, struct err *e)
{
	uint64_t so_far = b->next_id != 0 ? b->next_id : s->writer.next_id;
	b->next_id = id > so_far ? id : so_far;
	return store_put_meta_u64(s->store, "next_id", b->next_id, e);
}

int apply_item(struct shapes *s, struct batch *b, struct item *it, struct err *e)
{
	switch (it->kind) {
	case ITEM_ROWS:
		b->rows[b->nrows_items++] = it;
		b->journal_refs += it->nrows;
		if (it->xid != 0) /* 0: rows that a shape had waited with while its snapshot was taken */
			put_commit(b, (struct commit){it->tx, it->commit_us, it->xid});
		b->durable = it->lsn > b->durable ? it->lsn : b->durable;
		return 0;
	case ITEM_LSN:
		if (it->number == 1) {
			b->durable = it->lsn;
			b->reset = true;
			if (forget_commits(s, b, it->lsn, e) != 0)
				return -1;
		}
		b->durable = it->lsn > b->durable ? it->lsn : b->durable;
		return 0;
	case ITEM_MARK:
		b->mark = it->lsn;
		b->has_mark = true;
		b->mark_seq = it->number;
		return 0;
	case ITEM_SHAPE:
	case ITEM_COMPLETE:
		/* Also of one that is dropped: its rows may be in the journal. */
		if (put_next_id(s, b, it->number, e) != 0)
			return -1;
		if (is_dropped(b, it->shape))
			return 0; /* queued by a thread that hadn't heard yet: the record must not come back */
		return store_put_shape(s->store, it->shape->id, it->data, it->len, e) == 0 ? 0 : failing_unless_damaged(it->shape, e);
	case ITEM_DROP:
		it->shape->wr.drop_attempt = b->attempt;
		return store_drop_shape(s->store, it->shape->id, e);
	case ITEM_PIECE:
		if ((it->len == 0 && !it->chunk_closed) || is_dropped(b, it->shape))
			return 0;
		return store_put_snapshot(s->store, it->shape->id, it->chunk, it->piece, it->data, it->len, it->chunk_closed, e);
	case ITEM_TABLE:
		return it->len > 0 ? store_put_table(s->store, (uint32_t)it->number, it->data, it->len, e)
		                   : store_drop_table(s->store, (uint32_t)it->number, e);
	case ITEM_STAGE:
		return stage(s, it, e);
	case ITEM_LAST:
		return mark_last(s, it, e);
	case ITEM_PUBLISH:
		put_commit(b, (struct commit){it->tx, it->commit_us, it->xid});
		b->durable = it->lsn > b->durable ? it->lsn : b->durable;
		return store_put_meta_u64(s->store, "staging", 0, e);
	case ITEM_UNSTAGE:
		return unstage(s, it, e);
	case ITEM_META:
		return store_put_meta(s->store, it->name, it->data, it->len, e);
	}
	return 0;
}

/* ---- what a commit makes true ---- */

static void set_state(struct shape *shape, enum shape_state state)
{
	pthread_mutex_lock(shape_lock(shape));
	if (shape->tail.state != SHAPE_GONE && shape->tail.state != SHAPE_FAILED)
		shape->tail.state = state;
	wait_list_wake_all(&shape->tail.waiters);
	pthread_mutex_unlock(shape_lock(shape));
}

static void publish_staged(struct shapes *s, struct item *it)
{
	for (size_t i = 0; i < it->nends; i++) {
		struct shape *shape = it->ends[i].shape;
		struct log_offset at = it->ends[i].at;
		pthread_mutex_lock(shape_lock(shape));
		shape->tail.folded = shape->tail.last = at;
		if (shape->wr.staged_chunk_end.tx == it->tx)
			shape->tail.last_chunk_end = shape->wr.staged_chunk_end;
		wait_list_wake_above(&shape->tail.waiters, at);
		pthread_mutex_unlock(shape_lock(shape));
	}
	atomic_store(&s->published_tx, it->tx);
}

static void piece_committed(struct item *it)
{
	struct shape *shape = it->shape;
	pthread_mutex_lock(shape_lock(shape));
	if (it->len > 0 && it->chunk == shape->tail.snap_chunk)
		shape->tail.snap_pieces = it->piece + 1;
	if (it->chunk_closed) {
		shape->tail.snap_chunk = it->chunk + 1;
		shape->tail.snap_pieces = 0;
	}
	wait_list_wake_all(&shape->tail.waiters);
	pthread_mutex_unlock(shape_lock(shape));
}

static void staged_ends(struct item *it)
{
	for (size_t i = 0; i < it->nrows; i++)
		if (it->rows[i].entry.flags & ENTRY_CHUNK_END)
			it->rows[i].shape->wr.staged_chunk_end = it->rows[i].entry.at;
	for (size_t i = 0; i < it->nends; i++)
		if (it->ends[i].chunk_end)
			it->ends[i].shape->wr.staged_chunk_end = it->ends[i].at;
}

void apply_committed(struct shapes *s, struct item *it)
{
	struct writer *w = &s->writer;
	switch (it->kind) {
	case ITEM_SHAPE:
		set_state(it->shape, SHAPE_SNAPSHOTTING);
		break;
	case ITEM_COMPLETE:
		pthread_mutex_lock(shape_lock(it->shape));
		it->shape->tail.snap_complete = true;
		it->shape->tail.snap_chunk = it->chunk;
		it->shape->tail.snap_pieces = 0;
		pthread_mutex_unlock(shape_lock(it->shape));
		set_state(it->shape, SHAPE_LIVE);
		break;
	case ITEM_DROP:
		writer_untrack(s, it->shape);
		it->shape->wr.dropped = true;
		w->gc_pending = true;
		set_state(it->shape, SHAPE_GONE);
		shape_unref(it->shape); /* the engine's own reference: nothing points to it from here on */
		break;
	case ITEM_PIECE:
		piece_committed(it);
		break;
	case ITEM_STAGE:
	case ITEM_LAST:
		staged_ends(it);
		break;
	case ITEM_PUBLISH:
		publish_staged(s, it);
		break;
	default:
		break;
	}
}
