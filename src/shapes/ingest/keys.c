/*
 * keys.c - tables whose keys are unique at the end of a transaction only (a deferrable primary key): what
 * happened inside is told so that nobody meets a key twice.
 *
 * Such a table's changes are held until the commit. If no key was left after it had been taken in this transaction,
 * they go to the shapes as they came. Else each key is told once: before and after the transaction it has one row at
 * most, so rows that came and went cancel out, and what is left of a key is an insert, a delete or an update. It
 * stands at the position of the last change that touched the key, which is no other key's. Which row was moved where
 * doesn't matter to that, and the stream doesn't always tell.
 *
 * What is held is bounded. Beyond, it is let go as it came, with the keys it brought remembered: one that is left
 * later has been told wrongly, and the table's shapes rotate.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "shapes/core/engine.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/route.h"
#include "shapes/routing/keys.h"
#include "shapes/routing/render.h"

/* Changes held, all tables together: as much as of lines. */
#define HELD_BYTES_MAX TXN_BYTES_MAX
/* Keys that one transaction brought to a table, 16 bytes and some room each. */
#define HELD_KEYS_MAX 4000000u

static bool same_key(const struct pg_table *a, const struct pg_table *b)
{
	bool same = line_key_columns(a) == line_key_columns(b);
	for (uint16_t i = 0; same && i < line_key_columns(a); i++)
		same = strcmp(a->columns[line_key_column(a, i)].name, b->columns[line_key_column(b, i)].name) == 0;
	return same;
}

/* ---- holding ---- */

static struct held *held_of(struct ingest *in, struct route *r)
{
	if (r->held != NULL)
		return r->held;
	struct held *h = mem_zalloc(sizeof *h);
	h->route = r;
	h->table = pg_table_ref(r->loose);
	h->map = mem_alloc(h->table->ncolumns * sizeof *h->map);
	h->next = in->held;
	in->held = r->held = h;
	return h;
}

static void forget_changes(struct held *h)
{
	free(h->entries);
	h->entries = NULL;
	h->n = h->cap = 0;
}

/* Whoever sees the transaction begins again. */
static void give_up(struct ingest *in, struct held *h, enum reason reason, const char *why)
{
	for (size_t i = 0; h->route != NULL && i < h->route->n; i++)
		if (!txn_filtered(in, h->route->shapes[i]))
			txn_rotate(in, h->route->shapes[i], reason, why);
	h->given_up = true;
	forget_changes(h);
	key_set_clear(&h->brought);
}

static void bind_held(struct held *h, const struct relation *rel)
{
	const struct pg_table *t = h->table;
	if (h->bound == rel && h->bound_version == rel->version)
		return;
	h->bound = rel;
	h->bound_version = rel->version;
	h->bound_ok = true;
	for (uint16_t i = 0; i < t->ncolumns; i++) {
		h->map[i] = -1;
		for (uint16_t k = 0; k < rel->ncolumns && h->map[i] < 0; k++)
			if (strcmp(rel->names[k], t->columns[i].name) == 0)
				h->map[i] = k;
	}
	for (uint16_t i = 0; i < line_key_columns(t); i++)
		h->bound_ok = h->bound_ok && h->map[line_key_column(t, i)] >= 0;
}

static void hash_value(struct key_hasher *s, const struct held *h, const struct held_change *c, const struct wal_value *row,
                       uint16_t column)
{
	int at = h->map[column];
	const struct wal_value *v = at >= 0 && at < c->n ? &row[at] : NULL;
	key_hash_put_value(s, v != NULL ? v->data : NULL, v != NULL ? v->len : 0, v == NULL || v->kind != WAL_TEXT);
}

/* A child's rows have keys of their own. */
static void hash_member(struct key_hasher *s, const struct held *h, const struct held_change *c)
{
	if (h->table->nmembers > 0)
		key_hash_put(s, &c->rel->oid, sizeof c->rel->oid);
}

static struct key_hash key_of(const struct held *h, const struct held_change *c, const struct wal_value *row)
{
	struct key_hasher s;
	key_hash_begin(&s);
	hash_member(&s, h, c);
	for (uint16_t i = 0; i < line_key_columns(h->table); i++)
		hash_value(&s, h, c, row, line_key_column(h->table, i));
	return key_hash_end(&s);
}

static struct key_hash contents_of(const struct held *h, const struct held_change *c, const struct wal_value *row)
{
	struct key_hasher s;
	key_hash_begin(&s);
	for (uint16_t i = 0; i < h->table->ncolumns; i++)
		hash_value(&s, h, c, row, i);
	return key_hash_end(&s);
}

static bool is_whole(const struct wal_tuple *t)
{
	for (uint16_t i = 0; i < t->ncolumns; i++)
		if (t->values[i].kind == WAL_UNCHANGED)
			return false;
	return true;
}

