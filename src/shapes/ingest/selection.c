/*
 * selection.c - the conditions of a table's shapes: which of them there are, and the columns that they look at. What a change
 * does with them is in select.c.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/route.h"

static struct selection *selection_get(struct route *route, struct pg_table *table)
{
	for (struct selection *sel = route->selections; sel != NULL; sel = sel->next)
		if (sel->table == table)
			return sel;
	struct selection *sel = mem_zalloc(sizeof *sel);
	sel->table = pg_table_ref(table);
	sel->filter = filter_new(table);
	sel->map = mem_alloc((table->ncolumns + 1u) * sizeof *sel->map);
	sel->used = mem_zalloc((table->ncolumns + 1u) * sizeof *sel->used);
	sel->next = route->selections;
	route->selections = sel;
	return sel;
}

static void selection_drop(struct route *route, struct selection *gone)
{
	struct selection **at = &route->selections;
	while (*at != gone)
		at = &(*at)->next;
	*at = gone->next;
	filter_free(gone->filter);
	pg_table_unref(gone->table);
	free(gone->map);
	free(gone->used);
	free(gone);
}

static struct column_set *set_intern(struct selection *sel, const struct where *w)
{
	uint16_t columns[1664], n = 0; /* more than Postgres's 1,600 */
	for (uint16_t i = 0; i < sel->table->ncolumns && n < ARRAY_LEN(columns); i++)
		if (where_uses(w, i))
			columns[n++] = i;
	for (struct column_set *set = sel->sets; set != NULL; set = set->next)
		if (set->n == n && memcmp(set->columns, columns, n * sizeof *columns) == 0) {
			set->refs++;
			return set;
		}
	struct column_set *set = mem_alloc(sizeof *set + n * sizeof *columns);
	*set = (struct column_set){.next = sel->sets, .refs = 1, .fits = true, .n = n};
	memcpy(set->columns, columns, n * sizeof *columns);
	sel->sets = set;
	sel->bound = NULL;
	for (uint16_t i = 0; i < n; i++)
		sel->used[columns[i]] = true;
	return set;
}

static void set_release(struct selection *sel, struct column_set *set)
{
	if (--set->refs > 0)
		return;
	struct column_set **at = &sel->sets;
	while (*at != set)
		at = &(*at)->next;
	*at = set->next;
	free(set);
	sel->bound = NULL; /* it may have been the misfit */
	memset(sel->used, 0, sel->table->ncolumns * sizeof *sel->used);
	for (const struct column_set *other = sel->sets; other != NULL; other = other->next)
		for (uint16_t i = 0; i < other->n; i++)
			sel->used[other->columns[i]] = true;
}

int select_add(struct route *route, struct shape *shape, struct err *e)
{
	struct where *w = NULL;
	char reason[WHERE_REASON_MAX] = "";
	if (where_load(shape->def.table, NULL, shape->def.where, strlen(shape->def.where), &w, e) != 0)
		return -1;
	struct selection *sel = selection_get(route, shape->def.table);
	shape->in.member = (struct filter_member){.member = shape};
	int rc = filter_add(sel->filter, &shape->in.member, w, reason);
	if (rc == 0) {
		shape->in.selection = sel;
		shape->in.uses = set_intern(sel, w);
		sel->refs++;
	} else {
		err_set(e, ERR_CONFIG, "its condition cannot be evaluated: %s", reason);
		if (sel->refs == 0)
			selection_drop(route, sel);
	}
	where_free(w);
	return rc;
}

void select_remove(struct route *route, struct shape *shape)
{
	struct selection *sel = shape->in.selection;
	if (sel == NULL)
		return;
	filter_remove(sel->filter, &shape->in.member);
	set_release(sel, (struct column_set *)shape->in.uses);
	shape->in.uses = NULL;
	shape->in.selection = NULL;
	if (--sel->refs == 0)
		selection_drop(route, sel);
}
