/*
 * types.c - built-in types, made once of catalog_data.c's lines, and reading, writing, comparing, hashing and
 * copying a value of any type: by its io, or as enum, domain or array.
 */
#include "where/types.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "where/catalog_data.h"

/* How a value is held (value.h), as far as copying and comparing need it. */
enum form {
	FORM_NUMBER,   /* u.i or u.f: nothing is pointed to */
	FORM_BYTES,    /* u.p, len; equal if the bytes are */
	FORM_BYTES_EQ, /* u.p, len; equality is its own: bpchar */
	FORM_INTERVAL,
	FORM_TIMETZ,
	FORM_ARRAY,
	FORM_ROW,
	FORM_OTHER,    /* copied through its text */
	FORM_NONE,     /* not computed with */
};

static const struct where_io *const io_tables[] = {where_io_number, where_io_datetime, where_io_text, where_io_json};

static struct where_type *types;           /* by oid */
static const struct where_type **by_name;
static size_t ntypes;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* ---- built-in types --------------------------------------------------------------------------------- */

static const struct where_io *find_io(const char *name)
{
	for (size_t t = 0; t < sizeof io_tables / sizeof *io_tables; t++)
		for (const struct where_io *io = io_tables[t]; io->type; io++)
			if (strcmp(io->type, name) == 0)
				return io;
	return NULL;
}

static int oid_order(const void *oid, const void *item)
{
	uint32_t a = *(const uint32_t *)oid, b = ((const struct where_type *)item)->oid;
	return (a > b) - (a < b);
}

static int name_order(const void *a, const void *b)
{
	return strcmp((*(const struct where_type *const *)a)->name, (*(const struct where_type *const *)b)->name);
}

static int with_name(const void *name, const void *item)
{
	return strcmp(name, (*(const struct where_type *const *)item)->name);
}

static const struct where_type *find_type(uint32_t oid)
{
	return bsearch(&oid, types, ntypes, sizeof *types, oid_order);
}

static void load(void)
{
	char *pos = mem_strdup(where_catalog_types), *f[CATALOG_FIELDS_MAX]; /* kept: names point into it */
	size_t max = catalog_lines(pos);
	types = mem_alloc(max * sizeof *types);
	by_name = mem_alloc(max * sizeof *by_name);
	while (ntypes < max && catalog_line(&pos, f) == 7)
		types[ntypes++] = (struct where_type){
			.oid = (uint32_t)strtoul(f[0], NULL, 10),
			.name = f[1],
			.kind = f[2][0],
			.category = f[3][0],
			.preferred = strchr(f[4], 'p') != NULL,
			.collatable = strchr(f[4], 'c') != NULL,
			.elem_oid = (uint32_t)strtoul(f[5], NULL, 10),
			.array_oid = (uint32_t)strtoul(f[6], NULL, 10),
		};
	for (size_t i = 0; i < ntypes; i++) {
		struct where_type *t = &types[i];
		if (t->elem_oid != 0)
			t->elem = find_type(t->elem_oid);
		else
			t->io = find_io(t->name);
		by_name[i] = t;
	}
	qsort(by_name, ntypes, sizeof *by_name, name_order);
}

const struct where_type *where_type_builtin(uint32_t oid)
{
	pthread_once(&once, load);
	return find_type(oid);
}

const struct where_type *where_type_by_name(const char *name)
{
	pthread_once(&once, load);
	const struct where_type **found = bsearch(name, by_name, ntypes, sizeof *by_name, with_name);
	return found ? *found : NULL;
}

static const struct where_type *undomain(const struct where_type *t)
{
	return t->base ? t->base : t;
}

static bool is_enum(const struct where_type *t)
{
	return t->kind == 'e';
}

static enum form form_of(const struct where_type *t)
{
	if (t->elem)
		return FORM_ARRAY;
	if (is_enum(t))
		return FORM_BYTES;
	switch (t->oid) {
	case OID_BOOL: case OID_INT2: case OID_INT4: case OID_INT8: case OID_OID: case OID_FLOAT4: case OID_FLOAT8:
	case OID_DATE: case OID_TIME: case OID_TIMESTAMP: case OID_TIMESTAMPTZ:
		return FORM_NUMBER;
	case OID_TEXT: case OID_VARCHAR: case OID_NAME: case OID_JSON: case OID_BYTEA: case OID_UUID: case OID_CHAR:
	case OID_UNKNOWN:
		return FORM_BYTES;
	case OID_BPCHAR:
		return FORM_BYTES_EQ;
	case OID_INTERVAL:
		return FORM_INTERVAL;
	case OID_TIMETZ:
		return FORM_TIMETZ;
	case OID_RECORD:
		return FORM_ROW;
	default:
		return t->io && t->io->in && t->io->out ? FORM_OTHER : FORM_NONE;
	}
}

/* ---- enums ------------------------------------------------------------------------------------------ */

/* Position of the label, or nlabels. */
static uint32_t enum_position(const struct where_type *t, const char *p, size_t n)
{
	uint32_t i = 0;
	while (i < t->nlabels && (strncmp(t->labels[i], p, n) != 0 || t->labels[i][n] != '\0'))
		i++;
	return i;
}

static int enum_in(struct where_call *c, const struct where_type *t, const char *p, size_t n, struct where_value *out)
{
	uint32_t i = n > 0 && memchr(p, '\0', n) ? t->nlabels : enum_position(t, p, n);
	if (i == t->nlabels)
		return where_fail(c, "invalid input value for enum %s", t->name);
	*out = where_bytes(t->labels[i], n);
	return 0;
}

