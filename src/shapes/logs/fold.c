/*
 * fold.c - what is in the journal becomes blocks: which shapes have something there, and a step of folding
 * (docs/invariants.md 2.11).
 */
#include <stdlib.h>

#include "base/mem.h"
#include "shapes/core/engine.h"
#include "shapes/core/limits.h"
#include "shapes/logs/batch.h"

/* One fold touches at most so many shapes and bytes: the writer is away from new commits meanwhile. */
#define FOLD_SHAPES_MAX 256
#define FOLD_BYTES_MAX (8u << 20)

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
	return limit < w->journal_max ? limit : w->journal_max;
}

bool fold_due(const struct writer *w)
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
int fold_put_blocks(struct store *store, uint64_t id, const struct entry *entries, size_t n, struct err *e)
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
	REQUIRE(entries[n - 1].at.tx < atomic_load(&s->durable)); /* docs/invariants.md 2.11 */
	for (size_t i = 0; i < n; i++)
		fold->bytes += entry_bytes(&entries[i]);
	int rc = fold_put_blocks(s->store, shape->id, entries, n, e);
	if (rc == 0)
		f->upto = entries[n - 1].at;
	else
		f->partial = false;
	free_entries(entries, n);
	return rc == 0 ? 0 : failing_unless_damaged(shape, e);
}

/* Commits it; then the tails are let go of. */
static int fold_commit(struct shapes *s, struct fold *fold, struct err *e)
{
	struct writer *w = &s->writer;
	if (store_commit(s->store, e) != 0)
		return -1;
	REQUIRE(writer_is_mine(w) && !store_in_txn(s->store));
	for (size_t i = 0; i < fold->n; i++) {
		const struct folded *f = &fold->done[i];
		REQUIRE(f->upto.tx == 0 || f->upto.tx < atomic_load(&s->durable)); /* docs/invariants.md 2.11 */
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
int fold_step(struct shapes *s, struct err *e)
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

/*
 * Shapes that rows are to be staged for: what their tails hold comes before those rows, and nothing of it may
 * stay in memory only. In transactions of its own, as it may be much; all of it is below the durable LSN,
 * see take_items().
 */
int fold_before_staging(struct shapes *s, const struct item_stage *it, struct err *e)
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
