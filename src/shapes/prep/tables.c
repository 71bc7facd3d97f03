/*
 * tables.c - what the other files of this room ask of a table with shapes: its record, which shapes a column matters to, and
 * which name the same tables.
 */
#include <stdlib.h>

#include "base/lock_order.h"
#include "base/mem.h"
#include "shapes/core/def.h"
#include "shapes/core/engine.h"
#include "shapes/core/items.h"
#include "shapes/core/registry.h"
#include "shapes/logs/record.h"
#include "shapes/prep/prep.h"
#include "shapes/routing/render.h"
#include "where/where.h"

bool prep_stopping(void *engine) { return atomic_load(&((struct shapes *)engine)->stopping); }

void table_save(struct shapes *s, const struct table_state *t)
{
	lock_held(&s->registry_lock);
	struct buf b = BUF_INIT(RECORD_BYTES_MAX);
	record_table(t, &b);
	writer_put(s, item_table_new(t->oid, &b));
}

bool same_tables(const struct shape_def *a, const struct shape_def *b)
{
	bool same = a->table == b->table && a->ninner == b->ninner;
	for (uint16_t i = 0; same && i < a->ninner; i++)
		same = a->inner[i] == b->inner[i];
	return same;
}

/* Whether the shape's condition looks at a column of a table that it names; a condition that can't be read might. */
bool condition_uses(const struct shape_def *d, uint32_t oid, uint16_t column)
{
	struct where *w;
	struct err ignored;
	if (def_load_where(d, &w, &ignored) != 0)
		return true;
	bool uses = where_uses_of(w, oid, column);
	where_free(w);
	return uses;
}

bool shape_uses(const struct shape *s, uint32_t oid, uint16_t column)
{
	const struct shape_def *d = &s->def;
	bool own = d->table->oid == oid;
	for (uint16_t i = 0; own && i < d->nselected; i++)
		if (d->selected[i] == column)
			return true;
	for (uint16_t i = 0; own && i < line_key_columns(d->table); i++)
		if (line_key_column(d->table, i) == column)
			return true;
	return d->where != NULL && condition_uses(d, oid, column);
}
