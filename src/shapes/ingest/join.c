/*
 * join.c - what is kept for a shape whose snapshot isn't known yet, or whose first rows are being counted. Given to it, or
 * dropped, in cmd.c.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/inner.h"
#include "shapes/ingest/route.h"

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
	inner_forget_kept(shape);
}

void join_keep(struct ingest *in, const struct txn_shape *t)
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
}
