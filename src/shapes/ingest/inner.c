/*
 * inner.c - see inner.h. Whoever can't tell whether a set is as it was has its shape rotate: a row without its old values, a
 * condition that fails on a row, a count that was lost at a restart.
 *
 * A set is compared at the end of a transaction: a value that goes and comes in the same one has not changed it. The shape gets
 * nothing of a transaction that changes its sets: what belongs to it then its successor's snapshot shows.
 */
#include "shapes/ingest/inner.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/metrics.h"
#include "shapes/core/engine.h"
#include "shapes/core/sets.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/route.h"
#include "where/node.h"

/* What the running transaction changes of all sets, and what is kept of such for a shape that joins: beyond, those shapes rotate, or
 * take another snapshot. */
#define DELTAS_BYTES_MAX (64u << 20)
#define KEPT_BYTES_MAX (16u << 20)

#define NO_OLD_ROW "a row of a table in its condition came without its old values: that table's replica identity is not FULL"

/* What a transaction changed of a set, of a shape whose snapshot isn't known yet. */
struct inner_kept {
	struct inner_kept *next;
	lsn_t tx;
	uint32_t xid;
	uint16_t number;
	struct where_bag *delta;
};

/* ---- routes -------------------------------------------------------------------------------------------------- */

static int add_values(struct inner *i, const struct sets_plan *plan, size_t number, struct err *e)
{
	char reason[WHERE_REASON_MAX] = "";
	struct where_pool *pool = filter_pool(i->selected.selection->filter);
	const struct where_node *const *values = where_subquery_values(plan->steps[number].around, plan->steps[number].at);
	uint32_t n = (uint32_t)where_subquery_width(plan->steps[number].around, plan->steps[number].at);
	i->ignores_nulls = where_subquery_ignores_nulls(plan->steps[number].around, plan->steps[number].at);
	i->values = mem_alloc((n + 1) * sizeof *i->values);
	for (; i->nvalues < n; i->nvalues++)
		if (where_pool_add(pool, values[i->nvalues], &i->values[i->nvalues], reason) != 0)
			return err_set(e, ERR_CONFIG, "what its subquery selects cannot be evaluated: %s", reason);
	return 0;
}

static int add_one(struct ingest *in, struct inner *i, const struct sets *sets, size_t number, struct err *e)
{
	const struct where *defined = sets_plan_inner(sets->plan, number);
	i->table = shape_def_table(&i->shape->def, where_table(defined)->oid);
	i->bag = sets->bags[number];
	i->route = route_get(in, i->table->oid, true);
	struct condition c = {.table = i->table, .where = sets->bound[number], .uses = defined, .member = i};
	i->route_at = route_watch(i->route, i);
	if (selection_add(&i->route->watched, &c, &i->selected, e) != 0)
		return -1;
	return add_values(i, sets->plan, number, e);
}

int inner_add(struct ingest *in, struct shape *shape, struct err *e)
{
	const struct sets *sets = shape->sets;
	REQUIRE(sets->bound != NULL && shape->in.ninner == 0);
	shape->in.inner = mem_zalloc(sets->n * sizeof *shape->in.inner);
	for (size_t i = 0; i < sets->n; i++) {
		shape->in.inner[i].shape = shape;
		shape->in.ninner++;
		if (add_one(in, &shape->in.inner[i], sets, i, e) != 0) {
			inner_remove(in, shape);
			return -1;
		}
	}
	return 0;
}

static void leave_touched(struct inner *i)
{
	if (i->touched_at == NULL)
		return;
	*i->touched_at = i->next_touched;
	if (i->next_touched != NULL)
		i->next_touched->touched_at = i->touched_at;
	i->touched_at = NULL;
}

static void touch(struct ingest *in, struct inner *i)
{
	if (i->touched_at != NULL)
		return;
	i->next_touched = in->inner_touched;
	i->touched_at = &in->inner_touched;
	if (i->next_touched != NULL)
		i->next_touched->touched_at = &i->next_touched;
	in->inner_touched = i;
}

