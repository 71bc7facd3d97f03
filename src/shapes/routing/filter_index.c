/*
 * filter_index.c - the indexes of a filter's nodes: hashes of keys, of prefixes, and trees of ranges.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "shapes/routing/filter_private.h"

#define BUCKETS_MIN 4

/* ---- keys ------------------------------------------------------------------------------------------- */

/* Values of these types are numbers, or bytes that are copied behind the keys. */
static bool is_plain(const struct where_type *t)
{
	switch (t->oid) {
	case OID_BOOL: case OID_INT2: case OID_INT4: case OID_INT8: case OID_OID: case OID_FLOAT4: case OID_FLOAT8:
	case OID_DATE: case OID_TIME: case OID_TIMESTAMP: case OID_TIMESTAMPTZ:
		return true;
	default:
		return false;
	}
}

static bool is_bytes(const struct where_type *t)
{
	if (t->kind == 'e')
		return true;
	switch (t->oid) {
	case OID_TEXT: case OID_VARCHAR: case OID_NAME: case OID_BYTEA: case OID_UUID: case OID_CHAR: case OID_BPCHAR:
		return true;
	default:
		return false;
	}
}

static const struct filter_part *part_of(const struct filter_index *x, uint32_t key)
{
	return &x->parts[x->kind == INDEX_RANGE ? 0 : key];
}

static uint32_t keys_of(const struct filter_index *x)
{
	return x->kind == INDEX_RANGE ? 2 : x->nparts;
}

/* What deep keys point to is in an arena whose head is kept in one more key. */
static size_t key_bytes(const struct filter_index *x, const struct where_value *keys)
{
	size_t n = (keys_of(x) + x->deep) * sizeof *keys;
	for (uint32_t i = 0; i < keys_of(x); i++)
		if (keys[i].is == WHERE_VALUE && is_bytes(part_of(x, i)->type))
			n += keys[i].len;
	return n;
}

static void copy_deep(struct filter *f, const struct filter_index *x, const struct where_value *keys, struct where_value *to)
{
	size_t before = f->scratch.used;
	struct arena own = ARENA_INIT, *arenas[2] = {&f->scratch, &own};
	for (int pass = 0; pass < 2; pass++) { /* the first only measures */
		if (pass == 1)
			arena_reserve(&own, f->scratch.used - before);
		for (uint32_t i = 0; i < keys_of(x); i++) {
			const struct where_type *t = part_of(x, i)->type;
			if (keys[i].is == WHERE_VALUE && !is_plain(t) && !is_bytes(t))
				to[i] = where_copy(arenas[pass], t, &keys[i]);
		}
	}
	to[keys_of(x)] = (struct where_value){.u.p = (const char *)own.head};
}

static void copy_keys(struct filter *f, const struct filter_index *x, const struct where_value *keys, struct where_value *to)
{
	char *bytes = (char *)(to + keys_of(x) + x->deep);
	for (uint32_t i = 0; i < keys_of(x); i++) {
		to[i] = keys[i];
		if (keys[i].is != WHERE_VALUE || !is_bytes(part_of(x, i)->type))
			continue;
		to[i].u.p = bytes;
		if (keys[i].len > 0)
			memcpy(bytes, keys[i].u.p, keys[i].len);
		bytes += keys[i].len;
	}
	if (x->deep)
		copy_deep(f, x, keys, to);
}

static void free_deep(const struct filter_index *x, struct filter_entry *e)
{
	if (!x->deep)
		return;
	struct arena own = {(struct arena_block *)(uintptr_t)e->keys[keys_of(x)].u.p, 0, 0};
	arena_clear(&own);
}

static void free_entry(struct filter_entry *e)
{
	free_deep(e->index, e);
	free(e->index->kind == INDEX_RANGE ? (void *)filter_span_of(e) : (void *)e);
}

static uint32_t hash_keys(const struct filter_index *x, const struct where_value *keys)
{
	uint64_t h = 0;
	if (x->kind == INDEX_PREFIX)
		h = where_hash_bytes(keys->u.p, keys->len);
	else
		for (uint32_t i = 0; i < x->nparts; i++)
			h = (h << 7 | h >> 57) ^ where_hash(x->parts[i].type, &keys[i]); /* (a, b) isn't (b, a) */
	return (uint32_t)(h ^ (h >> 32));
}

static bool same_keys(const struct filter_index *x, const struct where_value *a, const struct where_value *b)
{
	if (x->kind == INDEX_PREFIX)
		return a->len == b->len && memcmp(a->u.p, b->u.p, a->len) == 0;
	for (uint32_t i = 0; i < x->nparts; i++)
		if (!where_equal(x->parts[i].type, &a[i], &b[i]))
			return false;
	return true;
}

