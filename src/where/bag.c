/* bag.c - see bag.h: a hash table of rows, which stand one after the other in the order in which they came: a row of a number takes
 * 32 bytes, since most bags are small and there may be many. */
#include "where/bag.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define FEW_ROWS 16 /* are looked through: buckets would take a fifth more memory for them */
#define ROWS_MIN 4
#define MEM_MIN 64 /* the next block has twice as much, and so on */

/* Rows are known by their place, beginning at 1. */
struct where_bag_row {
	uint32_t hash, in_bucket; /* the next one there; 0: none */
	int64_t count;
	struct where_value values[];
};

struct where_bag {
	uint32_t *buckets; /* from FEW_ROWS rows on */
	char *rows;       /* of `stride` bytes each */
	uint32_t nbuckets, nrows, room;
	uint32_t n;
	struct arena mem; /* what values point to */
	const struct where_type *types[]; /* built in; NULL: by text */
};

static size_t stride(const struct where_bag *b) { return sizeof(struct where_bag_row) + b->n * sizeof(struct where_value); }

static struct where_bag_row *row_at(const struct where_bag *b, uint32_t place)
{
	return (struct where_bag_row *)(void *)(b->rows + (place - 1) * stride(b));
}

/* As what a type's values are kept: what is the same must not depend on whose description of the type is at hand. */
static const struct where_type *kept_as(const struct where_type *t)
{
	if (t->base != NULL)
		t = t->base;
	if (t->kind == 'e')
		return where_type_builtin(OID_TEXT);
	const struct where_type *known = t->schema == NULL ? where_type_builtin(t->oid) : NULL;
	return known != NULL && where_hashable(known) ? known : NULL;
}

struct where_bag *where_bag_new(const struct where_type *const *types, uint32_t n)
{
	struct where_bag *b = mem_zalloc(sizeof *b + n * sizeof *b->types);
	b->n = n;
	for (uint32_t i = 0; i < n; i++)
		b->types[i] = kept_as(types[i]);
	return b;
}

struct where_bag *where_bag_like(const struct where_bag *b)
{
	struct where_bag *like = mem_zalloc(sizeof *like + b->n * sizeof *b->types);
	like->n = b->n;
	memcpy(like->types, b->types, b->n * sizeof *b->types);
	return like;
}

void where_bag_free(struct where_bag *b)
{
	if (b == NULL)
		return;
	arena_clear(&b->mem);
	free(b->rows);
	free(b->buckets);
	free(b);
}

static uint32_t hash_row(const struct where_bag *b, const struct where_value *row)
{
	uint64_t h = b->n;
	for (uint32_t i = 0; i < b->n; i++) {
		const struct where_type *t = b->types[i];
		uint64_t v = row[i].is != WHERE_VALUE ? 1 : t != NULL ? where_hash(t, &row[i]) : where_hash_bytes(row[i].u.p, row[i].len);
		h = where_hash_u64(h * 31 + v);
	}
	return (uint32_t)(h ^ h >> 32);
}

static bool same_value(const struct where_type *t, const struct where_value *x, const struct where_value *y)
{
	if (x->is != WHERE_VALUE || y->is != WHERE_VALUE)
		return x->is == y->is;
	return where_equal(t != NULL ? t : where_type_builtin(OID_TEXT), x, y);
}

static bool is_row(const struct where_bag *b, const struct where_bag_row *r, uint32_t hash, const struct where_value *row)
{
	uint32_t i = 0;
	if (r->hash != hash)
		return false;
	while (i < b->n && same_value(b->types[i], &r->values[i], &row[i]))
		i++;
	return i == b->n;
}

static struct where_bag_row *find(const struct where_bag *b, uint32_t hash, const struct where_value *row)
{
	if (b->nbuckets == 0) {
		for (uint32_t place = 1; place <= b->nrows; place++)
			if (is_row(b, row_at(b, place), hash, row))
				return row_at(b, place);
		return NULL;
	}
	uint32_t at = b->buckets[hash & (b->nbuckets - 1)];
	while (at != 0 && !is_row(b, row_at(b, at), hash, row))
		at = row_at(b, at)->in_bucket;
	return at == 0 ? NULL : row_at(b, at);
}

static void link_row(struct where_bag *b, uint32_t place)
{
	struct where_bag_row *r = row_at(b, place);
	uint32_t *bucket = &b->buckets[r->hash & (b->nbuckets - 1)];
	r->in_bucket = *bucket;
	*bucket = place;
}

static void grow_buckets(struct where_bag *b)
{
	REQUIRE(b->nbuckets <= UINT32_MAX / 2);
	b->nbuckets = b->nbuckets == 0 ? 2 * FEW_ROWS : b->nbuckets * 2;
	free(b->buckets);
	b->buckets = mem_zalloc(b->nbuckets * sizeof *b->buckets);
	for (uint32_t place = 1; place <= b->nrows; place++)
		link_row(b, place);
}

