/*
 * misfit.c - which shapes are no longer right for their table as the catalog has it now, and why.
 */
#include <stdlib.h>
#include <string.h>

#include "shapes/core/engine.h"
#include "shapes/core/jobs.h"
#include "shapes/core/registry.h"
#include "shapes/prep/prep.h"

struct misfit {
	enum reason reason;
	const char *why; /* NULL: it fits */
};

/* Where the column is now, -1: it is gone. One of its name with another number was made after it was dropped, or
 * renamed, and has values that the stream never told of. */
static int column_now(const struct pg_column *c, const struct pg_table *now)
{
	int at = pg_table_column(now, c->name, strlen(c->name));
	return at >= 0 && now->columns[at].attnum == c->attnum ? at : -1;
}

/* Labels of an enum, what a domain is made of, a collation: nothing in the stream tells of such changes, and
 * what the condition said of rows that are there already may not be true any more. */
static struct misfit condition_misfit(const struct shape *x, const struct pg_table *then, const struct pg_table *now)
{
	for (uint16_t i = 0; x->def.where != NULL && i < then->ncolumns; i++) {
		const struct pg_column *c = &then->columns[i];
		int at = column_now(c, now);
		if ((at < 0 || !pg_column_same_meaning(then, c, now, &now->columns[at])) && condition_uses(&x->def, now->oid, i))
			return (struct misfit){REASON_SCHEMA_CHANGED, at < 0 ? "a column of the condition was dropped or renamed"
			                                                     : "the type or collation of a column of the condition changed"};
	}
	return (struct misfit){REASON_NONE, NULL};
}

static bool same_name(const struct pg_table *a, const struct pg_table *b)
{
	return strcmp(a->schema, b->schema) == 0 && strcmp(a->name, b->name) == 0;
}

/* None if the shape still is right for the table as it is now. */
static struct misfit shape_misfit(const struct shape *x, const struct pg_table *now)
{
	const struct pg_table *then = x->def.table;
	if (!same_name(then, now))
		return (struct misfit){REASON_TABLE_GONE, "the table was renamed"};
	if (then->npk != now->npk)
		return (struct misfit){REASON_KEY_CHANGED, "the table's key changed"};
	for (uint16_t i = 0; i < then->npk; i++)
		if (strcmp(then->columns[then->pk[i]].name, now->columns[now->pk[i]].name) != 0)
			return (struct misfit){REASON_KEY_CHANGED, "the table's key changed"};
	if (now->keys > then->keys)
		return (struct misfit){REASON_KEY_CHANGED, now->keys == PG_KEYS_CLASH
		                                               ? "a child may have the same keys as its parent or another child"
		                                               : "what kept the table's keys unique was dropped, or made deferrable"};
	for (uint32_t i = 0; i < then->nmembers; i++) {
		const struct pg_member *m = pg_table_member(now, then->members[i].oid);
		if (m != NULL && (strcmp(m->schema, then->members[i].schema) != 0 || strcmp(m->name, then->members[i].name) != 0))
			return (struct misfit){REASON_PARTITION_CHANGED, "a child was renamed"};
	}
	for (uint16_t i = 0; i < x->def.nselected; i++) {
		const struct pg_column *c = &then->columns[x->def.selected[i]];
		int at = column_now(c, now);
		if (at < 0)
			return (struct misfit){REASON_SCHEMA_CHANGED, "a selected column was dropped or renamed"};
		if (!pg_column_keeps_values(then, c, now, &now->columns[at]))
			return (struct misfit){REASON_SCHEMA_CHANGED, "the type of a selected column changed"};
	}
	if (x->def.selects_all && then->ncolumns != now->ncolumns)
		return (struct misfit){REASON_SCHEMA_CHANGED, "columns were added or dropped"};
	return condition_misfit(x, then, now);
}

/* The same for a table that only its condition names: what rows of it are called, and what tells them apart, doesn't matter. */
static struct misfit inner_misfit(const struct shape *x, const struct pg_table *then, const struct pg_table *now)
{
	return same_name(then, now) ? condition_misfit(x, then, now) : (struct misfit){REASON_TABLE_GONE, "the table was renamed"};
}

void misfits_rotate(struct shapes *s, struct pg_table *now)
{
	size_t n;
	struct shape **all = registry_shapes(s, now->oid, &n);
	/* Nearly always a table's shapes share one description, and it is as it was. */
	const struct pg_table *as_was = NULL;
	bool renewed = false;
	for (size_t i = 0; i < n; i++) {
		const struct pg_table *then = shape_def_table(&all[i]->def, now->oid);
		bool own = then == all[i]->def.table;
		if (then != as_was && same_name(then, now) && pg_table_same_columns(then, now))
			as_was = then;
		struct misfit m = {REASON_NONE, NULL};
		if (then != as_was)
			m = own ? shape_misfit(all[i], now) : inner_misfit(all[i], then, now);
		if (m.why != NULL)
			shape_rotate_for(all[i], now->oid, m.reason, m.why);
		else if (own && then != now)
			renewed |= shape_renew_header(all[i], now);
		shape_unref(all[i]);
	}
	free(all);
	if (renewed)
		jobs_reconcile_now(s);
}
