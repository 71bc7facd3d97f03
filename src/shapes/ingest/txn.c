/*
 * txn.c - the running transaction: what it has for each shape, staging when it is too large for
 * memory, and its end: tails first, then the position, and the writer gets the same rows.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "shapes/core/engine.h"
#include "shapes/core/items.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/route.h"

/* Changes kept for a shape whose snapshot has begun and isn't known yet (a round trip); beyond, the
 * snapshot is taken again. */
#define JOIN_BYTES_MAX (16u << 20)

/* Changes kept for such a shape while its first rows are copied, which are counted meanwhile; beyond, it rotates. */
#define COUNTING_BYTES_MAX (64u << 20)

/* What one item may be of that, where there is more than one shape in it. */
#define STAGE_BYTES_MAX (BATCH_BYTES_MAX / 2)
#define PAGE_BYTES 4096u

/* ---- the running transaction ---------------------------------------------------------------------- */

#define SPARE_MAX 1024     /* of the structures below, kept for the next transaction */
#define SPARE_ENTRIES_MAX 8 /* with room for so many entries */

static void forget_entries(struct txn_shape *t)
{
	for (size_t i = 0; i < t->n; i++)
		line_unref(t->entries[i].line);
	t->n = t->ncounted = 0;
}

static void txn_shape_free(struct ingest *in, struct txn_shape *t)
{
	forget_entries(t);
	t->shape->in.txn = NULL;
	shape_unref(t->shape);
	free(t->why);
	if (in->nspare == SPARE_MAX || t->cap > SPARE_ENTRIES_MAX) {
		free(t->entries);
		free(t);
		return;
	}
	*t = (struct txn_shape){.entries = t->entries, .cap = t->cap, .next_fresh = in->spare};
	in->spare = t;
	in->nspare++;
}

static struct txn_shape *txn_shape_new(struct ingest *in)
{
	struct txn_shape *t = in->spare;
	if (t == NULL)
		return mem_zalloc(sizeof *t);
	in->spare = t->next_fresh;
	in->nspare--;
	t->next_fresh = NULL;
	return t;
}

static void no_fresh(struct ingest *in)
{
	in->fresh = NULL;
	in->fresh_tail = &in->fresh;
	in->txn_bytes = in->txn_refs_bytes = 0;
}

void txn_clear(struct ingest *in)
{
	for (size_t i = 0; i < in->ntouched; i++)
		txn_shape_free(in, in->touched[i]);
	in->ntouched = 0;
	no_fresh(in);
	keys_clear(in);
	counts_txn_clear(in);
	in->in_txn = in->skip = in->staged = in->ending = in->oversize = false;
	in->wire_bytes = 0;
}

void txn_free(struct ingest *in)
{
	for (struct txn_shape *t; (t = in->spare) != NULL;) {
		in->spare = t->next_fresh;
		free(t->entries);
		free(t);
	}
	in->nspare = 0;
}

struct txn_shape *txn_touch(struct ingest *in, struct shape *shape)
{
	if (shape->in.txn_seq == in->txn_number && shape->in.txn != NULL)
		return shape->in.txn;
	struct txn_shape *t = txn_shape_new(in);
	t->shape = shape_ref(shape);
	shape->in.txn = t;
	shape->in.txn_seq = in->txn_number;
	if (in->ntouched == in->touched_cap) {
		in->touched_cap = in->touched_cap ? in->touched_cap * 2 : 16;
		in->touched = mem_realloc(in->touched, in->touched_cap * sizeof(struct txn_shape *));
	}
	in->touched[in->ntouched++] = t;
	in->txn_refs_bytes += sizeof *t;
	return t;
}

void txn_rotate(struct ingest *in, struct shape *shape, const char *why)
{
	struct txn_shape *t = txn_touch(in, shape);
	if (t->rotate)
		return;
	t->rotate = true;
	t->why = mem_strdup(why);
}

void txn_append(struct ingest *in, struct txn_shape *t, struct line *line, uint64_t op)
{
	if (t->n == 0) {
		if (in->fresh_tail == NULL)
			in->fresh_tail = &in->fresh;
		t->next_fresh = NULL;
		*in->fresh_tail = t;
		in->fresh_tail = &t->next_fresh;
	}
	if (t->n == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 2;
		t->entries = mem_realloc(t->entries, t->cap * sizeof *t->entries);
	}
	t->entries[t->n++] = (struct entry){{in->tx, op}, line_ref(line), 0};
	in->txn_refs_bytes += sizeof(struct entry);
}