static void set_room(struct where_bag *b, uint32_t room)
{
	b->rows = mem_realloc(b->rows, room * stride(b));
	b->room = room;
}

static void copy_values(const struct where_bag *b, struct arena *mem, const struct where_value *row, struct where_value *to)
{
	const struct where_type *text = where_type_builtin(OID_TEXT);
	for (uint32_t i = 0; i < b->n; i++)
		to[i] = where_copy(mem, b->types[i] != NULL ? b->types[i] : text, &row[i]);
}

static struct where_bag_row *get(struct where_bag *b, uint32_t hash, const struct where_value *row, bool *made)
{
	struct where_bag_row *r = find(b, hash, row);
	*made = r == NULL;
	if (r != NULL)
		return r;
	if (b->nrows == b->room)
		set_room(b, b->room == 0 ? ROWS_MIN : b->room * 2);
	if (b->nrows >= (b->nbuckets == 0 ? FEW_ROWS : b->nbuckets))
		grow_buckets(b);
	r = row_at(b, ++b->nrows);
	*r = (struct where_bag_row){.hash = hash};
	if (b->mem.head == NULL)
		arena_reserve(&b->mem, MEM_MIN);
	copy_values(b, &b->mem, row, r->values);
	if (b->nbuckets > 0)
		link_row(b, b->nrows);
	return r;
}

void where_bag_trim(struct where_bag *b)
{
	struct arena exact = ARENA_INIT;
	if (b->nrows > 0 && b->nrows < b->room)
		set_room(b, b->nrows);
	if (b->mem.used > 0)
		arena_reserve(&exact, b->mem.used);
	for (uint32_t place = 1; b->mem.used > 0 && place <= b->nrows; place++)
		copy_values(b, &exact, row_at(b, place)->values, row_at(b, place)->values);
	arena_clear(&b->mem);
	b->mem = exact;
}

/* The value as it is kept; false: it has no text. */
static bool keep(const struct where_type *as, const struct where_type *t, const struct where_value *v, struct arena *mem,
                 struct where_value *out, char *reason)
{
	*out = *v;
	if (as != NULL || v->is != WHERE_VALUE)
		return true;
	struct where_call call = {.mem = mem, .result = t, .typmod = -1};
	struct buf text = BUF_INIT(WHERE_VALUE_BYTES_MAX);
	bool ok = where_out(&call, t, v, &text) == 0 && !text.failed;
	if (ok)
		*out = where_bytes(arena_strndup(mem, text.data != NULL ? text.data : "", text.len), text.len);
	else
		memcpy(reason, call.reason, sizeof call.reason);
	buf_clear(&text);
	return ok;
}

int64_t *where_bag_count(struct where_bag *b, const struct where_type *const *types, const struct where_value *row, bool *made,
                         char reason[WHERE_REASON_MAX])
{
	struct arena mem = ARENA_INIT;
	struct where_value few[8], *kept = b->n <= ARRAY_LEN(few) ? few : mem_alloc(b->n * sizeof *kept);
	struct where_bag_row *r = NULL;
	bool ok = true, is_new;
	for (uint32_t i = 0; i < b->n && ok; i++)
		ok = keep(b->types[i], types[i], &row[i], &mem, &kept[i], reason);
	if (ok)
		r = get(b, hash_row(b, kept), kept, &is_new);
	if (ok && made != NULL)
		*made = is_new;
	arena_clear(&mem);
	if (kept != few)
		free(kept);
	return r == NULL ? NULL : &r->count;
}

int64_t *where_bag_count_of(struct where_bag *b, const struct where_bag_row *row)
{
	bool made;
	return &get(b, row->hash, row->values, &made)->count;
}

const struct where_bag_row *where_bag_next(const struct where_bag *b, const struct where_bag_row *at, int64_t *count)
{
	const char *next = at == NULL ? b->rows : (const char *)at + stride(b);
	if (b->nrows == 0 || next == b->rows + b->nrows * stride(b))
		return NULL;
	const struct where_bag_row *r = (const void *)next;
	*count = r->count;
	return r;
}

static bool holds_rows_of(const struct where_bag *a, const struct where_bag *b)
{
	int64_t count;
	for (const struct where_bag_row *r = NULL; (r = where_bag_next(b, r, &count)) != NULL;) {
		const struct where_bag_row *mine = count != 0 ? find(a, r->hash, r->values) : NULL;
		if (count != 0 && (mine == NULL || mine->count == 0))
			return false;
	}
	return true;
}

bool where_bag_same_rows(const struct where_bag *a, const struct where_bag *b)
{
	REQUIRE(a->n == b->n);
	return holds_rows_of(a, b) && holds_rows_of(b, a);
}

size_t where_bag_rows(const struct where_bag *b) { return b->nrows; }

size_t where_bag_bytes(const struct where_bag *b)
{
	return sizeof *b + b->n * sizeof *b->types + b->room * stride(b) + b->nbuckets * sizeof *b->buckets + b->mem.used;
}
