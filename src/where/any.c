/*
 * any.c - a value of any type: text form, order, equality, hash and copies, by the type's io, or as an enum, a domain, an
 * array or a row. One file, since arrays hold values of any type.
 *
 * The text of an array is read in one pass: the place of the first element tells the number of dimensions, and the rest
 * has to agree. Values of text[] point into one copy of the text.
 */
#include "where/array.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"

#define MALFORMED "malformed array literal"

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

/* ---- making arrays ------------------------------------------------------------------------------------- */

struct where_value array_value(struct arena *mem, const struct where_type *elem, unsigned ndims, const int32_t *dims,
                               const int32_t *lower, const struct where_value *values, uint32_t n)
{
	struct where_array *a = arena_alloc(mem, sizeof *a);
	memset(a, 0, sizeof *a);
	a->elem = elem;
	a->values = values;
	a->n = n;
	if (n > 0) {
		a->ndims = (uint8_t)ndims;
		memcpy(a->dims, dims, ndims * sizeof *dims);
		memcpy(a->lower, lower, ndims * sizeof *lower);
	}
	return (struct where_value){.u.array = a, .is = WHERE_VALUE};
}

struct where_value array_of(struct arena *mem, const struct where_type *elem, const struct where_value *values,
                            uint32_t n)
{
	int32_t dim = (int32_t)n, lower = 1;
	return array_value(mem, elem, 1, &dim, &lower, values, n);
}

/* ---- input -------------------------------------------------------------------------------------- */

struct reader {
	struct where_call *c;
	const struct where_type *elem;
	char *p, *end;
	bool in_place; /* elements are text and stay where they are in the copy */
	struct where_value *values;
	uint32_t n;
	int ndims;     /* 0: no element seen yet */
	int32_t dims[WHERE_ARRAY_DIMS_MAX], lower[WHERE_ARRAY_DIMS_MAX];
};

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static void skip_space(struct reader *r)
{
	while (r->p < r->end && is_space(*r->p))
		r->p++;
}

static bool at(const struct reader *r, char c)
{
	return r->p < r->end && *r->p == c;
}

/* Takes the backslashes out, in place. */
static size_t unescape(char *p, const char *end)
{
	char *to = p;
	for (const char *from = p; from < end; from++) {
		from += *from == '\\';
		*to++ = *from;
	}
	return (size_t)(to - p);
}

static int element_add(struct reader *r, char *p, char *end, bool escaped)
{
	size_t n = escaped ? unescape(p, end) : (size_t)(end - p);
	struct where_value *v = &r->values[r->n++];
	if (!r->in_place)
		return where_in(r->c, r->elem, p, n, v);
	*v = where_bytes(p, n);
	return 0;
}

static int element_quoted(struct reader *r)
{
	char *from = ++r->p;
	bool escaped = false;
	while (r->p < r->end && *r->p != '"') {
		if (*r->p == '\\') {
			escaped = true;
			r->p++;
		}
		r->p++;
	}
	if (r->p >= r->end)
		return where_fail(r->c, MALFORMED);
	return element_add(r, from, r->p++, escaped);
}

static int element_plain(struct reader *r)
{
	char *from = r->p, *end = from; /* end: behind the last byte that isn't a blank */
	bool escaped = false;
	for (; r->p < r->end && *r->p != ',' && *r->p != '}'; r->p++) {
		if (*r->p == '{' || *r->p == '"')
			return where_fail(r->c, MALFORMED);
		if (is_space(*r->p))
			continue;
		if (*r->p == '\\') {
			escaped = true;
			r->p++;
		}
		end = r->p + 1;
	}
	if (r->p >= r->end || end == from)
		return where_fail(r->c, MALFORMED);
	if (end - from == 4 && !escaped && strncasecmp(from, "null", 4) == 0) {
		r->values[r->n++] = where_null();
		return 0;
	}
	return element_add(r, from, end, escaped);
}