/* Marks where chunks end: after the entry that brings the open chunk to the threshold. */
void txn_account(struct shape *shape, struct entry *e)
{
	shape->in.open_bytes += entry_bytes(e);
	if (shape->in.open_bytes < shape->chunk_bytes)
		return;
	e->flags |= ENTRY_CHUNK_END;
	shape->in.open_bytes = 0;
}

/* True if the shape must not see the running transaction. */
bool txn_filtered(struct ingest *in, const struct shape *shape)
{
	if (shape->in.joined_txn >= in->txn_number)
		return true; /* it joined in the middle of it: the snapshot shows it, or is taken again */
	return shape->in.filter.known && in->tx < shape->in.filter.snap.insert_lsn &&
	       pg_snapshot_holds(&shape->in.filter.snap, in->xid);
}

/* Whether a touched shape is still to get the transaction's rows: it may have been dropped meanwhile,
 * and its snapshot may have become known after its first rows were collected. */
static bool txn_wanted(struct ingest *in, const struct txn_shape *t)
{
	return !t->rotate && t->shape->in.routed && !txn_filtered(in, t->shape);
}

/* ---- staging ---------------------------------------------------------------------------------------- */

/*
 * Rows go to the store as they come, all of them; which was a shape's last is known at the commit only. There
 * those still in memory say so themselves, and of the others the store is told (ITEM_LAST). What is kept
 * in memory of a staged transaction is thus a txn_shape for each shape it touches, whatever its size.
 */
struct staging {
	struct shapes *s;
	enum item_kind kind;
	struct item *it; /* being filled, or NULL */
	size_t cap;
	const struct shape *shape; /* the last in it */
};

static void staging_put(struct staging *g)
{
	if (g->it != NULL)
		writer_put(g->s, g->it);
	g->it = NULL;
	g->cap = 0;
	g->shape = NULL;
}

/* The item to add to: another one where the one at hand is as large as one may be. */
static struct item *staging_item(struct staging *g)
{
	if (g->it != NULL && g->it->bytes + g->it->scattered >= STAGE_BYTES_MAX)
		staging_put(g);
	if (g->it == NULL) {
		g->it = item_new(g->kind);
		g->it->tx = g->s->ingest->tx;
		g->it->bytes = sizeof *g->it;
	}
	return g->it;
}

/* Takes the entry's reference. */
static void stage_entry(struct staging *g, struct txn_shape *t, const struct entry *e)
{
	struct item *it = staging_item(g);
	if (it->nrows == g->cap) {
		g->cap = g->cap ? g->cap * 2 : 64;
		it->rows = mem_realloc(it->rows, g->cap * sizeof *it->rows);
	}
	it->rows[it->nrows++] = (struct row){t->shape, *e};
	it->bytes += e->line->len + sizeof(struct row);
	if (g->shape != t->shape)
		it->scattered += PAGE_BYTES;
	g->shape = t->shape;
}

static void stage_shape(struct staging *g, struct txn_shape *t, bool ends)
{
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
	struct staging g = {.s = s, .kind = ITEM_STAGE};
	for (struct txn_shape *t = in->fresh; t != NULL; t = t->next_fresh) {
		/* A shape whose snapshot isn't known yet can't be staged: it takes the snapshot again, after this. */
		bool wanted = txn_wanted(in, t);
		if (wanted && t->shape->in.joining)
			t->shape->in.overflowed = true;
		else if (wanted && t->shape->in.counting)
			txn_rotate(in, t->shape, "a large transaction came while equal rows of its table, which has no key, were counted");
		if (t->shape->in.joining || t->shape->in.counting || !wanted || !counts_number(in, t, !ends))
			forget_entries(t);
		else if (t->n > 0)
			stage_shape(&g, t, ends);
	}
	staging_put(&g);
	counts_forget_lines(in);
	in->staged = true;
	no_fresh(in);
}

static bool has_staged(struct ingest *in, const struct txn_shape *t)
{
	return t->staged && txn_wanted(in, t) && !t->shape->in.joining && !t->shape->in.counting;
}

static void add_end(struct item *it, size_t *cap, struct staged_end end)
{
	if (it->nends == *cap) {
		*cap = *cap ? *cap * 2 : 16;
		it->ends = mem_realloc(it->ends, *cap * sizeof *it->ends);
	}
	it->ends[it->nends++] = end;
	it->bytes += sizeof end;
}

