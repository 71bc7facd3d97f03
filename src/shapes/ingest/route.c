/*
 * route.c - which shapes see the changes of a relation: routes, formats, partitions, relations.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/metrics.h"
#include "shapes/core/cache.h"
#include "shapes/core/engine.h"
#include "shapes/core/items.h"
#include "shapes/core/registry.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/inner.h"
#include "shapes/ingest/route.h"
#include "shapes/routing/render.h"

/* Of the tables that a shape names, its own first. */
static const struct pg_table *named(const struct shape *shape, size_t i) { return i == 0 ? shape->def.table : shape->def.inner[i - 1]; }
static bool is_root(const struct pg_table *t) { return t->relkind == 'p' || t->nleaves > 0; }

/* ---- keys that are unique at commits only: keys.c -------------------------------------------------- */

static bool are_loose(const struct shape *s) { return s->def.table->keys == PG_KEYS_AT_COMMIT; }

static void loose_add(struct route *r, const struct shape *s)
{
	if (are_loose(s) && r->nloose++ == 0)
		r->loose = pg_table_ref(s->def.table);
}

static void loose_remove(struct route *r, const struct shape *s)
{
	if (!are_loose(s) || --r->nloose > 0)
		return;
	pg_table_unref(r->loose);
	r->loose = NULL;
}

/* ---- routes and formats --------------------------------------------------------------------------- */

/* Adds to a list that doubles; returns its place. */
static size_t list_add(struct shape ***list, size_t *n, size_t *cap, struct shape *s)
{
	if (*n == *cap) {
		*cap = *cap ? *cap * 2 : 4;
		*list = mem_realloc(*list, *cap * sizeof(struct shape *));
	}
	(*list)[*n] = s;
	return (*n)++;
}

/* How changes find it. A condition without an index is put to every changed row of its table. */
static enum metric_routing routing_of(const struct shape *s)
{
	static const enum metric_routing of_way[] = {
		[FILTER_INDEX] = ROUTING_INDEXED, [FILTER_INDEX_AND_REST] = ROUTING_RESIDUAL, [FILTER_REST] = ROUTING_UNINDEXED,
	};
	return s->def.where == NULL ? ROUTING_ALL : of_way[filter_way(&s->in.selected.member)];
}

static void count_routed(struct shape *s, bool routed)
{
	unsigned was = atomic_load_explicit(&s->in.counted_as, memory_order_relaxed), now = routed ? routing_of(s) + 1u : 0;
	if ((was == 0) == !routed)
		return;
	metric_add_label(METRIC_SHAPES_BY_INDEX, (routed ? now : was) - 1, routed ? 1 : -1);
	atomic_store_explicit(&s->in.counted_as, (uint8_t)now, memory_order_relaxed);
}

int route_way(const struct shape *s) { return (int)atomic_load_explicit(&s->in.counted_as, memory_order_relaxed) - 1; }

static int route_add(struct ingest *in, uint32_t oid, struct shape *s, struct err *e)
{
	struct route *r = route_get(in, oid, true);
	loose_add(r, s);
	s->in.route_at = list_add(&r->shapes, &r->n, &r->cap, s);
	if (s->def.where != NULL)
		return select_add(r, s, e);
	s->in.plain_at = list_add(&r->plain, &r->nplain, &r->plain_cap, s);
	return 0;
}

static void route_remove(struct ingest *in, uint32_t oid, struct shape *s)
{
	struct route *r = route_get(in, oid, false);
	if (r == NULL)
		return;
	REQUIRE(r->shapes[s->in.route_at] == s);
	loose_remove(r, s);
	struct shape *moved = r->shapes[s->in.route_at] = r->shapes[--r->n];
	moved->in.route_at = s->in.route_at;
	if (s->def.where != NULL) {
		select_remove(r, s);
	} else {
		moved = r->plain[s->in.plain_at] = r->plain[--r->nplain];
		moved->in.plain_at = s->in.plain_at;
	}
	route_tidy(in, r);
}

static struct format *format_intern(struct ingest *in, const struct shape_def *def)
{
	struct buf key = BUF_INIT(RECORD_BYTES_MAX);
	buf_put(&key, &def->table, sizeof(struct pg_table *));
	buf_put(&key, &def->replica, sizeof def->replica);
	buf_put(&key, &def->selects_all, sizeof def->selects_all);
	buf_put(&key, def->selected, def->nselected * sizeof *def->selected);
	struct format *f = map_get(&in->formats, key.data, key.len);
	if (f != NULL) {
		f->refs++;
		buf_clear(&key);
		return f;
	}
	f = mem_zalloc(sizeof *f);
	f->refs = 1;
	f->key = buf_detach(&key, &f->key_len);
	shape_def_copy(&f->def, def);
	struct buf b = BUF_INIT(4096);
	line_relation_json(def->table, &b);
	f->relation_json = buf_detach(&b, NULL);
	line_key_prefix(def->table->schema, def->table->name, &b);
	f->key_prefix = buf_detach(&b, NULL);
	map_put(&in->formats, f->key, f->key_len, f);
	return f;
}

void rendered_forget(struct rendered *r)
{
	r->change_seq = 0;
	for (size_t i = 0; i < ARRAY_LEN(r->lines); i++)
		if (r->lines[i] != NULL) {
			line_unref(r->lines[i]);
			r->lines[i] = NULL;
		}
}

static void format_forget_lines(struct format *f)
{
	for (int v = 0; v < CHANGE_VIEWS; v++)
		rendered_forget(&f->views[v]);
}