/* ---- hashes ----------------------------------------------------------------------------------------- */

static struct filter_entry *find(const struct filter_index *x, const struct where_value *keys, uint32_t hash)
{
	struct filter_entry *e = x->buckets ? x->buckets[hash & x->mask] : NULL;
	while (e != NULL && (e->hash != hash || !same_keys(x, e->keys, keys)))
		e = e->next;
	return e;
}

struct filter_entry *filter_entry_find(const struct filter_index *x, const struct where_value *keys)
{
	return find(x, keys, hash_keys(x, keys));
}

struct filter_entry *filter_prefix_find(const struct filter_index *x, const char *p, size_t n)
{
	struct where_value key = where_bytes(p, n);
	return find(x, &key, hash_keys(x, &key));
}

static void resize(struct filter_index *x, uint32_t size)
{
	struct filter_entry **old = x->buckets;
	uint32_t was = old ? x->mask + 1 : 0;
	x->buckets = mem_zalloc(size * sizeof(struct filter_entry *));
	x->mask = size - 1;
	for (uint32_t i = 0; i < was; i++)
		for (struct filter_entry *e = old[i], *next; e != NULL; e = next) {
			next = e->next;
			e->next = x->buckets[e->hash & x->mask];
			x->buckets[e->hash & x->mask] = e;
		}
	free(old);
}

static void count_length(struct filter_index *x, uint32_t len, bool more)
{
	uint32_t i = 0;
	while (i < x->nlengths && x->lengths[i].len != len)
		i++;
	if (i == x->nlengths) {
		x->lengths = mem_realloc(x->lengths, ++x->nlengths * sizeof *x->lengths);
		x->lengths[i] = (struct filter_lengths){len, 0};
	}
	x->lengths[i].n += more ? 1 : -1u;
	if (x->lengths[i].n == 0)
		x->lengths[i] = x->lengths[--x->nlengths];
}

struct filter_entry *filter_entry_get(struct filter *f, struct filter_index *x, const struct where_value *keys)
{
	uint32_t hash = hash_keys(x, keys);
	struct filter_entry *e = find(x, keys, hash);
	if (e != NULL)
		return e;
	if (x->buckets == NULL || x->n > x->mask)
		resize(x, x->buckets ? (x->mask + 1) * 2 : BUCKETS_MIN);
	e = mem_alloc(sizeof *e + key_bytes(x, keys));
	*e = (struct filter_entry){.index = x, .hash = hash, .next = x->buckets[hash & x->mask]};
	copy_keys(f, x, keys, e->keys);
	x->buckets[hash & x->mask] = e;
	x->n++;
	if (x->kind == INDEX_PREFIX)
		count_length(x, keys->len, true);
	return e;
}

static void unhash(struct filter_index *x, struct filter_entry *e)
{
	struct filter_entry **link = &x->buckets[e->hash & x->mask];
	while (*link != e)
		link = &(*link)->next;
	*link = e->next;
	if (x->kind == INDEX_PREFIX)
		count_length(x, e->keys->len, false);
	if (x->mask >= BUCKETS_MIN * 4 && x->n < x->mask / 8)
		resize(x, (x->mask + 1) / 2);
}

/* ---- ranges ----------------------------------------------------------------------------------------- */

static int compare(const struct filter_index *x, const struct where_value *a, const struct where_value *b)
{
	return where_cmp(x->parts[0].type, a, b);
}

/* Lower bounds by where they begin to hold: none before all, >= before >. */
static int compare_from(const struct filter_index *x, const struct where_value *a, uint8_t af, const struct where_value *b,
                        uint8_t bf)
{
	if (!(af & RANGE_FROM) || !(bf & RANGE_FROM))
		return ((af & RANGE_FROM) != 0) - ((bf & RANGE_FROM) != 0);
	int c = compare(x, a, b);
	return c != 0 ? c : ((bf & RANGE_FROM_INCLUSIVE) != 0) - ((af & RANGE_FROM_INCLUSIVE) != 0);
}

/* Upper bounds by where they cease to hold: < before <=, none after all. */
static int compare_to(const struct filter_index *x, const struct where_value *a, uint8_t af, const struct where_value *b,
                      uint8_t bf)
{
	if (!(af & RANGE_TO) || !(bf & RANGE_TO))
		return ((bf & RANGE_TO) != 0) - ((af & RANGE_TO) != 0);
	int c = compare(x, a, b);
	return c != 0 ? c : ((af & RANGE_TO_INCLUSIVE) != 0) - ((bf & RANGE_TO_INCLUSIVE) != 0);
}

