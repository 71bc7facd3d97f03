/*
 * writer.c - the WRITER thread: one commit for everything that is queued, and the folding of the
 * journal into blocks.
 *
 * Items are taken in the order they were queued and committed together; what a commit must make true
 * for others (a shape may be seen, a rotation may be told, the slot may be acknowledged) happens after
 * it, in the same order. When the store fails, nothing is told and nothing acknowledged: the
 * environment is reopened and the same items - all of them still in memory, and exactly what the slot
 * would send again - go into a new transaction. Nothing is retried in the failed one.
 */
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/lock_order.h"
#include "base/log.h"
#include "base/mem.h"
#include "shapes/core/engine.h"
#include "shapes/core/items.h"
#include "shapes/core/registry.h"
#include "shapes/logs/commits.h"
#include "shapes/logs/record.h"
#include "shapes/logs/writer.h"

/* A store that can't be written is told again this often. */
#define STORE_FAILING_TELL_MS 60000

/* Snapshot rows queued for the writer; beyond, the copying threads wait. */
#define SNAPSHOT_QUEUE_BYTES_MAX (16u << 20)

/* Entries deleted at a time for dropped shapes and trimmed journal. */
#define GC_ENTRIES_MAX 2000

/* One fold touches at most so many shapes and bytes: the writer is away from new commits meanwhile. */
#define FOLD_SHAPES_MAX 256
#define FOLD_BYTES_MAX (8u << 20)

#define BATCH_ITEMS_MAX 20000
#define FOLDS_PER_ROUND 16 /* before the next commit of new rows */
#define TRIM_AFTER_BYTES (4u << 20) /* written since the last trim */
#define TRIM_BUSY_MS 5000           /* where no second is idle */
#define JOURNAL_ROOM_BYTES (2 * (size_t)BATCH_BYTES_MAX) /* a batch's buffer beyond isn't kept for the next one */
/* Nobody waits for a transaction's rows to be durable but the slot's position: their commit begins this much after the
 * first of them. Clients are being answered meanwhile, on few processors by the one that the commit would take, and a
 * commit costs the same (some 0.5 ms of a processor, most of it in the kernel) for one row as for a thousand. */
#define GATHER_MS 10
/* Between attempts on a failing store; each takes twice the time of the one before. An attempt opens the environment
 * anew, for which all of its pages are looked at. */
#define STORE_RETRY_MS 500
#define STORE_RETRY_MAX_MS 8000

static void item_free(struct item *it)
{
	for (size_t i = 0; i < it->nrows; i++)
		line_unref(it->rows[i].entry.line);
	free(it->rows);
	free(it->ends);
	free(it->data);
	shape_unref(it->shape);
	free(it);
}

