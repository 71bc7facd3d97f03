/*
 * apply.c - what each kind of item (items.h) does: inside the store's transaction, and once that is committed.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "shapes/core/engine.h"
#include "shapes/core/items.h"
#include "shapes/logs/batch.h"

/* ---- rows and positions ---- */

static void put_commit(struct batch *b, struct commit commit)
{
	if (b->commits.len == 0)
		b->commits_first = commit.lsn;
	commits_encode(&commit, &b->commits);
}

static void note_txn(struct batch *b, const struct item_txn *txn)
{
	if (txn->xid != 0)
		put_commit(b, (struct commit){txn->tx, txn->commit_us, txn->xid});
	b->durable = txn->end > b->durable ? txn->end : b->durable;
}

static void rows(struct batch *b, struct item_rows *it)
{
	b->rows[b->nrows_items++] = it;
	b->journal_refs += it->nrows;
	note_txn(b, &it->txn);
}

/* Another history begins at `from`: nothing that came before is compared with it. */
static int forget_commits(struct shapes *s, struct batch *b, lsn_t from, struct err *e)
{
	buf_reset(&b->commits);
	b->commits_bytes = 0;
	put_commit(b, (struct commit){.lsn = from});
	return store_clear_commits(s->store, e);
}

static int position(struct shapes *s, struct batch *b, const struct item_lsn *it, struct err *e)
{
	if (it->set) {
		b->durable = it->lsn;
		b->reset = true;
		return forget_commits(s, b, it->lsn, e);
	}
	b->durable = it->lsn > b->durable ? it->lsn : b->durable;
	return 0;
}

static void mark(struct batch *b, const struct item_mark *it)
{
	b->mark = it->mark;
	b->has_mark = true;
	b->mark_seq = it->seq;
}

/* ---- a shape: its record, the rows it begins with, its end ---- */

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

static void set_state(struct shape *shape, enum shape_state state)
{
	pthread_mutex_lock(shape_lock(shape));
	if (shape->tail.state != SHAPE_GONE && shape->tail.state != SHAPE_FAILED)
		shape->tail.state = state;
	shape_count(shape);
	wait_list_wake_all(&shape->tail.waiters);
	pthread_mutex_unlock(shape_lock(shape));
}

static int record(struct shapes *s, struct batch *b, const struct item_shape *it, struct err *e)
{
	/* Also of one that is dropped: its rows may be in the journal. */
	if (put_next_id(s, b, it->next_id, e) != 0)
		return -1;
	if (is_dropped(b, it->shape))
		return 0; /* queued by a thread that hadn't heard yet: the record must not come back */
	return store_put_shape(s->store, it->shape->id, it->record, it->len, e) == 0 ? 0 : failing_unless_damaged(it->shape, e);
}

static void complete_committed(const struct item_shape *it)
{
	pthread_mutex_lock(shape_lock(it->shape));
	it->shape->tail.snap_complete = true;
	it->shape->tail.snap_chunk = it->nchunks;
	it->shape->tail.snap_pieces = 0;
	pthread_mutex_unlock(shape_lock(it->shape));
	set_state(it->shape, SHAPE_LIVE);
}

static int piece(struct shapes *s, const struct batch *b, const struct item_piece *it, struct err *e)
{
	if ((it->len == 0 && !it->chunk_closed) || is_dropped(b, it->shape))
		return 0;
	return store_put_snapshot(s->store, it->shape->id, it->chunk, it->piece, it->data, it->len, it->chunk_closed, e);
}