/* What the running transaction changes of it is forgotten. */
static void untouch(struct ingest *in, struct inner *i)
{
	leave_touched(i);
	if (i->delta != NULL)
		in->deltas_bytes -= where_bag_bytes(i->delta);
	where_bag_free(i->delta);
	i->delta = NULL;
}

void inner_remove(struct ingest *in, struct shape *shape)
{
	for (uint16_t k = 0; k < shape->in.ninner; k++) {
		struct inner *i = &shape->in.inner[k];
		untouch(in, i);
		for (uint32_t v = 0; v < i->nvalues; v++)
			where_pool_unref(filter_pool(i->selected.selection->filter), i->values[v]);
		free(i->values);
		selection_remove(&i->route->watched, &i->selected);
		route_unwatch(in, i);
	}
	free(shape->in.inner);
	shape->in.inner = NULL;
	shape->in.ninner = 0;
}

/* ---- a change -------------------------------------------------------------------------------------------------- */

struct watching {
	struct shapes *s;
	struct ingest *in;
	struct selection *sel;
	int64_t sign;
};

static void found(void *ctx, void *member)
{
	struct ingest *in = ((const struct watching *)ctx)->in;
	if (in->nwatch_hits == in->watch_hits_cap) {
		in->watch_hits_cap = in->watch_hits_cap ? in->watch_hits_cap * 2 : 64;
		in->watch_hits = mem_realloc(in->watch_hits, in->watch_hits_cap * sizeof *in->watch_hits);
	}
	in->watch_hits[in->nwatch_hits++] = member;
}

static void rotate(struct ingest *in, struct inner *i, enum reason reason, const char *why)
{
	if (!txn_filtered(in, i->shape))
		txn_rotate(in, i->shape, reason, why);
	untouch(in, i);
}

static void failed(void *ctx, void *member, int column, const char *reason)
{
	(void)column, (void)reason;
	rotate(((const struct watching *)ctx)->in, member, REASON_CONDITION_UNUSABLE,
	       "a condition inside its condition cannot be evaluated for a changed row");
}

static void costly(void *ctx, void *member)
{
	const struct watching *w = ctx;
	struct shape *shape = ((const struct inner *)member)->shape;
	if (!txn_filtered(w->in, shape))
		selection_costly(w->in, shape);
}

/* Where the transaction counts the row; NULL: it has no text. */
static int64_t *delta_of(struct ingest *in, struct inner *i, const struct where_value *row, const struct where_type *const *types)
{
	char reason[WHERE_REASON_MAX];
	if (i->delta == NULL)
		i->delta = where_bag_like(i->bag);
	size_t before = i->touched_at != NULL ? where_bag_bytes(i->delta) : 0;
	int64_t *count = where_bag_count(i->delta, types, row, NULL, reason);
	in->deltas_bytes += where_bag_bytes(i->delta) - before;
	touch(in, i);
	return count;
}

/* `ok`: the values could be had. */
static void count_values(const struct watching *w, struct inner *i, const struct where_value *row, const struct where_type *const *types, bool ok)
{
	int64_t *count = ok ? delta_of(w->in, i, row, types) : NULL;
	if (count != NULL)
		*count += w->sign;
	else if (ok || !where_pool_too_costly(filter_pool(w->sel->filter)))
		rotate(w->in, i, REASON_CONDITION_UNUSABLE,
		       "what a subquery of its condition selects from a changed row cannot be evaluated");
	else
		rotate(w->in, i, REASON_CONDITION_COSTLY,
		       "what a subquery of its condition selects takes too much work for a changed row");
	if (w->in->deltas_bytes > DELTAS_BYTES_MAX)
		rotate(w->in, i, REASON_LIMIT_TRANSACTION, "a transaction changed too much of what its condition selects");
}