/* Values one behind the other, with their bytes. `older` has what TOAST left out. */
static struct wal_value *copy_row(struct arena *a, const struct wal_tuple *t, const struct wal_tuple *older)
{
	size_t bytes = 0;
	struct wal_value *row = arena_alloc(a, t->ncolumns * sizeof *row + 1);
	for (uint16_t i = 0; i < t->ncolumns; i++) {
		row[i] = t->values[i];
		if (row[i].kind == WAL_UNCHANGED && older != NULL)
			row[i] = older->values[i];
		bytes += row[i].len;
	}
	char *to = arena_alloc(a, bytes + 1);
	for (uint16_t i = 0; i < t->ncolumns; i++) {
		if (row[i].len > 0)
			memcpy(to, row[i].data, row[i].len);
		row[i].data = to;
		to += row[i].len;
	}
	return row;
}

/* One copy for all routes that the change at hand is held for. NULL: it isn't whole. */
static const struct held_change *copy_change(struct ingest *in, const struct relation *rel, const struct wal_change *c)
{
	const struct wal_tuple *was = c->kind == WAL_INSERT ? NULL : &c->u.row.old_tuple;
	const struct wal_tuple *now = c->kind == WAL_DELETE ? NULL : &c->u.row.new_tuple;
	if (in->held_number == in->change_number)
		return in->held_change;
	in->held_number = in->change_number;
	in->held_change = NULL;
	if (was != NULL && (c->u.row.old_kind != 'O' || !is_whole(was) || (now != NULL && now->ncolumns != was->ncolumns)))
		return NULL;
	if (was == NULL && !is_whole(now))
		return NULL;
	struct held_change *h = arena_alloc(&in->held_rows, sizeof *h);
	*h = (struct held_change){.kind = c->kind, .op = in->op, .rel = rel, .n = was != NULL ? was->ncolumns : now->ncolumns};
	if (was != NULL)
		h->was = copy_row(&in->held_rows, was, NULL);
	if (now != NULL)
		h->now = copy_row(&in->held_rows, now, was);
	in->held_change = h;
	return h;
}

static void add_entry(struct held *h, const struct held_entry *e)
{
	const struct held_change *c = e->change;
	bool moves = c->kind == WAL_UPDATE && !key_hash_same(e->was, e->now);
	if (c->kind == WAL_DELETE || moves)
		h->conflict = h->conflict || key_set_has(&h->brought, e->was);
	if (c->kind == WAL_INSERT || moves)
		key_set_add(&h->brought, e->now);
	if (h->n == h->cap) {
		h->cap = h->cap ? h->cap * 2 : 16;
		h->entries = mem_realloc(h->entries, h->cap * sizeof *h->entries);
	}
	h->entries[h->n++] = *e;
}

void keys_hold(struct shapes *s, struct route *route, const struct relation *rel, const struct wal_change *c)
{
	struct ingest *in = s->ingest;
	struct held *h = held_of(in, route);
	if (h->given_up)
		return;
	const struct held_change *copy = copy_change(in, rel, c);
	if (copy == NULL) {
		give_up(in, h, REASON_REPLICA_IDENTITY,
		        "a row came without its old values: the table's replica identity is not FULL");
		return;
	}
	bind_held(h, rel);
	if (!h->bound_ok) {
		give_up(in, h, REASON_KEY_CHANGED, "a column of the table's key was dropped or renamed");
		return;
	}
	struct held_entry e = {.change = copy};
	if (copy->was != NULL)
		e.was = key_of(h, copy, copy->was);
	if (copy->now != NULL)
		e.now = key_of(h, copy, copy->now);
	add_entry(h, &e);
	if (h->conflict && h->let_go)
		give_up(in, h, REASON_LIMIT_TRANSACTION,
		        "a large transaction gave a key to another row, and rows of it had been told already");
	else if (h->brought.n > HELD_KEYS_MAX)
		give_up(in, h, REASON_LIMIT_TRANSACTION,
		        "a transaction brought more keys than are remembered, to a table whose primary key is deferrable");
}

/* ---- letting go ---- */

static void route_row(struct shapes *s, const struct held *h, const struct wal_change *c, const struct relation *rel, uint64_t op)
{
	struct ingest *in = s->ingest;
	in->op = op;
	in->change_number++; /* what is cached of a change is of this one, for this route */
	row_for_route(s, h->route, rel, c);
	txn_bound(s);
}

static struct wal_change as_change(const struct held_change *c)
{
	struct wal_change w = {.kind = c->kind};
	w.u.row.relation_oid = c->rel->oid;
	w.u.row.old_kind = c->was != NULL ? 'O' : 0;
	if (c->was != NULL)
		w.u.row.old_tuple = (struct wal_tuple){c->n, c->was};
	if (c->now != NULL)
		w.u.row.new_tuple = (struct wal_tuple){c->n, c->now};
	return w;
}

static void let_go(struct shapes *s, struct held *h)
{
	for (size_t i = 0; h->route != NULL && i < h->n; i++) {
		struct wal_change c = as_change(h->entries[i].change);
		route_row(s, h, &c, h->entries[i].change->rel, h->entries[i].change->op);
	}
	forget_changes(h);
	h->let_go = true;
}

