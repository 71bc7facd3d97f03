/*
 * txn.c - the running transaction: what it has for each shape. Staging, when it is too large for memory, is in stage.c, its
 * end in commit.c.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/route.h"

#define SPARE_MAX 1024     /* of the structures below, kept for the next transaction */
#define SPARE_ENTRIES_MAX 8 /* with room for so many entries */

void txn_forget_entries(struct txn_shape *t)
{
	for (size_t i = 0; i < t->n; i++)
		line_unref(t->entries[i].line);
	t->n = t->ncounted = 0;
}

static void txn_shape_free(struct ingest *in, struct txn_shape *t)
{
	txn_forget_entries(t);
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

void txn_forget(struct ingest *in)
{
	for (size_t i = 0; i < in->ntouched; i++)
		txn_shape_free(in, in->touched[i]);
	in->ntouched = 0;
	txn_no_fresh(in);
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

void txn_rotate(struct ingest *in, struct shape *shape, enum reason reason, const char *why)
{
	struct txn_shape *t = txn_touch(in, shape);
	if (t->rotate)
		return;
	t->rotate = true;
	t->reason = reason;
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
bool txn_wanted(struct ingest *in, const struct txn_shape *t)
{
	return !t->rotate && t->shape->in.routed && !txn_filtered(in, t->shape);
}