static int enum_cmp(const struct where_type *t, const struct where_value *a, const struct where_value *b)
{
	uint32_t x = enum_position(t, a->u.p, a->len), y = enum_position(t, b->u.p, b->len);
	return (x > y) - (x < y);
}

/* ---- any type --------------------------------------------------------------------------------------- */

int where_in(struct where_call *c, const struct where_type *t, const char *p, size_t n, struct where_value *out)
{
	t = undomain(t);
	*out = where_null(); /* `len` is 0 where the representation has none: work is counted by it */
	if (t->elem)
		return where_array_in(c, t, p, n, out);
	if (is_enum(t))
		return enum_in(c, t, p, n, out);
	if (!t->io || !t->io->in)
		return where_fail(c, "values of type %s are not supported", t->name);
	return t->io->in(c, p, n, out);
}

int where_out(struct where_call *c, const struct where_type *t, const struct where_value *v, struct buf *text)
{
	t = undomain(t);
	if (t->elem)
		return where_array_out(c, t, v, text);
	if (is_enum(t)) {
		buf_put(text, v->u.p, v->len);
		return 0;
	}
	if (!t->io || !t->io->out)
		return where_fail(c, "values of type %s are not supported", t->name);
	return t->io->out(c, v, text);
}

bool where_comparable(const struct where_type *t)
{
	t = undomain(t);
	if (t->elem)
		return where_comparable(t->elem);
	return is_enum(t) || (t->io && t->io->cmp);
}

bool where_hashable(const struct where_type *t)
{
	t = undomain(t);
	if (t->elem)
		return where_hashable(t->elem);
	return is_enum(t) || (t->io && t->io->cmp && t->io->hash);
}

int where_cmp(const struct where_type *t, const struct where_value *a, const struct where_value *b)
{
	t = undomain(t);
	if (t->elem)
		return where_array_cmp(t, a, b);
	return is_enum(t) ? enum_cmp(t, a, b) : t->io->cmp(a, b);
}

bool where_equal(const struct where_type *t, const struct where_value *a, const struct where_value *b)
{
	t = undomain(t);
	if (t->elem)
		return where_array_equal(t, a, b);
	if (form_of(t) == FORM_BYTES)
		return a->len == b->len && (a->len == 0 || memcmp(a->u.p, b->u.p, a->len) == 0);
	return t->io->cmp(a, b) == 0;
}

uint64_t where_hash(const struct where_type *t, const struct where_value *v)
{
	t = undomain(t);
	if (t->elem)
		return where_array_hash(t, v);
	return is_enum(t) ? where_hash_bytes(v->u.p, v->len) : t->io->hash(v);
}

/* ---- copies ----------------------------------------------------------------------------------------- */

static const struct where_array *copy_array(struct arena *to, const struct where_array *a)
{
	struct where_array *copy = arena_dup(to, a, sizeof *a);
	struct where_value *values = arena_alloc(to, (a->n + 1) * sizeof *values);
	for (uint32_t i = 0; i < a->n; i++)
		values[i] = where_copy(to, a->elem, &a->values[i]);
	copy->values = values;
	return copy;
}

static const struct where_row *copy_row(struct arena *to, const struct where_row *r)
{
	struct where_row *copy = arena_dup(to, r, sizeof *r);
	struct where_value *values = arena_alloc(to, (r->n + 1) * sizeof *values);
	for (uint32_t i = 0; i < r->n; i++)
		values[i] = where_copy(to, r->types[i], &r->values[i]);
	copy->values = values;
	copy->types = arena_dup(to, r->types, r->n * sizeof *r->types);
	return copy;
}

/* numeric and jsonb: their text says all that they are. */
static struct where_value copy_by_text(struct arena *to, const struct where_type *t, const struct where_value *v)
{
	struct where_call call = {.mem = to, .result = t, .typmod = -1};
	struct where_value copy = {.is = WHERE_ERROR};
	struct buf text = BUF_INIT(WHERE_VALUE_BYTES_MAX);
	if (t->io->out(&call, v, &text) != 0 || text.failed ||
	    t->io->in(&call, text.data ? text.data : "", text.len, &copy) != 0)
		copy = (struct where_value){.is = WHERE_ERROR};
	buf_clear(&text);
	return copy;
}

struct where_value where_copy(struct arena *to, const struct where_type *t, const struct where_value *v)
{
	struct where_value copy = *v;
	if (v->is != WHERE_VALUE)
		return (struct where_value){.is = v->is};
	t = undomain(t);
	switch (form_of(t)) {
	case FORM_NUMBER:
	case FORM_NONE:
		break;
	case FORM_BYTES:
	case FORM_BYTES_EQ:
		copy.u.p = arena_strndup(to, v->len ? v->u.p : "", v->len);
		break;
	case FORM_INTERVAL:
		copy.u.interval = arena_dup(to, v->u.interval, sizeof *v->u.interval);
		break;
	case FORM_TIMETZ:
		copy.u.timetz = arena_dup(to, v->u.timetz, sizeof *v->u.timetz);
		break;
	case FORM_ARRAY:
		copy.u.array = copy_array(to, v->u.array);
		break;
	case FORM_ROW:
		copy.u.row = copy_row(to, v->u.row);
		break;
	case FORM_OTHER:
		return copy_by_text(to, t, v);
	}
	return copy;
}