static void piece_committed(const struct item_piece *it)
{
	struct shape *shape = it->shape;
	atomic_fetch_add(&shape->snapshot_bytes, it->len);
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

static int drop(struct shapes *s, const struct batch *b, const struct item_drop *it, struct err *e)
{
	it->shape->wr.drop_attempt = b->attempt;
	return store_drop_shape(s->store, it->shape->id, e);
}

static void drop_committed(struct shapes *s, const struct item_drop *it)
{
	REQUIRE(!it->shape->wr.dropped); /* one drop a shape */
	writer_untrack(s, it->shape);
	it->shape->wr.dropped = true;
	s->writer.gc_pending = true;
	set_state(it->shape, SHAPE_GONE);
	registry_left(s, it->shape);
	shape_unref(it->shape); /* the engine's own reference: nothing points to it from here on */
}

static int table(struct shapes *s, const struct item_table *it, struct err *e)
{
	return it->record != NULL ? store_put_table(s->store, it->oid, it->record, it->len, e) : store_drop_table(s->store, it->oid, e);
}

/* ---- a staged transaction ---- */

/* Rows of a running transaction, shape by shape, as blocks above everything that is published. */
static int stage(struct shapes *s, const struct item_stage *it, struct err *e)
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

/* What was staged before, and cut, isn't its any more. */
static void count_staged(const struct writer *w, struct shape *shape, const struct entry *entry)
{
	uint64_t bytes = entry_bytes(entry);
	if (shape->wr.staged_in != w->unstaged) {
		atomic_fetch_sub(&shape->log_bytes, shape->wr.staged_bytes);
		atomic_fetch_sub(&shape->rows, shape->wr.staged_rows);
		shape->wr.staged_bytes = 0;
		shape->wr.staged_rows = 0;
		shape->wr.staged_in = w->unstaged;
	}
	shape->wr.staged_bytes += bytes;
	shape->wr.staged_rows += entry->line->grows;
	atomic_fetch_add(&shape->log_bytes, bytes);
	atomic_fetch_add(&shape->rows, entry->line->grows);
	atomic_fetch_add(&shape->changes, 1);
}

static void stage_committed(struct shapes *s, const struct item_stage *it)
{
	for (size_t i = 0; i < it->nrows; i++) {
		struct shape *shape = it->rows[i].shape;
		count_staged(&s->writer, shape, &it->rows[i].entry);
		if (it->rows[i].entry.flags & ENTRY_CHUNK_END)
			shape->wr.staged_chunk_end = it->rows[i].entry.at;
	}
}

static int mark_last(struct shapes *s, const struct item_last *it, struct err *e)
{
	for (size_t i = 0; i < it->ends.n; i++) {
		const struct staged_end *end = &it->ends.list[i];
		if (store_insert_last(s->store, end->shape->id, end->at, end->split, LINE_LAST, LINE_LAST_LEN, end->chunk_end, e) != 0 &&
		    failing_unless_damaged(end->shape, e) != 0)
			return -1;
	}
	return 0;
}

static void last_committed(const struct item_last *it)
{
	for (size_t i = 0; i < it->ends.n; i++)
		if (it->ends.list[i].chunk_end)
			it->ends.list[i].shape->wr.staged_chunk_end = it->ends.list[i].at;
}

static int publish(struct shapes *s, struct batch *b, const struct item_publish *it, struct err *e)
{
	note_txn(b, &it->txn);
	return store_put_meta_u64(s->store, "staging", 0, e);
}

static void publish_committed(struct shapes *s, const struct item_publish *it)
{
	struct change_times times = {clock_of_postgres_us(it->txn.commit_us), clock_wall_us()};
	if (it->ends.n > 0)
		metric_observe(METRIC_COMMIT_TO_LOG, times.logged_us - times.commit_us);
	for (size_t i = 0; i < it->ends.n; i++) {
		struct shape *shape = it->ends.list[i].shape;
		struct log_offset at = it->ends.list[i].at;
		shape->wr.staged_bytes = 0; /* they stay */
		shape->wr.staged_rows = 0;
		pthread_mutex_lock(shape_lock(shape));
		/* docs/invariants.md 2.8: nothing stands in memory below what was staged; of one that was damaged it may. */
		REQUIRE(shape->tail.n == 0 || atomic_load(&shape->dropped));
		REQUIRE(shape->tail.last.tx == 0 || log_offset_cmp(shape->tail.last, at) < 0 || atomic_load(&shape->dropped));
		shape->tail.folded = shape->tail.last = at;
		if (shape->wr.staged_chunk_end.tx == it->txn.tx)
			shape->tail.last_chunk_end = shape->wr.staged_chunk_end;
		wait_list_wake_above(&shape->tail.waiters, at, times);
		pthread_mutex_unlock(shape_lock(shape));
	}
	atomic_store(&s->published_tx, it->txn.tx);
}

static int unstage(struct shapes *s, const struct item_unstage *it, struct err *e)
{
	for (size_t i = 0; i < it->n; i++) {
		/* One that is damaged is found by the next that reads or writes it. */
		if (store_cut_log(s->store, it->ids[i], it->tx, e) != 0 && e->kind != ERR_DAMAGED)
			return -1;
	}
	return it->more ? 0 : store_put_meta_u64(s->store, "staging", 0, e);
}

/* ---- all kinds ---- */

int apply_item(struct shapes *s, struct batch *b, struct item *it, struct err *e)
{
	switch (it->kind) {
	case ITEM_ROWS:
		rows(b, item_as_rows(it));
		return 0;
	case ITEM_LSN:
		return position(s, b, item_as_lsn(it), e);
	case ITEM_MARK:
		mark(b, item_as_mark(it));
		return 0;
	case ITEM_SHAPE:
	case ITEM_COMPLETE:
		return record(s, b, item_as_shape(it), e);
	case ITEM_DROP:
		return drop(s, b, item_as_drop(it), e);
	case ITEM_PIECE:
		return piece(s, b, item_as_piece(it), e);
	case ITEM_TABLE:
		return table(s, item_as_table(it), e);
	case ITEM_STAGE:
		return stage(s, item_as_stage(it), e);
	case ITEM_LAST:
		return mark_last(s, item_as_last(it), e);
	case ITEM_PUBLISH:
		return publish(s, b, item_as_publish(it), e);
	case ITEM_UNSTAGE:
		return unstage(s, item_as_unstage(it), e);
	case ITEM_META:
		return store_put_meta(s->store, item_as_meta(it)->name, item_as_meta(it)->data, item_as_meta(it)->len, e);
	}
	return 0;
}

void apply_committed(struct shapes *s, struct item *it)
{
	switch (it->kind) {
	case ITEM_SHAPE:
		set_state(item_as_shape(it)->shape, SHAPE_SNAPSHOTTING);
		break;
	case ITEM_COMPLETE:
		complete_committed(item_as_shape(it));
		break;
	case ITEM_DROP:
		drop_committed(s, item_as_drop(it));
		break;
	case ITEM_PIECE:
		piece_committed(item_as_piece(it));
		break;
	case ITEM_STAGE:
		stage_committed(s, item_as_stage(it));
		break;
	case ITEM_LAST:
		last_committed(item_as_last(it));
		break;
	case ITEM_PUBLISH:
		publish_committed(s, item_as_publish(it));
		break;
	case ITEM_ROWS: /* INGEST has published them: what is true now is the durable LSN, of the whole batch */
	case ITEM_LSN:
	case ITEM_MARK:
	case ITEM_TABLE:
	case ITEM_META:
		break;
	case ITEM_UNSTAGE:
		s->writer.unstaged++;
		break;
	}
}
