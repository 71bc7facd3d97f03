/*
 * stage.c - a transaction too large for memory: its rows go to the store while it runs, where no reader looks yet
 * (docs/invariants.md 2.8), and are cut there if the connection is lost before its commit.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "shapes/core/engine.h"
#include "shapes/core/items.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/route.h"

/* What one item may be of that, where there is more than one shape in it. */
#define STAGE_BYTES_MAX (BATCH_BYTES_MAX / 2)

/*
 * Rows go to the store as they come, all of them; which was a shape's last is known at the commit only. There
 * those still in memory say so themselves, and of the others the store is told (ITEM_LAST). What is kept
 * in memory of a staged transaction is thus a txn_shape for each shape it touches, whatever its size.
 */

struct staging {
	struct shapes *s;
	struct item_stage *it; /* being filled, or NULL */
};

static void staging_put(struct staging *g)
{
	if (g->it != NULL)
		writer_put(g->s, &g->it->item);
	g->it = NULL;
}

static bool is_full(const struct item *it) { return it->bytes + it->scattered >= STAGE_BYTES_MAX; }

/* Takes the entry's reference. */
static void stage_entry(struct staging *g, struct txn_shape *t, const struct entry *e)
{
	if (g->it != NULL && is_full(&g->it->item))
		staging_put(g);
	if (g->it == NULL)
		g->it = item_stage_new(g->s->ingest->tx);
	item_stage_add(g->it, t->shape, e);
}

static void stage_shape(struct staging *g, struct txn_shape *t, bool ends)
{
	REQUIRE(t->shape->in.routed && !t->shape->in.joining && !t->shape->in.counting);
	if (!t->staged) /* not before: its snapshot may have become known since it was touched, and rows with it */
		t->open_bytes_before = t->shape->in.open_bytes;
	t->last_bytes = 0;
	for (size_t i = 0; i < t->n; i++) {
		struct entry *e = &t->entries[i];
		if (ends && i == t->n - 1)
			e->flags |= ENTRY_LAST;
		txn_account(t->shape, e);
		t->last_bytes += entry_bytes(e);
		stage_entry(g, t, e);
	}
	const struct entry *newest = &t->entries[t->n - 1];
	t->last = newest->at;
	t->last_flags = newest->flags;
	t->last_split = newest->line->split;
	t->last_len = newest->line->len;
	t->staged = true;
	t->marked = ends;
	free(t->entries);
	t->entries = NULL;
	t->n = t->cap = t->ncounted = 0;
}

void txn_stage(struct shapes *s, bool ends)
{
	struct ingest *in = s->ingest;
	struct staging g = {.s = s};
	for (struct txn_shape *t = in->fresh; t != NULL; t = t->next_fresh) {
		/* A shape whose snapshot isn't known yet can't be staged: it takes the snapshot again, after this. */
		bool wanted = txn_wanted(in, t);
		if (wanted && t->shape->in.joining)
			t->shape->in.overflowed = true;
		else if (wanted && t->shape->in.counting)
			txn_rotate(in, t->shape, REASON_ROWS_UNCOUNTED,
			           "a large transaction came while equal rows of its table, which has no key, were counted");
		if (t->shape->in.joining || t->shape->in.counting || !wanted || !counts_number(in, t, !ends))
			txn_forget_entries(t);
		else if (t->n > 0)
			stage_shape(&g, t, ends);
	}
	staging_put(&g);
	counts_forget_lines(in);
	in->staged = true;
	txn_no_fresh(in);
}

static bool has_staged(struct ingest *in, const struct txn_shape *t)
{
	return t->staged && txn_wanted(in, t) && !t->shape->in.joining && !t->shape->in.counting;
}

/* Newest entries that were staged before anybody knew that they are the last. */
static void put_last(struct shapes *s)
{
	struct ingest *in = s->ingest;
	struct item_last *it = NULL;
	for (size_t i = 0; i < in->ntouched; i++) {
		struct txn_shape *t = in->touched[i];
		if (!has_staged(in, t) || t->marked)
			continue;
		/* The text becomes longer: as in txn_account(). */
		bool closed = (t->last_flags & ENTRY_CHUNK_END) != 0, closes = false;
		if (!closed) {
			t->shape->in.open_bytes += LINE_LAST_LEN;
			closes = t->shape->in.open_bytes >= t->shape->chunk_bytes;
			if (closes)
				t->shape->in.open_bytes = 0;
		}
		if (it != NULL && is_full(&it->item)) {
			writer_put(s, &it->item);
			it = NULL;
		}
		if (it == NULL)
			it = item_last_new(in->tx);
		size_t block = (size_t)STORE_BLOCK_BYTES_MAX + t->last_len; /* at most: one line may exceed it */
		item_last_add(it, (struct staged_end){t->shape, t->last, t->last_split, closes}, t->last_bytes < block ? t->last_bytes : block);
	}
	if (it != NULL)
		writer_put(s, &it->item);
}

/* The word that makes it visible, once durable. */
static void put_publish(struct shapes *s)
{
	struct ingest *in = s->ingest;
	struct item_publish *it = item_publish_new(&(struct item_txn){in->tx, in->end_lsn, in->commit_us, in->xid});
	for (size_t i = 0; i < in->ntouched; i++)
		if (has_staged(in, in->touched[i]))
			item_publish_add(it, in->touched[i]->shape, in->touched[i]->last);
	writer_put(s, &it->item);
}

void txn_stage_end(struct shapes *s)
{
	put_last(s);
	put_publish(s);
}

/* Shapes whose counts can't be taken back. */
static void rotate_miscounted(struct shapes *s)
{
	struct ingest *in = s->ingest;
	for (size_t i = 0; i < in->ntouched; i++) {
		struct txn_shape *t = in->touched[i];
		if (t->shape->in.counts != NULL && t->no_undo)
			ingest_rotate(s, t->shape, REASON_LIMIT_TRANSACTION,
			              "the connection was lost in a transaction too large to be taken back");
	}
}

/* The connection went away in the middle of a staged transaction. */
void txn_unstage(struct shapes *s)
{
	struct ingest *in = s->ingest;
	struct buf ids = BUF_INIT(RECORD_BYTES_MAX);
	counts_undo(in);
	rotate_miscounted(s);
	for (size_t i = 0; i < in->ntouched; i++) {
		struct txn_shape *t = in->touched[i];
		if (!t->staged)
			continue;
		t->shape->in.open_bytes = t->open_bytes_before;
		buf_put(&ids, &t->shape->id, sizeof t->shape->id);
		if (ids.len / sizeof(uint64_t) * 2 * ITEM_PAGE_BYTES >= STAGE_BYTES_MAX)
			writer_put(s, item_unstage_new(in->tx, &ids, true));
	}
	writer_put(s, item_unstage_new(in->tx, &ids, false));
}