/* Why something waits longer than it may. */
static int too_long(struct shapes *s, struct err *e)
{
	char why[300];
	if (atomic_load(&s->stopping))
		return err_set(e, ERR_CANCELLED, "stopping");
	if (shapes_store_failing(s, NULL, why, sizeof why))
		return err_set(e, ERR_TIMEOUT, "The storage can't be written: %s", why);
	return err_set(e, ERR_TIMEOUT, "The storage is too slow: it did not take what was to be written in time");
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

/* ---- a store that fails ---- */

static const char *consequence(unsigned source)
{
	return source == FAILING_COMMITS ? "nothing is acknowledged to Postgres until the store works again"
	                                 : "what is in the journal stays there, and in memory, until the store works again";
}

static void note_failure(struct shapes *s, unsigned source, const struct err *e)
{
	int64_t now = clock_mono_ms();
	pthread_mutex_lock(&s->failing_lock);
	unsigned before = atomic_load(&s->store_failing);
	bool first = before == 0, another = (before & source) == 0;
	snprintf(s->failing_text, sizeof s->failing_text, "%s", e->text);
	if (first)
		s->failing_since_ms = now;
	bool tell = another || now - s->failing_told_ms >= STORE_FAILING_TELL_MS;
	if (tell)
		s->failing_told_ms = now;
	int64_t for_s = (now - s->failing_since_ms) / 1000;
	pthread_mutex_unlock(&s->failing_lock);
	atomic_fetch_or(&s->store_failing, source);
	if (another)
		log_error("%s - %s", e->text, consequence(source));
	else if (tell)
		log_error("%s - for %" PRId64 " s now; Postgres keeps its WAL since %s until the store works again", e->text, for_s,
		          lsn_text(atomic_load(&s->durable), (char[LSN_TEXT_MAX]){0}));
}

static void works_again(struct shapes *s, unsigned source)
{
	if (atomic_fetch_and(&s->store_failing, ~source) != source)
		return; /* nothing failed, or something still does */
	pthread_mutex_lock(&s->failing_lock);
	int64_t for_s = (clock_mono_ms() - s->failing_since_ms) / 1000;
	pthread_mutex_unlock(&s->failing_lock);
	log_notice("the store works again, after %" PRId64 " s", for_s);
}

/* ---- folding ---- */

void writer_track(struct shapes *s, struct shape *shape, uint64_t seq)
{
	struct writer *w = &s->writer;
	if (shape->wr.in_fold_list)
		return;
	shape->wr.in_fold_list = true;
	shape->wr.oldest_seq = seq;
	shape->wr.fold_prev = w->fold_tail;
	shape->wr.fold_next = NULL;
	if (w->fold_tail != NULL)
		w->fold_tail->wr.fold_next = shape;
	else
		w->fold_head = shape;
	w->fold_tail = shape;
	w->fold_shapes++;
}

void writer_untrack(struct shapes *s, struct shape *shape)
{
	struct writer *w = &s->writer;
	if (!shape->wr.in_fold_list)
		return;
	shape->wr.in_fold_list = false;
	if (shape->wr.fold_prev != NULL)
		shape->wr.fold_prev->wr.fold_next = shape->wr.fold_next;
	else
		w->fold_head = shape->wr.fold_next;
	if (shape->wr.fold_next != NULL)
		shape->wr.fold_next->wr.fold_prev = shape->wr.fold_prev;
	else
		w->fold_tail = shape->wr.fold_prev;
	w->fold_shapes--;
}

static size_t journal_limit(const struct writer *w)
{
	size_t limit = JOURNAL_BYTES_BASE + w->fold_shapes * JOURNAL_BYTES_PER_SHAPE;
	return limit < JOURNAL_BYTES_MAX ? limit : JOURNAL_BYTES_MAX;
}

static bool fold_due(const struct writer *w)
{
	return w->fold_head != NULL && (w->journal_bytes > journal_limit(w) || w->journal_refs > JOURNAL_REFS_MAX);
}

static struct store_entry stored(const struct entry *e)
{
	const struct line *l = e->line;
	if ((e->flags & ENTRY_LAST) == 0)
		return (struct store_entry){.at = e->at, .a = l->text, .a_len = l->len};
	return (struct store_entry){.at = e->at, .a = l->text, .b = LINE_LAST, .c = l->text + l->split, .a_len = l->split,
	                            .b_len = LINE_LAST_LEN, .c_len = l->len - l->split};
}

/* Writes entries as blocks that end where chunks end and at STORE_BLOCK_BYTES_MAX. */
static int put_blocks(struct store *store, uint64_t id, const struct entry *entries, size_t n, struct err *e)
{
	struct store_entry *se = mem_alloc(n * sizeof *se);
	int rc = 0;
	for (size_t i = 0; i < n && rc == 0;) {
		size_t bytes = 0, k = 0;
		bool end = false;
		for (; i < n && !end && bytes < STORE_BLOCK_BYTES_MAX; i++) {
			se[k++] = stored(&entries[i]);
			bytes += entry_bytes(&entries[i]);
			end = (entries[i].flags & ENTRY_CHUNK_END) != 0;
		}
		rc = store_put_block(store, id, se, k, end, e);
	}
	free(se);
	return rc;
}

/* The tail's entries that the store may have as blocks: of transactions below the durable LSN, from the first
 * on, of about FOLD_BYTES_MAX. *partial: there are more. */
static struct entry *copy_tail(struct shape *shape, lsn_t durable, size_t *n, bool *partial)
{
	pthread_mutex_lock(shape_lock(shape));
	const struct entry *tail = shape->tail.entries + shape->tail.first;
	size_t count = 0, bytes = 0;
	for (; count < shape->tail.n && tail[count].at.tx < durable && bytes < FOLD_BYTES_MAX; count++)
		bytes += entry_bytes(&tail[count]);
	*partial = count < shape->tail.n && tail[count].at.tx < durable;
	struct entry *copy = count > 0 ? mem_alloc(count * sizeof *copy) : NULL;
	for (size_t i = 0; i < count; i++) {
		copy[i] = tail[i];
		line_ref(copy[i].line);
	}
	pthread_mutex_unlock(shape_lock(shape));
	*n = count;
	return copy;
}

static void free_entries(struct entry *entries, size_t n)
{
	for (size_t i = 0; i < n; i++)
		line_unref(entries[i].line);
	free(entries);
}

/* What is damaged in the store costs its shape, and nobody else waits: the transaction goes on without it. */
static int unless_damaged(struct shape *shape, const struct err *e)
{
	if (e->kind != ERR_DAMAGED)
		return -1;
	if (!atomic_load(&shape->dropped))
		log_error("Shape %s is dropped: %s", shape->handle, e->text);
	shape_rotate(shape, "its part of the store is damaged");
	return 0;
}

struct folded {
	struct shape *shape;
	struct log_offset upto; /* {0, 0}: nothing */
	bool partial;           /* the rest of its tail is for another step */
};

/* One transaction's worth of it. */
struct fold {
	struct folded done[FOLD_SHAPES_MAX];
	size_t n, bytes;
};

static bool fold_has_room(const struct fold *f, const struct store *store)
{
	return f->n < FOLD_SHAPES_MAX && f->bytes < FOLD_BYTES_MAX && !store_txn_is_large(store);
}

/* Puts one shape's tail into blocks, inside the running transaction. */
static int fold_shape(struct shapes *s, struct fold *fold, struct shape *shape, struct err *e)
{
	struct folded *f = &fold->done[fold->n++];
	size_t n;
	*f = (struct folded){.shape = shape};
	struct entry *entries = copy_tail(shape, atomic_load(&s->durable), &n, &f->partial);
	if (n == 0)
		return 0;
	for (size_t i = 0; i < n; i++)
		fold->bytes += entry_bytes(&entries[i]);
	int rc = put_blocks(s->store, shape->id, entries, n, e);
	if (rc == 0)
		f->upto = entries[n - 1].at;
	else
		f->partial = false;
	free_entries(entries, n);
	return rc == 0 ? 0 : unless_damaged(shape, e);
}

/* Commits it; then the tails are let go of. */
static int fold_commit(struct shapes *s, struct fold *fold, struct err *e)
{
	struct writer *w = &s->writer;
	if (store_commit(s->store, e) != 0)
		return -1;
	for (size_t i = 0; i < fold->n; i++) {
		const struct folded *f = &fold->done[i];
		if (f->upto.tx != 0)
			tail_folded(f->shape, f->upto);
		if (f->partial)
			continue; /* it keeps its place, and its batches */
		writer_untrack(s, f->shape);
		/* Entries that aren't below the durable LSN yet stay, and with them the batch they are in. */
		pthread_mutex_lock(shape_lock(f->shape));
		bool left = f->shape->tail.n > 0;
		pthread_mutex_unlock(shape_lock(f->shape));
		if (left && !atomic_load(&f->shape->dropped))
			writer_track(s, f->shape, w->next_seq > 0 ? w->next_seq - 1 : 0);
	}
	return 0;
}

/* One step of folding in a transaction of its own. */
static int fold_step(struct shapes *s, struct err *e)
{
	struct writer *w = &s->writer;
	struct fold fold = {.n = 0};
	if (store_begin(s->store, e) != 0)
		return -1;
	for (struct shape *shape = w->fold_head; shape != NULL && fold_has_room(&fold, s->store); shape = shape->wr.fold_next)
		if (fold_shape(s, &fold, shape, e) != 0)
			return -1;
	const struct shape *first_left = w->fold_head;
	if (fold.n > 0) {
		const struct folded *last = &fold.done[fold.n - 1];
		first_left = last->partial ? last->shape : last->shape->wr.fold_next;
	}
	uint64_t next = first_left != NULL ? first_left->wr.oldest_seq : w->next_seq;
	if (fold_commit(s, &fold, e) != 0)
		return -1;
	w->trim_upto = next;
	w->trim_pending = true;
	if (w->fold_head == NULL)
		w->journal_bytes = w->journal_refs = 0;
	else if (next > w->first_seq && w->next_seq > w->first_seq) {
		/* What is left is about in proportion to the batches that are left. */
		uint64_t all = w->next_seq - w->first_seq, left = w->next_seq - next;
		w->journal_bytes = (size_t)((double)w->journal_bytes * (double)left / (double)all);
		w->journal_refs = (size_t)((double)w->journal_refs * (double)left / (double)all);
	}
	if (next > w->first_seq)
		w->first_seq = next;
	return 0;
}

/* ---- one item inside the transaction ---- */

struct batch {
	struct item **items;
	size_t n;
	struct item **rows; /* those with rows, for the journal */
	size_t nrows_items;
	size_t journal_refs;
	lsn_t durable, mark;
	bool has_mark, reset; /* reset: the durable LSN is set, not raised */
	uint64_t mark_seq;
	/* What an attempt has seen lives here until committed(): the next attempt begins from none of it. */
	uint64_t attempt;  /* a shape with this number in wr.drop_attempt had its ITEM_DROP in it */
	uint64_t next_id;  /* 0: no shape was in it */
	struct buf journal;
	struct buf commits;  /* a run */
	lsn_t commits_first;
	uint64_t commits_bytes; /* of the list, with all that this batch does to it */
};

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

/*
 * Shapes that rows are to be staged for: what their tails hold comes before those rows, and nothing of it may
 * stay in memory only. In transactions of its own, as it may be much; all of it is below the durable LSN,
 * see take_items().
 */
static int fold_before_staging(struct shapes *s, const struct item *it, struct err *e)
{
	for (size_t i = 0; i < it->nrows;) {
		if (!it->rows[i].shape->wr.in_fold_list) {
			i++;
			continue;
		}
		struct fold fold = {.n = 0};
		if (store_begin(s->store, e) != 0)
			return -1;
		/* One that is only partly done stays in the list, and is the first of the next transaction. */
		for (const struct shape *before = NULL; i < it->nrows && fold_has_room(&fold, s->store); i++) {
			struct shape *shape = it->rows[i].shape;
			if (shape == before || !shape->wr.in_fold_list)
				continue;
			if (fold_shape(s, &fold, shape, e) != 0)
				return -1;
			if (fold.done[fold.n - 1].partial)
				break;
			before = shape;
		}
		if (fold_commit(s, &fold, e) != 0)
			return -1;
	}
	return 0;
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
		int rc = put_blocks(s->store, shape->id, entries, end - i, e);
		free(entries);
		if (rc != 0 && unless_damaged(shape, e) != 0)
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
		    unless_damaged(end->shape, e) != 0)
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

static int write_item(struct shapes *s, struct batch *b, struct item *it, struct err *e)
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
		return store_put_shape(s->store, it->shape->id, it->data, it->len, e) == 0 ? 0 : unless_damaged(it->shape, e);
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

static void committed(struct shapes *s, struct item *it)
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
	if (b->reset || b->durable > atomic_load(&s->durable))
		atomic_store(&s->durable, b->durable);
	if (b->next_id != 0)
		w->next_id = b->next_id;
	size_t snapshot = 0, ahead = 0;
	for (size_t i = 0; i < b->n; i++) {
		struct item *it = b->items[i];
		committed(s, it);
		if (it->kind == ITEM_PIECE)
			snapshot += it->bytes;
		if (it->kind == ITEM_ROWS || it->kind == ITEM_STAGE)
			ahead += it->bytes;
		item_free(it);
	}
	atomic_fetch_sub(&s->ahead_bytes, ahead);
	w->written_bytes += ahead + snapshot;
	pthread_mutex_lock(&w->lock);
	w->snapshot_bytes -= snapshot;
	w->ndone += b->n;
	pthread_cond_broadcast(&w->room);
	pthread_mutex_unlock(&w->lock);
	if (s->stream != NULL)
		stream_wake(s->stream);
}