/* Newest entries that were staged before anybody knew that they are the last. */
static void stage_ends(struct shapes *s)
{
	struct ingest *in = s->ingest;
	struct staging g = {.s = s, .kind = ITEM_LAST};
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
		struct item *it = staging_item(&g);
		add_end(it, &g.cap, (struct staged_end){t->shape, t->last, t->last_split, closes});
		size_t block = (size_t)STORE_BLOCK_BYTES_MAX + t->last_len; /* at most: one line may exceed it */
		it->scattered += PAGE_BYTES + (t->last_bytes < block ? t->last_bytes : block);
	}
	staging_put(&g);
}

static void put_unstage(struct shapes *s, struct buf *ids, bool more)
{
	struct item *it = item_new(ITEM_UNSTAGE);
	it->tx = s->ingest->tx;
	it->number = more ? 1 : 0;
	it->data = buf_detach(ids, &it->len);
	it->scattered = it->len / sizeof(uint64_t) * 2 * PAGE_BYTES; /* blocks and chunk ends */
	writer_put(s, it);
}

/* The connection went away in the middle of a staged transaction. */
void txn_unstage(struct shapes *s)
{
	struct ingest *in = s->ingest;
	struct buf ids = BUF_INIT(RECORD_BYTES_MAX);
	counts_undo(s);
	for (size_t i = 0; i < in->ntouched; i++) {
		struct txn_shape *t = in->touched[i];
		if (!t->staged)
			continue;
		t->shape->in.open_bytes = t->open_bytes_before;
		buf_put(&ids, &t->shape->id, sizeof t->shape->id);
		if (ids.len / sizeof(uint64_t) * 2 * PAGE_BYTES >= STAGE_BYTES_MAX)
			put_unstage(s, &ids, true);
	}
	put_unstage(s, &ids, false);
}

/* ---- joining: the snapshot isn't known yet --------------------------------------------------------- */

/* And one whose rows are being counted. */
static void join_buffer(struct shapes *s, struct txn_shape *t)
{
	struct ingest *in = s->ingest;
	struct shape *shape = t->shape;
	for (size_t i = 0; i < t->n; i++) {
		if (shape->in.overflowed)
			break;
		if (shape->in.nbuffered == shape->in.buffered_cap) {
			size_t cap = shape->in.buffered_cap ? shape->in.buffered_cap * 2 : 16;
			shape->in.buffered = mem_realloc(shape->in.buffered, cap * sizeof *shape->in.buffered);
			shape->in.buffered_xid = mem_realloc(shape->in.buffered_xid, cap * sizeof *shape->in.buffered_xid);
			shape->in.buffered_cap = cap;
		}
		size_t at = shape->in.nbuffered++;
		shape->in.buffered[at] = t->entries[i];
		line_ref(t->entries[i].line);
		if (i == t->n - 1)
			shape->in.buffered[at].flags |= ENTRY_LAST;
		shape->in.buffered_xid[at] = in->xid;
		shape->in.buffered_bytes += t->entries[i].line->len + sizeof(struct entry);
	}
	if (shape->in.counting && shape->in.buffered_bytes > COUNTING_BYTES_MAX)
		ingest_rotate(s, shape, "too many changes came while equal rows of its table, which has no key, were counted");
	else if (shape->in.joining && shape->in.buffered_bytes > JOIN_BYTES_MAX) {
		shape->in.overflowed = true;
		join_clear(shape);
	}
}

void join_set(struct ingest *in, struct shape *shape, bool joining)
{
	if (shape->in.joining == joining)
		return;
	shape->in.joining = joining;
	passed_watch(in, joining);
}

void join_clear(struct shape *shape)
{
	for (size_t i = 0; i < shape->in.nbuffered; i++)
		line_unref(shape->in.buffered[i].line);
	free(shape->in.buffered);
	free(shape->in.buffered_xid);
	shape->in.buffered = NULL;
	shape->in.buffered_xid = NULL;
	shape->in.nbuffered = shape->in.buffered_cap = shape->in.buffered_bytes = 0;
}

/* ---- publishing ------------------------------------------------------------------------------------- */