/* The row at hand of the pool is one of those that the subquery selects. */
static void count_row(const struct watching *w, struct inner *i)
{
	struct where_value few[8], *row = i->nvalues <= ARRAY_LEN(few) ? few : mem_alloc(i->nvalues * sizeof *row);
	const struct where_type *few_types[8], **types = row == few ? few_types : mem_alloc(i->nvalues * sizeof *types);
	struct where_pool *pool = filter_pool(w->sel->filter);
	bool ok = true, null = false;
	for (uint32_t k = 0; k < i->nvalues && ok; k++) {
		row[k] = *where_pool_eval(pool, i->values[k]);
		types[k] = where_pool_type(pool, i->values[k]);
		ok = row[k].is != WHERE_ERROR;
		null = null || row[k].is == WHERE_NULL;
	}
	if (!ok || !null || !i->ignores_nulls)
		count_values(w, i, row, types, ok);
	if (row != few) {
		free(row);
		free(types);
	}
}

/* `sign`: what selects the row counts one more, or one less, of its values. */
static void count(struct watching *w, const struct wal_tuple *tuple, const struct wal_tuple *older, int64_t sign)
{
	struct selection_row row = {w->sel, tuple, older};
	struct where_pool *pool = filter_pool(w->sel->filter);
	uint64_t work = selection_row_work(&row);
	w->sign = sign;
	w->in->nwatch_hits = 0;
	filter_limit(w->sel->filter, work, costly);
	filter_row(w->sel->filter, selection_fetch, &row, found, failed, w);
	where_pool_budget(pool, where_pool_work(pool) + work);
	for (size_t i = 0; i < w->in->nwatch_hits; i++)
		if (!txn_filtered(w->in, w->in->watch_hits[i]->shape))
			count_row(w, w->in->watch_hits[i]);
	metric_add_label(METRIC_EVALUATIONS, EVALUATION_SUBQUERY, 1);
	metric_add_label(METRIC_EVALUATION_STEPS, COST_SUBQUERIES, (int64_t)where_pool_work(pool));
}

/* All that are looked for there, or those of them whose columns are gone. */
static void rotate_selection(struct ingest *in, const struct route *route, const struct selection *sel, bool misfits, enum reason reason,
                             const char *why)
{
	for (size_t i = 0; i < route->nwatches; i++)
		if (route->watches[i]->selected.selection == sel && !(misfits && route->watches[i]->selected.uses->fits))
			rotate(in, route->watches[i], reason, why);
}

static void change_for(struct shapes *s, struct route *route, struct selection *sel, const struct relation *rel, const struct wal_change *c)
{
	struct ingest *in = s->ingest;
	struct watching w = {.s = s, .in = in, .sel = sel};
	const struct wal_tuple *was = &c->u.row.old_tuple, *now = &c->u.row.new_tuple;
	if (sel->bound != rel || sel->bound_version != rel->version)
		selection_bind(sel, rel);
	if (sel->misfit && first_in_txn(in, &sel->told_txn))
		rotate_selection(in, route, sel, true, REASON_SCHEMA_CHANGED,
		                 "a column inside its condition was dropped, renamed or has another type now");
	if (c->kind != WAL_INSERT && c->u.row.old_kind != 'O') {
		if (first_in_txn(in, &sel->unsure_txn))
			rotate_selection(in, route, sel, false, REASON_REPLICA_IDENTITY, NO_OLD_ROW);
		return;
	}
	if (c->kind == WAL_UPDATE && selection_same(sel, was, now))
		return;
	if (c->kind != WAL_INSERT)
		count(&w, was, NULL, -1);
	if (c->kind != WAL_DELETE)
		count(&w, now, c->kind == WAL_UPDATE ? was : NULL, 1);
}

void inner_change(struct shapes *s, struct route *route, const struct relation *rel, const struct wal_change *c)
{
	for (struct selection *sel = route->watched; sel != NULL; sel = sel->next)
		change_for(s, route, sel, rel, c);
}

void inner_rotate(struct ingest *in, struct route *route, enum reason reason, const char *why)
{
	for (size_t i = 0; i < route->nwatches; i++)
		rotate(in, route->watches[i], reason, why);
}

/* ---- the end of a transaction --------------------------------------------------------------------------------------- */

enum outcome { SAME, CHANGED, UNSURE };

