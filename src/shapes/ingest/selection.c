/*
 * selection.c - conditions on a table: which of them there are, the columns that they look at, and a changed row as they see it.
 * What a change does with those of shapes is in select.c, with those inside subqueries in inner.c.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "shapes/core/def.h"
#include "shapes/core/sets.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/route.h"

static struct selection *selection_get(struct selection **list, struct pg_table *table)
{
	for (struct selection *sel = *list; sel != NULL; sel = sel->next)
		if (sel->table == table)
			return sel;
	struct selection *sel = mem_zalloc(sizeof *sel);
	sel->table = pg_table_ref(table);
	sel->filter = filter_new(table);
	sel->map = mem_alloc((table->ncolumns + 1u) * sizeof *sel->map);
	sel->used = mem_zalloc((table->ncolumns + 1u) * sizeof *sel->used);
	sel->next = *list;
	*list = sel;
	return sel;
}

static void selection_drop(struct selection **list, struct selection *gone)
{
	struct selection **at = list;
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

int selection_add(struct selection **list, const struct condition *c, struct selected *out, struct err *e)
{
	char reason[WHERE_REASON_MAX] = "";
	struct selection *sel = selection_get(list, c->table);
	out->member = (struct filter_member){.member = c->member};
	if (filter_add(sel->filter, &out->member, c->where, reason) == 0) {
		out->selection = sel;
		out->uses = set_intern(sel, c->uses);
		sel->refs++;
		return 0;
	}
	if (sel->refs == 0)
		selection_drop(list, sel);
	return err_set(e, ERR_CONFIG, "its condition cannot be evaluated: %s", reason);
}

void selection_remove(struct selection **list, struct selected *s)
{
	struct selection *sel = s->selection;
	if (sel == NULL)
		return;
	filter_remove(sel->filter, &s->member);
	set_release(sel, (struct column_set *)s->uses);
	s->uses = NULL;
	s->selection = NULL;
	if (--sel->refs == 0)
		selection_drop(list, sel);
}

int select_add(struct route *route, struct shape *shape, struct err *e)
{
	struct where *own = NULL;
	const struct sets *sets = shape->sets;
	if (sets == NULL && def_load_where(&shape->def, &own, e) != 0)
		return -1;
	REQUIRE(sets == NULL ? !shape->def.has_subqueries : sets->bound != NULL);
	struct condition c = {.table = shape->def.table, .where = sets != NULL ? sets->bound[sets->n] : own,
	                      .uses = sets != NULL ? sets->plan->where : own, .member = shape};
	int rc = selection_add(&route->selections, &c, &shape->in.selected, e);
	where_free(own);
	return rc;
}

void select_remove(struct route *route, struct shape *shape) { selection_remove(&route->selections, &shape->in.selected); }

/* ---- a row --------------------------------------------------------------------------------------------------- */

void selection_bind(struct selection *sel, const struct relation *rel)
{
	const struct pg_table *t = sel->table;
	sel->bound = rel;
	sel->bound_version = rel->version;
	sel->misfit = false;
	sel->told_txn = 0;
	for (uint16_t i = 0; i < t->ncolumns; i++) {
		sel->map[i] = -1;
		for (uint16_t k = 0; sel->used[i] && k < rel->ncolumns; k++)
			if (strcmp(rel->names[k], t->columns[i].name) == 0 && rel->types[k] == t->columns[i].type_oid)
				sel->map[i] = k;
	}
	for (struct column_set *set = sel->sets; set != NULL; set = set->next) {
		set->fits = true;
		for (uint16_t i = 0; i < set->n; i++)
			set->fits &= sel->map[set->columns[i]] >= 0;
		sel->misfit |= !set->fits;
	}
}

bool selection_fetch(void *ctx, uint16_t column, struct where_text *out)
{
	const struct selection_row *r = ctx;
	int i = r->sel->map[column];
	if (i < 0 || i >= r->tuple->ncolumns)
		return false;
	const struct wal_value *v = &r->tuple->values[i];
	if (v->kind == WAL_UNCHANGED && r->older != NULL && i < r->older->ncolumns)
		v = &r->older->values[i];
	if (v->kind == WAL_UNCHANGED)
		return false;
	*out = (struct where_text){v->data, v->len, v->kind == WAL_NULL};
	return true;
}

static uint64_t bytes_of(const struct wal_tuple *t)
{
	uint64_t sum = 0;
	for (uint16_t i = 0; t != NULL && i < t->ncolumns; i++)
		if (t->values[i].kind == WAL_TEXT)
			sum += t->values[i].len;
	return sum;
}

uint64_t selection_row_work(const struct selection_row *r)
{
	return FILTER_ROW_STEPS + FILTER_BYTE_STEPS * (bytes_of(r->tuple) + bytes_of(r->older));
}

bool selection_same(const struct selection *sel, const struct wal_tuple *was, const struct wal_tuple *now)
{
	for (uint16_t i = 0; i < sel->table->ncolumns; i++) {
		int k = sel->used[i] ? sel->map[i] : -1;
		if (k < 0 || k >= was->ncolumns || k >= now->ncolumns)
			continue;
		const struct wal_value *a = &was->values[k], *b = &now->values[k];
		if (b->kind == WAL_UNCHANGED)
			continue;
		if (a->kind != b->kind || (a->kind == WAL_TEXT && (a->len != b->len || memcmp(a->data, b->data, a->len) != 0)))
			return false;
	}
	return true;
}