/* An element at this level of braces. */
static int element_read(struct reader *r, int level)
{
	if (level == 0 || (r->ndims != 0 && level != r->ndims))
		return where_fail(r->c, MALFORMED);
	r->ndims = level;
	return at(r, '"') ? element_quoted(r) : element_plain(r);
}

/* From the first brace to the last. */
static int braces_read(struct reader *r)
{
	int32_t counts[WHERE_ARRAY_DIMS_MAX];
	int level = 0;
	for (int i = 0; i < WHERE_ARRAY_DIMS_MAX; i++)
		r->dims[i] = -1;
	for (;;) {
		skip_space(r);
		if (at(r, '{')) {
			if (level == WHERE_ARRAY_DIMS_MAX)
				return where_fail(r->c, "number of array dimensions exceeds the maximum allowed (%d)", level);
			if (r->ndims != 0 && level == r->ndims)
				return where_fail(r->c, MALFORMED);
			counts[level++] = 0;
			r->p++;
			skip_space(r);
			if (level == 1 && at(r, '}')) {
				r->p++;
				return 0;
			}
			continue;
		}
		if (element_read(r, level) != 0)
			return -1;
		for (;;) { /* behind an element or a `}` */
			skip_space(r);
			counts[level - 1]++;
			if (at(r, ',')) {
				r->p++;
				break;
			}
			if (!at(r, '}'))
				return where_fail(r->c, MALFORMED);
			r->p++;
			level--;
			if (r->dims[level] >= 0 && r->dims[level] != counts[level])
				return where_fail(r->c, MALFORMED);
			r->dims[level] = counts[level];
			if (level == 0)
				return 0;
		}
	}
}

/* A bound's digits, with a sign or without. */
static int bound_read(struct reader *r, int32_t *out)
{
	bool negative = at(r, '-');
	int64_t v = 0;
	r->p += negative || at(r, '+');
	const char *from = r->p;
	for (; r->p < r->end && *r->p >= '0' && *r->p <= '9'; r->p++)
		if (v <= INT32_MAX)
			v = v * 10 + (*r->p - '0');
	v = negative ? -v : v;
	if (r->p == from || v > INT32_MAX || v < INT32_MIN)
		return where_fail(r->c, MALFORMED);
	*out = (int32_t)v;
	return 0;
}

/* `[0:1][3]=`; the number of dimensions, -1: malformed. */
static int bounds_read(struct reader *r, int32_t *dims)
{
	int n = 0;
	for (skip_space(r); at(r, '['); skip_space(r)) {
		int32_t upper;
		if (n == WHERE_ARRAY_DIMS_MAX)
			return where_fail(r->c, "number of array dimensions exceeds the maximum allowed (%d)", n);
		r->p++;
		r->lower[n] = 1;
		if (bound_read(r, &upper) != 0)
			return -1;
		if (at(r, ':')) {
			r->p++;
			r->lower[n] = upper;
			if (bound_read(r, &upper) != 0)
				return -1;
		}
		if (!at(r, ']'))
			return where_fail(r->c, MALFORMED);
		r->p++;
		if (upper < r->lower[n])
			return where_fail(r->c, "upper bound cannot be less than lower bound");
		if ((int64_t)upper - r->lower[n] + 1 > INT32_MAX || upper == INT32_MAX)
			return where_fail(r->c, "array size exceeds the maximum allowed");
		dims[n] = upper - r->lower[n] + 1;
		n++;
	}
	if (n == 0)
		return 0;
	if (!at(r, '='))
		return where_fail(r->c, MALFORMED);
	r->p++;
	return n;
}