/* Before the transaction's rows go anywhere: its rotations must be durable no later than itself. */
static void rotate_touched(struct shapes *s)
{
	struct ingest *in = s->ingest;
	for (size_t i = 0; i < in->ntouched; i++) {
		struct shape *shape = in->touched[i]->shape;
		if (!in->touched[i]->rotate || !shape->in.routed || txn_filtered(in, shape))
			continue;
		/* Whether the snapshot holds it isn't known yet: take it again, after this. */
		if (shape->in.joining)
			shape->in.overflowed = true;
		else
			ingest_rotate(s, shape, in->touched[i]->why);
	}
}

/* What the writer makes durable of the commit itself. */
static void commit_note(const struct ingest *in, struct item *it)
{
	it->tx = in->tx;
	it->lsn = in->end_lsn;
	it->xid = in->xid;
	it->commit_us = in->commit_us;
}

/* Publishes the small transaction at hand: tails first, then the position, then the writer. */
static void publish(struct shapes *s)
{
	struct ingest *in = s->ingest;
	rotate_touched(s);
	struct item *it = item_new(ITEM_ROWS);
	size_t total = 0, at = 0;
	for (size_t i = 0; i < in->ntouched; i++)
		total += in->touched[i]->n;
	it->rows = mem_alloc(total * sizeof *it->rows);
	commit_note(in, it);
	it->bytes = sizeof *it;
	for (size_t i = 0; i < in->ntouched; i++) {
		struct txn_shape *t = in->touched[i];
		if (!txn_wanted(in, t) || t->n == 0)
			continue;
		if (t->shape->in.joining || t->shape->in.counting) {
			join_buffer(s, t);
			continue;
		}
		t->entries[t->n - 1].flags |= ENTRY_LAST;
		for (size_t j = 0; j < t->n; j++) {
			txn_account(t->shape, &t->entries[j]);
			line_ref(t->entries[j].line);
			/* One change in many shapes is one line in memory, and in the journal. */
			bool shared = at > 0 && it->rows[at - 1].entry.line == t->entries[j].line;
			it->bytes += sizeof(struct row) + (shared ? 0 : t->entries[j].line->len);
			it->rows[at++] = (struct row){t->shape, t->entries[j]};
		}
		/* The tail takes the references that the transaction held. */
		tail_publish(t->shape, t->entries, t->n);
		t->n = t->ncounted = 0;
	}
	it->nrows = at;
	atomic_fetch_add(&s->stat_appended, at);
	writer_put(s, it);
}

/* A staged transaction: the rest of its rows, then the word that makes it visible, once durable. */
static void publish_staged(struct shapes *s)
{
	struct ingest *in = s->ingest;
	rotate_touched(s);
	/* The writer shows it to readers before we hear of it. */
	if (in->end_lsn - 1 > atomic_load(&s->delivered))
		atomic_store(&s->delivered, in->end_lsn - 1);
	txn_stage(s, true);
	rotate_touched(s); /* once more: those that couldn't be staged */
	stage_ends(s);
	struct item *it = item_new(ITEM_PUBLISH);
	commit_note(in, it);
	it->bytes = sizeof *it;
	size_t cap = 0;
	for (size_t i = 0; i < in->ntouched; i++)
		if (has_staged(in, in->touched[i]))
			add_end(it, &cap, (struct staged_end){in->touched[i]->shape, in->touched[i]->last, 0, false});
	in->publishing = true;
	in->publishing_tx = in->tx;
	writer_put(s, it);
}

static void finish_txn(struct shapes *s)
{
	struct ingest *in = s->ingest;
	passed_add(in, in->xid);
	commits_add(&in->commits, (struct commit){in->tx, in->commit_us, in->xid});
	in->processed = in->end_lsn;
	in->keepalive = 0;
	in->delivered_ms = clock_mono_ms();
	/* The end of a commit is where the next record starts, which may be the next commit: value - 1. */
	mark_set_seen(s, in->end_lsn - 1);
	atomic_fetch_add(&s->stat_transactions, 1);
	txn_clear(in);
}

/* Goes on with the end of the transaction as far as the mark and the writer allow. False: not done. */
bool txn_try_finish(struct shapes *s)
{
	struct ingest *in = s->ingest;
	if (!in->ending)
		return true;
	if (in->publishing) {
		if (atomic_load(&s->published_tx) != in->publishing_tx)
			return false;
		in->publishing = false;
		finish_txn(s);
		return true;
	}
	if (!mark_covers(s, in->end_lsn))
		return false;
	if (in->staged) {
		publish_staged(s);
		return false;
	}
	publish(s);
	finish_txn(s);
	return true;
}
