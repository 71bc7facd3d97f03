/* bag.c - see bag.h: a hash table of rows, each in a piece of memory of its own, in the order in which they came. */
#include "where/bag.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define BUCKETS_MIN 8

struct where_bag_row {
	struct where_bag_row *in_bucket, *next;
	uint64_t hash;
	int64_t count;
	struct arena mem; /* what the values point to */
	struct where_value values[];
};

struct where_bag {
	struct where_bag_row **buckets, *first, **last;
	size_t nbuckets, nrows, bytes;
	uint32_t n;
	const struct where_type *types[]; /* built in; NULL: by text */
};

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
	b->last = &b->first;
	for (uint32_t i = 0; i < n; i++)
		b->types[i] = kept_as(types[i]);
	return b;
}

struct where_bag *where_bag_like(const struct where_bag *b)
{
	struct where_bag *like = mem_zalloc(sizeof *like + b->n * sizeof *b->types);
	like->n = b->n;
	like->last = &like->first;
	memcpy(like->types, b->types, b->n * sizeof *b->types);
	return like;
}

void where_bag_free(struct where_bag *b)
{
	if (b == NULL)
		return;
	for (struct where_bag_row *r = b->first, *next; r != NULL; r = next) {
		next = r->next;
		arena_clear(&r->mem);
		free(r);
	}
	free(b->buckets);
	free(b);
}

static uint64_t hash_row(const struct where_bag *b, const struct where_value *row)
{
	uint64_t h = b->n;
	for (uint32_t i = 0; i < b->n; i++) {
		const struct where_type *t = b->types[i];
		uint64_t v = row[i].is != WHERE_VALUE ? 1 : t != NULL ? where_hash(t, &row[i]) : where_hash_bytes(row[i].u.p, row[i].len);
		h = where_hash_u64(h * 31 + v);
	}
	return h;
}

static bool same_value(const struct where_type *t, const struct where_value *x, const struct where_value *y)
{
	if (x->is != WHERE_VALUE || y->is != WHERE_VALUE)
		return x->is == y->is;
	return where_equal(t != NULL ? t : where_type_builtin(OID_TEXT), x, y);
}

static struct where_bag_row *find(const struct where_bag *b, uint64_t hash, const struct where_value *row)
{
	for (struct where_bag_row *r = b->nbuckets == 0 ? NULL : b->buckets[hash % b->nbuckets]; r != NULL; r = r->in_bucket) {
		uint32_t i = 0;
		while (r->hash == hash && i < b->n && same_value(b->types[i], &r->values[i], &row[i]))
			i++;
		if (r->hash == hash && i == b->n)
			return r;
	}
	return NULL;
}

static void grow(struct where_bag *b)
{
	size_t n = b->nbuckets == 0 ? BUCKETS_MIN : b->nbuckets * 2;
	b->bytes += (n - b->nbuckets) * sizeof *b->buckets;
	free(b->buckets);
	b->buckets = mem_zalloc(n * sizeof *b->buckets);
	b->nbuckets = n;
	for (struct where_bag_row *r = b->first; r != NULL; r = r->next) {
		r->in_bucket = b->buckets[r->hash % n];
		b->buckets[r->hash % n] = r;
	}
}

/* Exactly what the values need: most bags are small, and there may be many. */
static struct where_bag_row *copy_row(const struct where_bag *b, uint64_t hash, const struct where_value *row)
{
	struct where_bag_row *r = mem_zalloc(sizeof *r + b->n * sizeof *r->values);
	const struct where_type *text = where_type_builtin(OID_TEXT);
	struct arena measured = ARENA_INIT;
	r->hash = hash;
	for (int pass = 0; pass < 2; pass++) {
		struct arena *to = pass == 0 ? &measured : &r->mem;
		for (uint32_t i = 0; i < b->n; i++)
			r->values[i] = where_copy(to, b->types[i] != NULL ? b->types[i] : text, &row[i]);
		if (pass == 0 && measured.used == 0)
			break; /* numbers: nothing is pointed to */
		if (pass == 0)
			arena_reserve(&r->mem, measured.used);
	}
	arena_clear(&measured);
	return r;
}

static struct where_bag_row *get(struct where_bag *b, uint64_t hash, const struct where_value *row, bool *made)
{
	struct where_bag_row *r = find(b, hash, row);
	*made = r == NULL;
	if (r != NULL)
		return r;
	if (b->nrows >= b->nbuckets)
		grow(b);
	r = copy_row(b, hash, row);
	r->in_bucket = b->buckets[hash % b->nbuckets];
	b->buckets[hash % b->nbuckets] = r;
	*b->last = r;
	b->last = &r->next;
	b->nrows++;
	b->bytes += sizeof *r + b->n * sizeof *r->values + r->mem.used;
	return r;
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
	const struct where_bag_row *r = at == NULL ? b->first : at->next;
	if (r != NULL)
		*count = r->count;
	return r;
}

static bool holds_rows_of(const struct where_bag *a, const struct where_bag *b)
{
	for (const struct where_bag_row *r = b->first; r != NULL; r = r->next) {
		const struct where_bag_row *mine = r->count != 0 ? find(a, r->hash, r->values) : NULL;
		if (r->count != 0 && (mine == NULL || mine->count == 0))
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
size_t where_bag_bytes(const struct where_bag *b) { return sizeof *b + b->bytes; }
