/*
 * rows.c - a changed row on its way to the shapes of a route: which of them it is for, and the lines it becomes, once per format.
 */
#include "shapes/core/limits.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/route.h"

/* Rendered lines up to this size are kept until their format's next change, not only for the change at hand. */
#define RENDERED_KEPT_BYTES (16u << 10)

static void render(struct ingest *in, struct format *f, enum change_view view, const struct wal_change *c)
{
	struct rendered *r = &f->views[view];
	rendered_forget(r);
	line_render(f, view, c, in->tx, in->op, in->xid, &in->scratch);
	r->change_seq = in->change_number;
	for (int i = 0; i < r->nlines; i++) {
		in->txn_bytes += r->lines[i]->len + sizeof(struct line);
		if (r->lines[i]->len > RENDERED_KEPT_BYTES && !f->is_large) {
			f->is_large = true;
			f->large_next = in->large;
			in->large = f;
		}
	}
}

/* The change has been to all shapes of a route. */
static void forget_large(struct ingest *in)
{
	for (struct format *f; (f = in->large) != NULL;) {
		in->large = f->large_next;
		f->is_large = false;
		for (int v = 0; v < CHANGE_VIEWS; v++)
			rendered_forget(&f->views[v]);
	}
	if (in->scratch.cap > ROW_ROOM_KEPT_BYTES)
		buf_clear(&in->scratch);
}

static void row_for_shape(struct shapes *s, struct shape *shape, const struct relation *rel, const struct wal_change *c,
                          enum change_view view)
{
	struct ingest *in = s->ingest;
	if (txn_filtered(in, shape))
		return;
	struct format *f = shape->in.format;
	if (f->bound != rel || f->bound_version != rel->version)
		format_bind(f, rel);
	if (!f->bound_ok) {
		txn_rotate(in, shape, REASON_SCHEMA_CHANGED, f->bound_why);
		return;
	}
	struct rendered *r = &f->views[view];
	if (r->change_seq != in->change_number)
		render(in, f, view, c);
	if (r->nlines < 0) {
		txn_rotate(in, shape, REASON_REPLICA_IDENTITY,
		           "a row came without its old values: the table's replica identity is not FULL");
		return;
	}
	if (r->nlines == 0)
		return;
	if (in->oversize) {
		txn_rotate(in, shape, REASON_LIMIT_TRANSACTION, "a transaction exceeded ELECTRIC_EXPERIMENTAL_MAX_TXN_SIZE");
		return;
	}
	struct txn_shape *t = txn_touch(in, shape);
	for (int i = 0; i < r->nlines; i++)
		txn_append(in, t, r->lines[i], in->op + (uint64_t)i);
}

static enum change_view view_of(const struct wal_change *c, uint8_t hits)
{
	if (c->kind != WAL_UPDATE || hits == (HIT_OLD | HIT_NEW))
		return VIEW_AS_IS;
	return hits == HIT_NEW ? VIEW_ENTERS : VIEW_LEAVES;
}

void row_for_route(struct shapes *s, const struct route *route, const struct relation *rel, const struct wal_change *c)
{
	struct ingest *in = s->ingest;
	if (route == NULL)
		return;
	for (size_t i = 0; i < route->nplain; i++)
		row_for_shape(s, route->plain[i], rel, c, VIEW_AS_IS);
	in->nhits = 0;
	for (struct selection *sel = route->selections; sel != NULL; sel = sel->next)
		select_hits(s, sel, rel, c);
	for (size_t i = 0; i < in->nhits; i++)
		row_for_shape(s, in->hits[i], rel, c, view_of(c, in->hits[i]->in.hits));
	forget_large(in); /* first: the formats of those that are dismissed may go */
	if (in->ncostly > 0)
		select_dismiss(s);
}