static int array_read(struct reader *r)
{
	int32_t dims[WHERE_ARRAY_DIMS_MAX];
	int given = bounds_read(r, dims);
	if (given < 0)
		return -1;
	skip_space(r);
	if (!at(r, '{'))
		return where_fail(r->c, MALFORMED);
	if (braces_read(r) != 0)
		return -1;
	skip_space(r);
	if (r->p != r->end)
		return where_fail(r->c, MALFORMED);
	for (int i = 0; i < r->ndims && given == 0; i++)
		r->lower[i] = 1;
	if (given > 0 && (given != r->ndims || memcmp(dims, r->dims, (size_t)given * sizeof *dims) != 0))
		return where_fail(r->c, MALFORMED);
	return 0;
}

static size_t count_byte(const char *p, size_t n, char c)
{
	size_t count = 0;
	for (size_t i = 0; i < n; i++)
		count += p[i] == c;
	return count;
}

static int where_array_in(struct where_call *c, const struct where_type *array, const char *p, size_t n,
                   struct where_value *out)
{
	size_t most = count_byte(p, n, ',') + 1; /* elements */
	if (most > ARRAY_ELEMENTS_MAX)
		return where_fail(c, "array size exceeds the maximum allowed (%u)", ARRAY_ELEMENTS_MAX);
	if (n + most * sizeof(struct where_value) > WHERE_EVAL_BYTES_MAX)
		return where_fail(c, "an array needs more than %u MB of memory", WHERE_EVAL_BYTES_MAX >> 20);
	struct reader r = {.c = c, .elem = array->elem, .in_place = array->elem->oid == OID_TEXT};
	r.p = arena_strndup(c->mem, p, n);
	r.end = r.p + n;
	r.values = arena_alloc(c->mem, most * sizeof *r.values);
	if (array_read(&r) != 0)
		return -1;
	*out = array_value(c->mem, array->elem, (unsigned)r.ndims, r.dims, r.lower, r.values, r.n);
	return 0;
}

/* ---- output ------------------------------------------------------------------------------------- */

static bool needs_quotes(const char *p, size_t n)
{
	if (n == 0 || (n == 4 && strncasecmp(p, "null", 4) == 0))
		return true;
	for (size_t i = 0; i < n; i++)
		if (is_space(p[i]) || p[i] == '"' || p[i] == '\\' || p[i] == '{' || p[i] == '}' || p[i] == ',')
			return true;
	return false;
}

static void put_quoted(struct buf *text, const char *p, size_t n)
{
	buf_putc(text, '"');
	for (size_t i = 0; i < n; i++) {
		if (p[i] == '"' || p[i] == '\\')
			buf_putc(text, '\\');
		buf_putc(text, p[i]);
	}
	buf_putc(text, '"');
}

static int element_out(struct where_call *c, const struct where_type *elem, const struct where_value *v,
                       struct buf *text)
{
	size_t start = text->len;
	if (v->is != WHERE_VALUE) {
		buf_put(text, "NULL", 4);
		return 0;
	}
	if (where_out(c, elem, v, text) != 0)
		return -1;
	size_t n = text->len - start;
	if (text->failed || !needs_quotes(n ? text->data + start : "", n))
		return 0;
	char *plain = mem_strndup(n ? text->data + start : "", n);
	text->len = start;
	put_quoted(text, plain, n);
	free(plain);
	return 0;
}

static void bounds_out(const struct where_array *a, struct buf *text)
{
	bool usual = true;
	for (int i = 0; i < a->ndims; i++)
		usual = usual && a->lower[i] == 1;
	if (usual)
		return;
	for (int i = 0; i < a->ndims; i++)
		buf_printf(text, "[%d:%d]", a->lower[i], a->lower[i] + a->dims[i] - 1);
	buf_putc(text, '=');
}

static int where_array_out(struct where_call *c, const struct where_type *array, const struct where_value *v, struct buf *text)
{
	const struct where_array *a = v->u.array;
	int32_t at_index[WHERE_ARRAY_DIMS_MAX] = {0};
	int level = 0; /* open braces */
	if (a->n == 0) {
		buf_puts(text, "{}");
		return 0;
	}
	bounds_out(a, text);
	for (uint32_t i = 0; i < a->n && !text->failed; i++) {
		for (; level < a->ndims; level++)
			buf_putc(text, '{');
		if (element_out(c, array->elem, &a->values[i], text) != 0)
			return -1;
		for (; level > 0 && ++at_index[level - 1] == a->dims[level - 1]; level--) {
			at_index[level - 1] = 0;
			buf_putc(text, '}');
		}
		if (level > 0)
			buf_putc(text, ',');
	}
	return 0;
}