static int compare_spans(const struct filter_index *x, const struct where_value *a, uint8_t af, const struct where_value *b,
                         uint8_t bf)
{
	int c = compare_from(x, &a[0], af, &b[0], bf);
	return c != 0 ? c : compare_to(x, &a[1], af, &b[1], bf);
}

bool filter_span_beyond(const struct filter_index *x, const struct filter_span *s, const struct where_value *v)
{
	if (!(s->flags & RANGE_TO))
		return false;
	int c = compare(x, v, &s->entry.keys[1]);
	return c > 0 || (c == 0 && !(s->flags & RANGE_TO_INCLUSIVE));
}

int filter_span_side(const struct filter_index *x, const struct filter_span *s, const struct where_value *v)
{
	if (s->flags & RANGE_FROM) {
		int c = compare(x, v, &s->entry.keys[0]);
		if (c < 0 || (c == 0 && !(s->flags & RANGE_FROM_INCLUSIVE)))
			return -1;
	}
	return filter_span_beyond(x, s, v);
}

static void fix_last(const struct filter_index *x, struct filter_span *s)
{
	struct filter_span *sides[2] = {s->left, s->right};
	s->last = s;
	for (int i = 0; i < 2; i++)
		if (sides[i] != NULL && compare_to(x, &sides[i]->last->entry.keys[1], sides[i]->last->flags, &s->last->entry.keys[1],
		                                   s->last->flags) > 0)
			s->last = sides[i]->last;
}

static struct filter_span *rotate(const struct filter_index *x, struct filter_span *s, struct filter_span *child)
{
	if (child == s->left) {
		s->left = child->right;
		child->right = s;
	} else {
		s->right = child->left;
		child->left = s;
	}
	fix_last(x, s);
	return child;
}

/* Depth is logarithmic in expectation, priorities being random. */
static struct filter_span *insert(const struct filter_index *x, struct filter_span *at, struct filter_span *s)
{
	if (at == NULL)
		return s;
	bool left = compare_spans(x, s->entry.keys, s->flags, at->entry.keys, at->flags) < 0;
	struct filter_span **side = left ? &at->left : &at->right;
	*side = insert(x, *side, s);
	if ((*side)->priority > at->priority)
		at = rotate(x, at, *side);
	fix_last(x, at);
	return at;
}

static struct filter_span *merge(const struct filter_index *x, struct filter_span *a, struct filter_span *b)
{
	if (a == NULL || b == NULL)
		return a ? a : b;
	struct filter_span *top = a->priority > b->priority ? a : b;
	if (top == a)
		a->right = merge(x, a->right, b);
	else
		b->left = merge(x, a, b->left);
	fix_last(x, top);
	return top;
}

static struct filter_span *take_out(const struct filter_index *x, struct filter_span *at, struct filter_span *s)
{
	if (at == s)
		return merge(x, s->left, s->right);
	REQUIRE(at != NULL);
	bool left = compare_spans(x, s->entry.keys, s->flags, at->entry.keys, at->flags) < 0;
	struct filter_span **side = left ? &at->left : &at->right;
	*side = take_out(x, *side, s);
	fix_last(x, at);
	return at;
}

struct filter_entry *filter_span_get(struct filter *f, struct filter_index *x, const struct filter_range *r)
{
	struct where_value keys[2] = {r->flags & RANGE_FROM ? r->from : where_null(), r->flags & RANGE_TO ? r->to : where_null()};
	struct filter_span *s = x->root;
	while (s != NULL) {
		int c = compare_spans(x, keys, r->flags, s->entry.keys, s->flags);
		if (c == 0)
			return &s->entry;
		s = c < 0 ? s->left : s->right;
	}
	s = mem_zalloc(sizeof *s + key_bytes(x, keys));
	f->random = where_hash_u64(f->random + 1);
	s->priority = (uint32_t)f->random;
	s->flags = r->flags;
	s->last = s;
	s->entry.index = x;
	copy_keys(f, x, keys, s->entry.keys);
	x->root = insert(x, x->root, s);
	x->n++;
	return &s->entry;
}

/* ---- indexes ---------------------------------------------------------------------------------------- */

static size_t key_size(uint32_t nparts)
{
	return sizeof(struct filter_index) - offsetof(struct filter_index, node) + nparts * sizeof(struct filter_part);
}