/* Counts a transaction's changes into what there is. */
static enum outcome apply(struct where_bag *bag, const struct where_bag *delta)
{
	enum outcome outcome = SAME;
	int64_t by;
	for (const struct where_bag_row *r = NULL; (r = where_bag_next(delta, r, &by)) != NULL;) {
		if (by == 0)
			continue;
		int64_t *count = where_bag_count_of(bag, r), was = *count;
		if (was == SET_COUNT_LOST && by < 0)
			return UNSURE;
		if (was == SET_COUNT_LOST)
			continue;
		*count += by;
		if (*count < 0)
			return UNSURE;
		if ((was > 0) != (*count > 0))
			outcome = CHANGED;
	}
	return outcome;
}

/* Judged when the snapshot is there. */
static void keep(struct ingest *in, struct inner *i)
{
	struct shape *shape = i->shape;
	if (shape->in.overflowed)
		return;
	struct inner_kept *k = mem_zalloc(sizeof *k);
	*k = (struct inner_kept){.tx = in->tx, .xid = in->xid, .number = (uint16_t)(i - shape->in.inner), .delta = i->delta};
	struct kept *kept = shape_in_kept(&shape->in);
	if (kept->sets == NULL)
		kept->sets = k;
	else
		kept->last_set->next = k;
	kept->last_set = k;
	in->deltas_bytes -= where_bag_bytes(i->delta);
	kept->sets_bytes += where_bag_bytes(i->delta) + sizeof *k;
	i->delta = NULL;
	if (kept->sets_bytes <= KEPT_BYTES_MAX)
		return;
	shape->in.overflowed = true;
	inner_kept_clear(kept);
}

void inner_commit(struct ingest *in)
{
	struct inner *next;
	for (struct inner *i = in->inner_touched; i != NULL; i = next) {
		next = i->next_touched;
		if (i->delta == NULL || txn_filtered(in, i->shape))
			continue;
		if (i->shape->in.joining) {
			keep(in, i);
			continue;
		}
		enum outcome outcome = apply(i->bag, i->delta);
		if (outcome == CHANGED) {
			txn_rotate(in, i->shape, REASON_SET_CHANGED, "what a subquery of its condition selects changed");
			txn_touch(in, i->shape)->set_changed = true;
		} else if (outcome == UNSURE)
			txn_rotate(in, i->shape, REASON_SET_UNSURE,
			           "what a subquery of its condition selects may have changed: how often a value is there isn't known after a restart");
	}
	inner_txn_clear(in);
}

void inner_txn_clear(struct ingest *in)
{
	for (struct inner *i; (i = in->inner_touched) != NULL;)
		untouch(in, i);
	in->deltas_bytes = 0;
}

/* ---- a shape that joins --------------------------------------------------------------------------------------------------- */

void inner_kept_clear(struct kept *kept)
{
	for (struct inner_kept *k; (k = kept->sets) != NULL;) {
		kept->sets = k->next;
		where_bag_free(k->delta);
		free(k);
	}
	kept->sets_bytes = 0;
}

bool inner_counts(struct shape *shape, struct sets *sets, const struct pg_snapshot *snap)
{
	REQUIRE(sets->n == shape->in.ninner);
	const struct inner_kept *first = shape->in.kept != NULL ? shape->in.kept->sets : NULL;
	if (sets == shape->sets && first != NULL)
		return false; /* it must stay what the shape is registered with */
	for (const struct inner_kept *k = first; k != NULL; k = k->next) {
		bool shown = k->tx < snap->insert_lsn && pg_snapshot_holds(snap, k->xid);
		if (!shown && apply(sets->bags[k->number], k->delta) != SAME)
			return false;
	}
	return true;
}

void inner_take(struct shape *shape, struct sets *sets)
{
	if (shape->in.kept != NULL)
		inner_kept_clear(shape->in.kept);
	sets_unbind(sets);
	if (sets != shape->sets)
		sets_free(shape->sets);
	shape->sets = sets;
	for (uint16_t i = 0; i < shape->in.ninner; i++)
		shape->in.inner[i].bag = sets->bags[i];
}