void keys_bound(struct shapes *s)
{
	struct ingest *in = s->ingest;
	if (in->held == NULL || in->held_rows.used <= HELD_BYTES_MAX)
		return;
	uint64_t op = in->op;
	for (struct held *h = in->held; h != NULL; h = h->next) {
		if (h->conflict && !h->given_up)
			give_up(in, h, REASON_LIMIT_TRANSACTION,
			        "a transaction that gave keys to other rows was too large to be put in order");
		else if (!h->given_up)
			let_go(s, h);
	}
	in->op = op;
	arena_reset(&in->held_rows);
	in->held_number = 0;
}

/* A row of one relation in the order of another's columns. */
static struct wal_value *in_order_of(struct arena *a, const struct held_change *c, const struct wal_value *row,
                                     const struct relation *rel, uint16_t n)
{
	struct wal_value *out = arena_alloc(a, n * sizeof *out + 1);
	for (uint16_t i = 0; i < n; i++) {
		out[i] = (struct wal_value){WAL_UNCHANGED, 0, NULL};
		for (uint16_t k = 0; i < rel->ncolumns && k < c->rel->ncolumns && k < c->n; k++)
			if (strcmp(rel->names[i], c->rel->names[k]) == 0)
				out[i] = row[k];
	}
	return out;
}

static void route_net(struct shapes *s, struct held *h, const struct key_net *net)
{
	const struct held_change *was = net->removed, *now = net->added, *by = now != NULL ? now : was;
	struct wal_change c = {.kind = was == NULL ? WAL_INSERT : now == NULL ? WAL_DELETE : WAL_UPDATE};
	c.u.row.relation_oid = by->rel->oid;
	if (was != NULL) {
		c.u.row.old_kind = 'O';
		c.u.row.old_tuple = (struct wal_tuple){by->n, was->was};
		if (was->rel != by->rel)
			c.u.row.old_tuple.values = in_order_of(&s->ingest->held_rows, was, was->was, by->rel, by->n);
	}
	if (now != NULL)
		c.u.row.new_tuple = (struct wal_tuple){now->n, now->now};
	route_row(s, h, &c, by->rel, net->op);
}

static void put_half(struct key_half *halves, size_t *n, struct held *h, const struct held_entry *e, bool added, uint64_t op)
{
	const struct held_change *c = e->change;
	bind_held(h, c->rel);
	halves[(*n)++] = (struct key_half){.key = added ? e->now : e->was, .row = contents_of(h, c, added ? c->now : c->was), .op = op,
	                                   .added = added, .of = c};
}

static void let_go_in_order(struct shapes *s, struct held *h)
{
	struct key_half *halves = mem_alloc(2 * h->n * sizeof *halves);
	struct key_net *nets = mem_alloc(2 * h->n * sizeof *nets);
	size_t n = 0;
	for (size_t i = 0; i < h->n; i++) {
		const struct held_entry *e = &h->entries[i];
		bool moves = e->change->kind == WAL_UPDATE && !key_hash_same(e->was, e->now);
		if (e->change->was != NULL)
			put_half(halves, &n, h, e, false, e->change->op);
		if (e->change->now != NULL)
			put_half(halves, &n, h, e, true, e->change->op + (moves ? 1 : 0));
	}
	long made = key_nets(halves, n, nets);
	if (made < 0)
		give_up(s->ingest, h, REASON_KEY_CHANGED, "a transaction left several rows under one key");
	for (long i = 0; i < made && h->route != NULL; i++)
		route_net(s, h, &nets[i]);
	free(halves);
	free(nets);
}

/* Shapes made with another key than the one at hand: the catalog's watch hasn't come to them yet. */
static void rotate_strangers(struct ingest *in, const struct held *h)
{
	for (size_t i = 0; i < h->route->n; i++) {
		struct shape *shape = h->route->shapes[i];
		if (shape->def.table != h->table && !same_key(shape->def.table, h->table) && !txn_filtered(in, shape))
			txn_rotate(in, shape, REASON_KEY_CHANGED, "the table's key changed");
	}
}

void keys_commit(struct shapes *s)
{
	for (struct held *h = s->ingest->held; h != NULL; h = h->next) {
		if (h->route == NULL || h->given_up)
			continue;
		rotate_strangers(s->ingest, h);
		if (h->conflict)
			let_go_in_order(s, h);
		else
			let_go(s, h);
	}
}

void keys_clear(struct ingest *in)
{
	for (struct held *h; (h = in->held) != NULL;) {
		in->held = h->next;
		if (h->route != NULL)
			h->route->held = NULL;
		forget_changes(h);
		key_set_clear(&h->brought);
		pg_table_unref(h->table);
		free(h->map);
		free(h);
	}
	for (struct relation *r; (r = in->old_relations) != NULL;) {
		in->old_relations = r->next_old;
		relation_drop(in, r);
	}
	if (in->held_rows.used > 0)
		arena_reset(&in->held_rows);
	in->held_number = 0;
}