struct filter_index *filter_index_get(struct filter *f, struct filter_node *node, enum index_kind kind,
                                      const struct filter_part *parts, uint32_t nparts)
{
	struct filter_index *x = mem_zalloc(sizeof *x + nparts * sizeof *parts);
	x->node = node;
	x->kind = kind;
	x->nparts = nparts;
	memcpy(x->parts, parts, nparts * sizeof *parts);
	struct filter_index *known = map_get(&f->indexes, &x->node, key_size(nparts));
	if (known != NULL) {
		free(x);
		return known;
	}
	for (uint32_t i = 0; i < nparts; i++) {
		where_pool_ref(f->pool, (uint32_t)parts[i].expr);
		x->deep |= !is_plain(parts[i].type) && !is_bytes(parts[i].type);
	}
	x->next = node->indexes;
	x->link = &node->indexes;
	if (x->next != NULL)
		x->next->link = &x->next;
	node->indexes = x;
	map_put(&f->indexes, &x->node, key_size(nparts), x);
	return x;
}

static void drop_index(struct filter *f, struct filter_index *x)
{
	const struct filter_index *known = map_del(&f->indexes, &x->node, key_size(x->nparts));
	REQUIRE(known == x && *x->link == x);
	*x->link = x->next;
	if (x->next != NULL)
		x->next->link = x->link;
	for (uint32_t i = 0; i < x->nparts; i++)
		where_pool_unref(f->pool, (uint32_t)x->parts[i].expr);
	free(x->buckets);
	free(x->lengths);
	free(x);
}

bool filter_entry_drop(struct filter *f, struct filter_entry *e)
{
	struct filter_index *x = e->index;
	REQUIRE(x->n > 0);
	x->n--;
	if (x->kind == INDEX_RANGE)
		x->root = take_out(x, x->root, filter_span_of(e));
	else
		unhash(x, e);
	free_entry(e);
	if (x->n > 0)
		return false;
	drop_index(f, x);
	return true;
}

/* ---- all below -------------------------------------------------------------------------------------- */

static void forget_entry(struct filter *f, struct filter_entry *e)
{
	where_pool_unref(f->pool, e->residual);
	if (e->node != NULL) {
		filter_node_clear(f, e->node);
		free(e->node);
	}
	free_entry(e);
}

static void forget_spans(struct filter *f, struct filter_span *s)
{
	if (s == NULL)
		return;
	forget_spans(f, s->left);
	forget_spans(f, s->right);
	forget_entry(f, &s->entry);
}

/* Frees an index with all below it; members are forgotten. */
static void filter_index_free(struct filter *f, struct filter_index *x)
{
	for (uint32_t i = 0; x->buckets != NULL && i <= x->mask; i++)
		for (struct filter_entry *e = x->buckets[i], *next; e != NULL; e = next) {
			next = e->next;
			forget_entry(f, e);
		}
	forget_spans(f, x->root);
	drop_index(f, x);
}

void filter_node_clear(struct filter *f, struct filter_node *node)
{
	while (node->indexes != NULL)
		filter_index_free(f, node->indexes);
	for (struct filter_leaf *l = node->leaves, *next; l != NULL; l = next) {
		next = l->next;
		where_pool_unref(f->pool, l->residual);
		free(l);
	}
	node->leaves = NULL;
}

static struct filter_entry *first_entry(const struct filter_index *x)
{
	if (x->root != NULL)
		return &x->root->entry;
	for (uint32_t i = 0; x->buckets != NULL && i <= x->mask; i++)
		if (x->buckets[i] != NULL)
			return x->buckets[i];
	return NULL;
}

static void each_entry(const struct filter_entry *e, void (*each)(void *ctx, struct filter_member *m), void *ctx)
{
	if (e->member != NULL)
		each(ctx, e->member);
	if (e->node == NULL)
		return;
	for (const struct filter_leaf *l = e->node->leaves; l != NULL; l = l->next)
		each(ctx, l->member);
	for (const struct filter_index *x = e->node->indexes; x != NULL; x = x->next)
		filter_index_each(x, each, ctx);
}

static void each_span(const struct filter_span *s, void (*each)(void *ctx, struct filter_member *m), void *ctx)
{
	for (; s != NULL; s = s->right) {
		each_span(s->left, each, ctx);
		each_entry(&s->entry, each, ctx);
	}
}

void filter_index_each(const struct filter_index *x, void (*each)(void *ctx, struct filter_member *m), void *ctx)
{
	for (uint32_t i = 0; x->buckets != NULL && i <= x->mask; i++)
		for (const struct filter_entry *e = x->buckets[i]; e != NULL; e = e->next)
			each_entry(e, each, ctx);
	each_span(x->root, each, ctx);
}

/* No node and no index is empty, so the first way down ends at a member. */
struct filter_member *filter_index_any(const struct filter_index *x)
{
	for (;;) {
		const struct filter_entry *e = first_entry(x);
		if (e == NULL || e->member != NULL)
			return e ? e->member : NULL;
		if (e->node == NULL || e->node->leaves != NULL)
			return e->node ? e->node->leaves->member : NULL;
		x = e->node->indexes;
		if (x == NULL)
			return NULL;
	}
}
