/*
 * ingest_txn.c - the running transaction: what it has for each shape, staging when it is too large for
 * memory, and its end: tails first, then the position, and the writer gets the same rows.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "shapes/ingest.h"

/* ---- the running transaction ---------------------------------------------------------------------- */

static void forget_entries(struct txn_shape *t);

static void txn_shape_free(struct txn_shape *t)
{
	forget_entries(t);
	free(t->entries);
	if (t->shape != NULL) {
		t->shape->in.txn = NULL;
		shape_unref(t->shape);
	}
	free(t);
}

void txn_clear(struct ingest *in)
{
	for (size_t i = 0; i < in->ntouched; i++)
		txn_shape_free(in->touched[i]);
	in->ntouched = in->txn_bytes = 0;
	in->in_txn = in->skip = in->staged = in->ending = in->oversize = false;
	in->wire_bytes = 0;
}

struct txn_shape *txn_touch(struct ingest *in, struct shape *shape)
{
	if (shape->in.txn_seq == in->txn_number && shape->in.txn != NULL)
		return shape->in.txn;
	struct txn_shape *t = mem_zalloc(sizeof *t);
	t->shape = shape_ref(shape);
	t->open_bytes_before = shape->in.open_bytes;
	shape->in.txn = t;
	shape->in.txn_seq = in->txn_number;
	if (in->ntouched == in->touched_cap) {
		in->touched_cap = in->touched_cap ? in->touched_cap * 2 : 16;
		in->touched = mem_realloc(in->touched, in->touched_cap * sizeof(struct txn_shape *));
	}
	in->touched[in->ntouched++] = t;
	return t;
}

void txn_rotate(struct ingest *in, struct shape *shape, const char *why)
{
	struct txn_shape *t = txn_touch(in, shape);
	if (t->rotate)
		return;
	t->rotate = true;
	snprintf(t->why, sizeof t->why, "%s", why);
}

void txn_append(struct ingest *in, struct txn_shape *t, struct line *line, uint64_t op)
{
	if (t->n == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 2;
		t->entries = mem_realloc(t->entries, t->cap * sizeof *t->entries);
	}
	t->entries[t->n++] = (struct entry){{in->tx, op}, line_ref(line), 0};
	in->txn_bytes += sizeof(struct entry);
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

static void forget_entries(struct txn_shape *t)
{
	for (size_t i = 0; i < t->n; i++)
		line_unref(t->entries[i].line);
	t->n = 0;
}

/* Rows of the running transaction go to the store, each shape's newest held back: it may be its last. */
void txn_stage(struct shapes *s, bool all)
{
	struct ingest *in = s->ingest;
	struct item *it = item_new(ITEM_STAGE);
	size_t n = 0;
	for (size_t i = 0; i < in->ntouched; i++)
		n += in->touched[i]->n;
	it->rows = mem_alloc(n * sizeof *it->rows);
	it->tx = in->tx;
	for (size_t i = 0; i < in->ntouched; i++) {
		struct txn_shape *t = in->touched[i];
		/* A shape whose snapshot isn't known yet can't be staged: it takes the snapshot again, after this. */
		if (t->shape->in.joining)
			t->shape->in.overflowed = true;
		if (t->shape->in.joining || !txn_wanted(in, t)) {
			forget_entries(t);
			continue;
		}
		if (t->n == 0)
			continue;
		size_t take = all ? t->n : t->n - 1;
		for (size_t j = 0; j < take; j++) {
			if (all && j == t->n - 1)
				t->entries[j].flags |= ENTRY_LAST;
			txn_account(t->shape, &t->entries[j]);
			it->rows[it->nrows++] = (struct row){t->shape, t->entries[j]};
			it->bytes += t->entries[j].line->len + sizeof(struct row);
		}
		if (take > 0)
			t->staged = true;
		if (take < t->n)
			t->entries[0] = t->entries[t->n - 1];
		t->n -= take;
	}
	in->staged = true;
	in->txn_bytes = 0;
	for (size_t i = 0; i < in->ntouched; i++)
		for (size_t j = 0; j < in->touched[i]->n; j++)
			in->txn_bytes += in->touched[i]->entries[j].line->len;
	writer_put(s, it);
}

/* The connection went away in the middle of a staged transaction. */
void txn_unstage(struct shapes *s)
{
	struct ingest *in = s->ingest;
	struct item *it = item_new(ITEM_UNSTAGE);
	struct buf ids = BUF_INIT(RECORD_BYTES_MAX);
	it->tx = in->tx;
	for (size_t i = 0; i < in->ntouched; i++)
		if (in->touched[i]->staged) {
			struct txn_shape *t = in->touched[i];
			t->shape->in.open_bytes = t->open_bytes_before;
			buf_put(&ids, &t->shape->id, sizeof t->shape->id);
		}
	it->data = buf_detach(&ids, &it->len);
	writer_put(s, it);
}

/* ---- joining: the snapshot isn't known yet --------------------------------------------------------- */

static void join_buffer(struct ingest *in, struct txn_shape *t)
{
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
	if (shape->in.buffered_bytes > JOIN_BYTES_MAX) {
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
	it->lsn = in->end_lsn;
	it->bytes = sizeof *it;
	for (size_t i = 0; i < in->ntouched; i++) {
		struct txn_shape *t = in->touched[i];
		if (!txn_wanted(in, t) || t->n == 0)
			continue;
		if (t->shape->in.joining) {
			join_buffer(in, t);
			continue;
		}
		t->entries[t->n - 1].flags |= ENTRY_LAST;
		for (size_t j = 0; j < t->n; j++) {
			txn_account(t->shape, &t->entries[j]);
			line_ref(t->entries[j].line);
			it->rows[at++] = (struct row){t->shape, t->entries[j]};
			it->bytes += t->entries[j].line->len + sizeof(struct row);
		}
		/* The tail takes the references that the transaction held. */
		tail_publish(t->shape, t->entries, t->n);
		t->n = 0;
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
	for (size_t i = 0; i < in->ntouched; i++)
		if (txn_wanted(in, in->touched[i]) && in->touched[i]->shape->in.joining)
			join_buffer(in, in->touched[i]);
	struct item *it = item_new(ITEM_PUBLISH);
	it->rows = mem_alloc(in->ntouched * sizeof *it->rows);
	it->tx = in->tx;
	it->lsn = in->end_lsn;
	struct line *none = line_new("", 0, 0);
	for (size_t i = 0; i < in->ntouched; i++) {
		struct txn_shape *t = in->touched[i];
		if (!txn_wanted(in, t) || t->shape->in.joining || (t->n == 0 && !t->staged))
			continue;
		REQUIRE(t->n > 0); /* the newest was held back */
		it->rows[it->nrows++] = (struct row){t->shape, {t->entries[t->n - 1].at, line_ref(none), 0}};
	}
	line_unref(none);
	txn_stage(s, true);
	in->publishing = true;
	in->publishing_tx = in->tx;
	writer_put(s, it);
}

static void finish_txn(struct shapes *s)
{
	struct ingest *in = s->ingest;
	passed_add(in, in->xid);
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