/* Everything in `b->items`, in one transaction. */
static int try_batch(struct shapes *s, struct batch *b, struct err *e)
{
	struct writer *w = &s->writer;
	b->nrows_items = b->journal_refs = 0;
	b->durable = atomic_load(&s->durable);
	b->has_mark = b->reset = false;
	b->attempt++;
	b->next_id = 0;
	b->commits_bytes = w->commits_bytes;
	buf_reset(&b->commits);
	for (size_t i = 0; i < b->n; i++)
		if (b->items[i]->kind == ITEM_STAGE && fold_before_staging(s, b->items[i], e) != 0)
			return -1;
	if (store_begin(s->store, e) != 0)
		return -1;
	for (size_t i = 0; i < b->n; i++)
		if (write_item(s, b, b->items[i], e) != 0)
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

static int64_t next_rest(int64_t rest_ms)
{
	return rest_ms == 0 ? STORE_RETRY_MS : rest_ms < STORE_RETRY_MAX_MS / 2 ? rest_ms * 2 : STORE_RETRY_MAX_MS;
}

/* Until the next attempt on a failing store; for a process that ends, the shortest of them. */
static void take_rest(struct writer *w, int64_t rest_ms)
{
	int64_t began = clock_mono_ms(), left;
	pthread_mutex_lock(&w->lock);
	while ((left = began + (w->stop ? STORE_RETRY_MS : rest_ms) - clock_mono_ms()) > 0)
		clock_cond_wait(&w->cond, &w->lock, left);
	pthread_mutex_unlock(&w->lock);
}

/* Reopens until it works, or we are told to stop. */
static bool recover(struct shapes *s, unsigned source, struct err *e)
{
	note_failure(s, source, e);
	for (int64_t rest_ms = 0;;) {
		struct err again = {0};
		if (store_reopen(s->store, &again) == 0)
			return true;
		if (store_is_damaged(s->store))
			status_fatal(s, &again);
		note_failure(s, source, &again);
		if (atomic_load(&s->stopping)) {
			log_error("giving up on the store while stopping: %s", again.text);
			return false;
		}
		rest_ms = next_rest(rest_ms);
		take_rest(&s->writer, rest_ms);
	}
}

static bool commit_batch(struct shapes *s, struct batch *b)
{
	int64_t rest_ms = 0;
	for (int tries = 0;; tries++) {
		struct err e = {0};
		if (try_batch(s, b, &e) == 0) {
			works_again(s, FAILING_COMMITS);
			return true;
		}
		if (!recover(s, FAILING_COMMITS, &e))
			return false;
		if (atomic_load(&s->stopping) && tries > 2)
			return false;
		if (tries == 0)
			continue; /* what failed once may have been that alone */
		rest_ms = next_rest(rest_ms);
		take_rest(&s->writer, rest_ms);
	}
}

/* With the lock held. */
static void gather(struct writer *w)
{
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

/* Whether there is more to do is so once what was done is committed. */
static int trim_step(struct shapes *s, uint64_t upto, bool *pending, struct err *e)
{
	bool more;
	if (store_begin(s->store, e) != 0 || store_trim_journal(s->store, upto, GC_ENTRIES_MAX, &more, e) != 0 ||
	    store_commit(s->store, e) != 0)
		return -1;
	*pending = more;
	return 0;
}

static int gc_step(struct shapes *s, bool *pending, struct err *e)
{
	bool more;
	if (store_begin(s->store, e) != 0 || store_gc_step(s->store, GC_ENTRIES_MAX, &more, e) != 0 || store_commit(s->store, e) != 0)
		return -1;
	*pending = more;
	return 0;
}

/* Lines are made by one thread and freed by another: after a burst the allocator holds on to much that
 * is free. An idle second is the time to give it back. */
static void trim(struct shapes *s, bool idle)
{
	struct writer *w = &s->writer;
	int64_t now = clock_mono_ms();
	if (w->written_bytes < TRIM_AFTER_BYTES || (!idle && now - w->trimmed_ms < TRIM_BUSY_MS))
		return;
	w->written_bytes = 0;
	w->trimmed_ms = now;
	malloc_trim(0);
}

/* No shape has anything in the journal that isn't folded, or dropped with it, and yet it is counted: shapes also
 * leave the list of those to fold by being dropped, and before they are staged. */
static bool journal_is_dead(const struct writer *w) { return w->fold_head == NULL && w->journal_bytes > 0; }

static void forget_journal(struct writer *w)
{
	w->journal_bytes = w->journal_refs = 0;
	w->trim_upto = w->first_seq = w->next_seq;
	w->trim_pending = true;
}

/* Folding must keep up with what comes; beside it, deleting goes in small steps. */
static int housekeep(struct shapes *s, struct err *e)
{
	struct writer *w = &s->writer;
	for (int i = 0; i < FOLDS_PER_ROUND && fold_due(w); i++)
		if (fold_step(s, e) != 0)
			return -1;
	if (journal_is_dead(w))
		forget_journal(w);
	if (w->trim_pending && trim_step(s, w->trim_upto, &w->trim_pending, e) != 0)
		return -1;
	return w->gc_pending ? gc_step(s, &w->gc_pending, e) : 0;
}

static bool has_work(const struct writer *w) { return fold_due(w) || w->trim_pending || w->gc_pending || journal_is_dead(w); }

static bool busy(const struct writer *w) { return has_work(w) && clock_mono_ms() >= w->rest_until_ms; }

static void housekeeping(struct shapes *s)
{
	struct writer *w = &s->writer;
	struct err e = {0};
	if (has_work(w) && !busy(w))
		return;
	if (!has_work(w) || housekeep(s, &e) == 0) {
		w->rest_ms = 0;
		works_again(s, FAILING_HOUSEKEEPING);
		return;
	}
	/* Commits may still work (a full disk has room for small ones): not again at once. What fails is what was to be done
	 * here, so that neither they nor an environment that can be opened say that it works. */
	(void)recover(s, FAILING_HOUSEKEEPING, &e);
	w->rest_ms = next_rest(w->rest_ms);
	w->rest_until_ms = clock_mono_ms() + w->rest_ms;
}

static void *writer_main(void *arg)
{
	struct shapes *s = arg;
	struct writer *w = &s->writer;
	struct batch b = {0};
	b.items = mem_alloc(BATCH_ITEMS_MAX * sizeof(struct item *));
	b.rows = mem_alloc(BATCH_ITEMS_MAX * sizeof(struct item *));
	buf_init(&b.journal, UINT32_MAX);
	buf_init(&b.commits, (size_t)BATCH_ITEMS_MAX * COMMIT_BYTES);
	bool stop = false;
	while (!stop) {
		take_items(s, &b, busy(w) ? 0 : w->rest_until_ms > clock_mono_ms() ? STORE_RETRY_MS : 1000, &stop);
		bool idle = b.n == 0;
		if (!idle && !commit_batch(s, &b))
			break;
		housekeeping(s);
		if (idle)
			buf_clear(&b.journal);
		trim(s, idle);
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
	struct item *mark = item_new(ITEM_MARK);
	mark->lsn = atomic_load(&s->delivered);
	mark->number = UINT64_MAX;
	writer_put(s, mark);
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	w->started = false;
	while (w->head != NULL) {
		struct item *it = w->head;
		w->head = it->next;
		item_free(it);
	}
	w->tail = &w->head;
}
