/*
 * select.c - shapes with a condition: which of them a change touches.
 *
 * A selection is the filter (filter.h) of all conditions on one description of a table. A change is put to
 * it as the row before and the row after; what it finds becomes "inside", "enters" or "leaves" for each
 * shape (docs/protocol.md 5.3). Where the columns that some condition looks at are gone or have another
 * type, its shapes rotate: an answer about them would be made up.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "shapes/core/engine.h"
#include "shapes/core/held_back.h"
#include "shapes/core/registry.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/route.h"
#include "shapes/routing/render.h"

#define FAILURE_LOG_MS 10000 /* at most one line about evaluations that fail in this time */

/* ---- evaluating -------------------------------------------------------------------------------------------- */

struct hitting {
	struct shapes *s;
	uint8_t as;
};

static void hit(struct ingest *in, struct shape *shape, uint8_t as)
{
	if (shape->in.hit_change == in->change_number && shape->in.hits != 0) {
		shape->in.hits |= as;
		return;
	}
	shape->in.hit_change = in->change_number;
	shape->in.hits = as;
	if (in->nhits == in->hits_cap) {
		in->hits_cap = in->hits_cap ? in->hits_cap * 2 : 64;
		in->hits = mem_realloc(in->hits, in->hits_cap * sizeof(struct shape *));
	}
	in->hits[in->nhits++] = shape;
}

static void found(void *ctx, void *member)
{
	const struct hitting *h = ctx;
	hit(h->s->ingest, member, h->as);
}

/* Postgres would have raised an error for this row; it counts as outside, and somebody is told. */
static void failed(void *ctx, void *member, int column, const char *reason)
{
	const struct hitting *h = ctx;
	struct ingest *in = h->s->ingest;
	const struct shape *shape = member;
	int64_t now = clock_mono_ms();
	/* Not for shapes that don't see the transaction, or are to rotate for a column that is gone. */
	if (!shape->in.selected.uses->fits || txn_filtered(in, shape))
		return;
	in->failures++;
	metric_add_label(METRIC_EVALUATIONS, EVALUATION_FAILED, 1);
	if (in->failure_logged_ms != 0 && now - in->failure_logged_ms < FAILURE_LOG_MS)
		return;
	in->failure_logged_ms = now;
	const struct pg_table *t = shape->def.table;
	log_warning("The condition of shape %s on \"%s\".\"%s\" cannot be evaluated for a changed row%s%s%s: %s. The row counts as "
	            "not matching; %" PRIu64 " such evaluations so far.", shape->handle, t->schema, t->name,
	            column >= 0 ? " (column \"" : "", column >= 0 ? t->columns[column].name : "", column >= 0 ? "\")" : "", reason,
	            in->failures);
}

/* ---- what is too costly ------------------------------------------------------------------------------------ */

/*
 * One condition must not stop all shapes: above what a row may cost (filter.h) the dearest ones rotate. Counts depend on
 * the row and on which shapes there are, so a replay may see another count and decide otherwise. Either is right: all
 * shapes that stay have been evaluated to the end, and a rotation, which is queued before anything of the transaction,
 * only has clients fetch anew. Not for what a shape has in its snapshot: nobody asked it about that row.
 */
static void costly(void *ctx, void *member)
{
	struct ingest *in = ((const struct hitting *)ctx)->s->ingest;
	if (!txn_filtered(in, member))
		selection_costly(in, member);
}

void select_dismiss(struct shapes *s)
{
	struct ingest *in = s->ingest;
	for (size_t i = 0; i < in->ncostly; i++) {
		const struct shape_def *d = &in->costly[i]->def;
		if (in->costly[i]->in.routed) {
			held_back_costly(s, d);
			log_seldom(LOG_WARNING, log_repeat_key(0, d->identity, d->identity_len), "The condition of shape %s on \"%s\".\"%s\" takes too much "
			           "work for a changed row. The shape is rotated.", in->costly[i]->handle, d->table->schema, d->table->name);
			ingest_rotate(s, in->costly[i], REASON_CONDITION_COSTLY, "its condition is too costly");
		}
		shape_unref(in->costly[i]);
	}
	in->ncostly = 0;
}

static void evaluate(struct shapes *s, struct selection *sel, const struct wal_tuple *tuple, const struct wal_tuple *older, uint8_t as)
{
	struct hitting h = {s, as};
	struct selection_row row = {sel, tuple, older};
	filter_limit(sel->filter, selection_row_work(&row), costly);
	filter_row(sel->filter, selection_fetch, &row, found, failed, &h);
	metric_add_label(METRIC_EVALUATIONS, EVALUATION_LOOKUP, 1);
	metric_add_label(METRIC_EVALUATIONS, EVALUATION_CONDITION, (int64_t)filter_tested(sel->filter));
	metric_add_label(METRIC_EVALUATION_STEPS, COST_CONDITIONS, (int64_t)where_pool_work(filter_pool(sel->filter)));
}

static void rotate_misfits(struct shapes *s, const struct selection *sel, const struct route *route)
{
	for (size_t i = 0; i < route->n; i++) {
		struct shape *shape = route->shapes[i];
		if (shape->in.selected.selection == sel && !shape->in.selected.uses->fits && !txn_filtered(s->ingest, shape))
			txn_rotate(s->ingest, shape, REASON_SCHEMA_CHANGED,
			           "a column of its condition was dropped, renamed or has another type now");
	}
}

/* Without the whole old row nobody can say which shapes it was in. */
static void rotate_unsure(struct shapes *s, const struct selection *sel, const struct route *route)
{
	for (size_t i = 0; i < route->n; i++)
		if (route->shapes[i]->in.selected.selection == sel && !txn_filtered(s->ingest, route->shapes[i]))
			txn_rotate(s->ingest, route->shapes[i], REASON_REPLICA_IDENTITY,
			           "a row came without its old values: the table's replica identity is not FULL");
}

void select_hits(struct shapes *s, struct selection *sel, const struct relation *rel, const struct wal_change *c)
{
	const struct route *route = route_get(s->ingest, sel->table->oid, false);
	const struct wal_tuple *was = &c->u.row.old_tuple, *now = &c->u.row.new_tuple;
	if (sel->bound != rel || sel->bound_version != rel->version)
		selection_bind(sel, rel);
	if (sel->misfit && first_in_txn(s->ingest, &sel->told_txn))
		rotate_misfits(s, sel, route);
	if (c->kind != WAL_INSERT && c->u.row.old_kind != 'O') {
		if (first_in_txn(s->ingest, &sel->unsure_txn))
			rotate_unsure(s, sel, route);
		return;
	}
	if (c->kind == WAL_INSERT) {
		evaluate(s, sel, now, NULL, HIT_NEW);
	} else if (c->kind == WAL_DELETE) {
		evaluate(s, sel, was, NULL, HIT_OLD);
	} else if (selection_same(sel, was, now)) {
		evaluate(s, sel, was, NULL, HIT_OLD | HIT_NEW);
	} else {
		evaluate(s, sel, was, NULL, HIT_OLD);
		evaluate(s, sel, now, was, HIT_NEW);
	}
}