static void format_unref(struct ingest *in, struct format *f)
{
	if (f == NULL || --f->refs > 0)
		return;
	REQUIRE(!f->is_large);
	map_del(&in->formats, f->key, f->key_len);
	format_forget_lines(f);
	shape_def_clear(&f->def);
	free(f->relation_json);
	free(f->key_prefix);
	free(f->member_prefix);
	free(f->map);
	free(f->key);
	free(f);
}

struct relation *relation_of(struct ingest *in, uint32_t oid) { return map_get(&in->relations, &oid, sizeof oid); }

void relation_free(struct relation *r)
{
	for (uint16_t i = 0; i < r->ncolumns; i++)
		free(r->names[i]);
	free(r->names);
	free(r->types);
	free(r->identity);
	free(r->schema);
	free(r->name);
	free(r);
}

static void unbind(struct route *route, const struct relation *r)
{
	struct selection *const lists[] = {route->selections, route->watched};
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		for (struct selection *sel = lists[i]; sel != NULL; sel = sel->next)
			if (sel->bound == r)
				sel->bound = NULL;
}

void relation_drop(struct ingest *in, struct relation *r)
{
	struct format *f;
	for (size_t i = 0; (f = map_next(&in->formats, &i)) != NULL;)
		if (f->bound == r)
			f->bound = NULL;
	struct route *route;
	for (size_t i = 0; (route = map_next(&in->routes, &i)) != NULL;)
		unbind(route, r);
	relation_free(r);
}

/* Changes may be held of a relation that was replaced: then it lives until the transaction's end. */
static bool keep_old(struct ingest *in, struct relation *old)
{
	if (in->held == NULL)
		return false;
	old->next_old = in->old_relations;
	in->old_relations = old;
	return true;
}

void relation_put(struct shapes *s, const struct wal_relation *w)
{
	struct ingest *in = s->ingest;
	struct relation *r = mem_zalloc(sizeof *r);
	r->oid = w->oid;
	r->version = ++in->relation_version;
	r->schema = mem_strdup(w->schema);
	r->name = mem_strdup(w->name);
	r->replica_identity = w->replica_identity;
	r->ncolumns = w->ncolumns;
	r->names = mem_alloc(w->ncolumns * sizeof(char *));
	r->types = mem_alloc(w->ncolumns * sizeof *r->types);
	r->identity = mem_alloc(w->ncolumns * sizeof *r->identity);
	for (uint16_t i = 0; i < w->ncolumns; i++) {
		r->names[i] = mem_strdup(w->columns[i].name);
		r->types[i] = w->columns[i].type_oid;
		r->identity[i] = w->columns[i].key;
	}
	struct relation *old = map_put(&in->relations, &r->oid, sizeof r->oid, r);
	if (old != NULL && !keep_old(in, old))
		relation_drop(in, old);
	registry_cache_doubt(s, w->oid);
}

/* ---- partitions ---- */

struct leaf *leaf_get(struct ingest *in, uint32_t oid) { return map_get(&in->leaves, &oid, sizeof oid); }

void leaf_add(struct ingest *in, uint32_t oid, uint32_t root)
{
	struct leaf *l = leaf_get(in, oid);
	if (l == NULL) {
		l = mem_zalloc(sizeof *l);
		l->oid = oid;
		map_put(&in->leaves, &l->oid, sizeof l->oid, l);
	}
	for (size_t i = 0; i < l->n; i++)
		if (l->roots[i] == root)
			return;
	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 2;
		l->roots = mem_realloc(l->roots, l->cap * sizeof *l->roots);
	}
	l->roots[l->n++] = root;
}

void leaf_add_all(struct ingest *in, const struct pg_table *t)
{
	for (uint32_t i = 0; i < t->nleaves; i++)
		leaf_add(in, t->leaves[i], t->oid);
}

void leaf_clear(struct ingest *in, uint32_t oid)
{
	struct leaf *l = leaf_get(in, oid);
	if (l != NULL)
		l->n = 0;
}

int route_add_shape(struct shapes *s, struct shape *shape, struct err *e)
{
	struct ingest *in = s->ingest;
	if (shape->in.routed)
		return 0;
	shape->in.routed = true;
	shape->in.format = format_intern(in, &shape->def);
	int rc = route_add(in, shape->def.table->oid, shape, e);
	for (size_t i = 0; i <= shape->def.ninner; i++)
		if (is_root(named(shape, i))) {
			in->nroots++;
			leaf_add_all(in, named(shape, i));
		}
	if (rc == 0 && shape->sets != NULL)
		rc = inner_add(in, shape, e);
	if (rc != 0)
		route_remove_shape(s, shape);
	else
		count_routed(shape, true);
	return rc;
}

void route_remove_shape(struct shapes *s, struct shape *shape)
{
	struct ingest *in = s->ingest;
	if (!shape->in.routed)
		return;
	shape->in.routed = false;
	count_routed(shape, false);
	join_end(in, shape);
	join_clear(shape);
	counts_drop(shape);
	inner_remove(in, shape);
	route_remove(in, shape->def.table->oid, shape);
	for (size_t i = 0; i <= shape->def.ninner; i++)
		in->nroots -= is_root(named(shape, i));
	format_unref(in, shape->in.format);
	shape->in.format = NULL;
}

/* From here on the shape gets nothing more, and its drop is ahead of everything that follows: a commit
 * that makes a later transaction durable has forgotten the shape. */
void ingest_drop(struct shapes *s, struct shape *shape)
{
	route_remove_shape(s, shape);
	if (shape->in.drop_put)
		return;
	shape->in.drop_put = true;
	writer_put(s, item_drop_new(shape));
}

void ingest_rotate(struct shapes *s, struct shape *shape, enum reason reason, const char *why)
{
	shape_unlink(shape, reason, why);
	ingest_drop(s, shape);
}
