/*
 * join.c - what is kept for a shape whose snapshot isn't known yet, or whose first rows are being counted. Given to it, or
 * dropped, in cmd.c.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/inner.h"
#include "shapes/ingest/route.h"

void join_begin(struct ingest *in, struct shape *shape)
{
	join_end(in, shape);
	shape->in.joining = true;
	shape->in.joined_txn = in->txn_number;
	passed_watch(in);
}

void join_end(struct ingest *in, struct shape *shape)
{
	if (!shape->in.joining)
		return;
	shape->in.joining = false;
	passed_unwatch(in, shape->in.joined_txn);
}

void join_clear(struct shape *shape)
{
	struct kept *k = shape->in.kept;
	if (k == NULL)
		return;
	inner_kept_clear(k);
	for (size_t i = 0; i < k->n; i++)
		line_unref(k->entries[i].line);
	free(k->entries);
	free(k->xids);
	free(k);
	shape->in.kept = NULL;
}

static void keep(struct kept *k, const struct entry *en, uint32_t xid, bool last)
{
	if (k->n == k->cap) {
		k->cap = k->cap > 0 ? k->cap * 2 : 16;
		k->entries = mem_realloc(k->entries, k->cap * sizeof *k->entries);
		k->xids = mem_realloc(k->xids, k->cap * sizeof *k->xids);
	}
	k->entries[k->n] = *en;
	line_ref(en->line);
	if (last)
		k->entries[k->n].flags |= ENTRY_LAST;
	k->xids[k->n++] = xid;
	k->bytes += en->line->len + sizeof *en;
}

void join_keep(struct ingest *in, const struct txn_shape *t)
{
	if (t->shape->in.overflowed || t->n == 0)
		return;
	struct kept *k = shape_in_kept(&t->shape->in);
	for (size_t i = 0; i < t->n; i++)
		keep(k, &t->entries[i], in->xid, i == t->n - 1);
}