/* ---- arrays: order, equality, hash--------------------------------------------------------------- */

/* Elements first, a NULL after every value; then how many there are, then how they are laid out. */
int where_array_cmp(const struct where_type *array, const struct where_value *x, const struct where_value *y)
{
	const struct where_array *a = x->u.array, *b = y->u.array;
	uint32_t n = a->n < b->n ? a->n : b->n;
	for (uint32_t i = 0; i < n; i++) {
		const struct where_value *v = &a->values[i], *w = &b->values[i];
		bool v_null = v->is != WHERE_VALUE, w_null = w->is != WHERE_VALUE;
		int order = v_null || w_null ? v_null - w_null : where_cmp(array->elem, v, w);
		if (order != 0)
			return order;
	}
	if (a->n != b->n)
		return a->n < b->n ? -1 : 1;
	if (a->ndims != b->ndims)
		return a->ndims < b->ndims ? -1 : 1;
	for (int i = 0; i < a->ndims; i++)
		if (a->dims[i] != b->dims[i])
			return a->dims[i] < b->dims[i] ? -1 : 1;
	for (int i = 0; i < a->ndims; i++)
		if (a->lower[i] != b->lower[i])
			return a->lower[i] < b->lower[i] ? -1 : 1;
	return 0;
}

static bool equal_numbers(const struct where_type *elem, const struct where_value *a, const struct where_value *b)
{
	(void)elem;
	return a->u.i == b->u.i;
}

static bool equal_bytes(const struct where_type *elem, const struct where_value *a, const struct where_value *b)
{
	(void)elem;
	return a->len == b->len && (a->len == 0 || memcmp(a->u.p, b->u.p, a->len) == 0);
}

array_equality *array_equality_of(const struct where_type *elem)
{
	elem = elem->base ? elem->base : elem;
	if (elem->kind == 'e')
		return equal_bytes;
	switch (elem->oid) {
	case OID_BOOL: case OID_INT2: case OID_INT4: case OID_INT8: case OID_OID:
	case OID_DATE: case OID_TIME: case OID_TIMESTAMP: case OID_TIMESTAMPTZ:
		return equal_numbers;
	case OID_TEXT: case OID_VARCHAR: case OID_NAME: case OID_UUID: case OID_BYTEA: case OID_CHAR:
		return equal_bytes;
	default:
		return where_equal;
	}
}

bool where_array_equal(const struct where_type *array, const struct where_value *x, const struct where_value *y)
{
	const struct where_array *a = x->u.array, *b = y->u.array;
	if (a->n != b->n || a->ndims != b->ndims)
		return false;
	for (int i = 0; i < a->ndims; i++)
		if (a->dims[i] != b->dims[i] || a->lower[i] != b->lower[i])
			return false;
	array_equality *equal = array_equality_of(array->elem);
	for (uint32_t i = 0; i < a->n; i++) {
		const struct where_value *v = &a->values[i], *w = &b->values[i];
		bool v_null = v->is != WHERE_VALUE, w_null = w->is != WHERE_VALUE;
		if (v_null || w_null ? v_null != w_null : !equal(array->elem, v, w))
			return false;
	}
	return true;
}

uint64_t where_array_hash(const struct where_type *array, const struct where_value *v)
{
	const struct where_array *a = v->u.array;
	uint64_t h = a->n;
	for (uint32_t i = 0; i < a->n; i++)
		h = where_hash_u64(h * 31 + (a->values[i].is == WHERE_VALUE ? where_hash(array->elem, &a->values[i]) : 1));
	return h;
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
