/* list.c - see list.h. */
#include "shapes/list.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "shapes/core/def.h"
#include "shapes/core/engine.h"
#include "shapes/ingest/route.h"

#define LIST_STEP 1024u     /* places of the registry that are looked at before it is let go of */

struct list {
	struct shape_facts *all;
	size_t n, cap;
	const char *table;
};

static bool is_of(const struct shape *shape, const char *table)
{
	const struct pg_table *t = shape->def.table;
	size_t len = strlen(t->schema);
	return table == NULL || (strncmp(table, t->schema, len) == 0 && table[len] == '.' && strcmp(table + len + 1, t->name) == 0);
}

static void look_at(struct shape *shape, struct list *l)
{
	struct tail_facts tail;
	if (l->n == l->cap) {
		l->cap = l->cap > 0 ? l->cap * 2 : LIST_STEP;
		l->all = mem_realloc(l->all, l->cap * sizeof *l->all);
	}
	tail_look(shape, &tail);
	int64_t rows = atomic_load_explicit(&shape->rows, memory_order_relaxed);
	struct shape_facts *f = &l->all[l->n++];
	*f = (struct shape_facts){
		.id = shape->id, .listed = is_of(shape, l->table), .state = tail.state, .readers = tail.readers,
		.rows = rows < 0 || shape->def.log_mode == LOG_MODE_CHANGES_ONLY ? -1 : rows,
		.snapshot_bytes = atomic_load_explicit(&shape->snapshot_bytes, memory_order_relaxed),
		.log_bytes = atomic_load_explicit(&shape->log_bytes, memory_order_relaxed),
		.changes = atomic_load_explicit(&shape->changes, memory_order_relaxed),
		.read_ms = atomic_load_explicit(&shape->read_ms, memory_order_relaxed), .routing = route_way(shape),
	};
	_Static_assert(sizeof f->handle == sizeof shape->handle, "a handle is copied");
	memcpy(f->handle, shape->handle, sizeof f->handle);
}

/* Some places of the registry from *at on, which moves on; false at its end. *cap is its size, 0 before the first: if that has
 * changed, its shapes are elsewhere. */
static bool walk_step(struct shapes *s, struct list *l, size_t *at, size_t *cap)
{
	pthread_rwlock_rdlock(&s->registry_lock);
	if (*cap != s->by_handle.cap) {
		*cap = s->by_handle.cap;
		l->n = *at = 0;
	}
	size_t end = *at + LIST_STEP < *cap ? *at + LIST_STEP : *cap;
	for (; *at < end; ++*at)
		if (s->by_handle.slots[*at].value != NULL)
			look_at(s->by_handle.slots[*at].value, l);
	pthread_rwlock_unlock(&s->registry_lock);
	return end < *cap;
}

static int by_id(const void *a, const void *b)
{
	uint64_t x = ((const struct shape_facts *)a)->id, y = ((const struct shape_facts *)b)->id;
	return (x > y) - (x < y);
}

struct shape_facts *shapes_list(struct shapes *s, const char *table, size_t *n)
{
	struct list l = {.table = table};
	size_t at = 0, cap = 0, kept = 0;
	while (walk_step(s, &l, &at, &cap))
		continue;
	if (l.n > 1)
		qsort(l.all, l.n, sizeof *l.all, by_id);
	/* One that moved while we walked may be there twice. */
	for (size_t i = 0; i < l.n; i++)
		if (kept == 0 || l.all[kept - 1].id != l.all[i].id)
			l.all[kept++] = l.all[i];
	*n = kept;
	return l.all;
}

bool shapes_list_where(const struct shape *shape, struct buf *out)
{
	struct err e = {0};
	return def_where_sql(&shape->def, out, &e) == 0;
}
