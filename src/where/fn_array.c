/*
 * fn_array.c - functions and operators of arrays of any type.
 *
 * Results share the elements of their arguments: a value is 16 bytes and what it points to outlives the row.
 * Looking for each element of one array in another is a loop of loops while both are short; beyond, a hash
 * table is made of one of them.
 */
#include <stdio.h>
#include <string.h>

#include "where/array.h"
#include "where/collation.h"
#include "where/find.h"

#define PAIRS_MAX 1024 /* comparisons before a hash table pays */

typedef const struct where_value *args_t;

static bool is_null(const struct where_value *v) { return v->is != WHERE_VALUE; }

static int equality_check(struct where_call *c, const struct where_type *elem)
{
	if (where_hashable(elem))
		return 0;
	return where_fail(c, "could not identify an equality operator for type %s", elem->name);
}

static int memory_check(struct where_call *c, uint64_t n)
{
	if (n > ARRAY_ELEMENTS_MAX)
		return where_fail(c, "array size exceeds the maximum allowed (%u)", ARRAY_ELEMENTS_MAX);
	if (c->mem->used + n * sizeof(struct where_value) > WHERE_EVAL_BYTES_MAX)
		return where_fail(c, "an array needs more than %u MB of memory", WHERE_EVAL_BYTES_MAX >> 20);
	n *= sizeof(struct where_value);
	return n > where_work_left(c) ? where_spend(c, n) : 0;
}

static struct where_value *values_alloc(struct where_call *c, size_t n)
{
	return arena_alloc(c->mem, n * sizeof(struct where_value));
}

static void values_copy(struct where_value *to, const struct where_value *from, size_t n)
{
	if (n > 0)
		memcpy(to, from, n * sizeof *to);
}

/* ---- comparison --------------------------------------------------------------------------------- */

static int array_eq(struct where_call *c, args_t a, struct where_value *out)
{
	const struct where_array *x = a[0].u.array, *y = a[1].u.array;
	if (x->n > 0 && equality_check(c, x->elem) != 0)
		return -1;
	*out = where_bool(where_array_equal(&(struct where_type){.elem = y->elem}, &a[0], &a[1]));
	return 0;
}

static int array_ne(struct where_call *c, args_t a, struct where_value *out)
{
	if (array_eq(c, a, out) != 0)
		return -1;
	out->u.i = !out->u.i;
	return 0;
}

static bool is_bpchar(const struct where_type *t)
{
	return t->oid == OID_BPCHAR || (t->base && t->base->oid == OID_BPCHAR);
}

static size_t significant(const struct where_value *v, bool blanks)
{
	size_t n = v->len;
	while (!blanks && n > 0 && v->u.p[n - 1] == ' ')
		n--;
	return n;
}

/* As where_array_cmp(), elements by the call's collation. */
static int collated_cmp(struct where_call *c, const struct where_type *array, args_t a)
{
	const struct where_array *x = a[0].u.array, *y = a[1].u.array;
	bool blanks = !is_bpchar(array->elem);
	for (uint32_t i = 0; i < x->n && i < y->n; i++) {
		const struct where_value *v = &x->values[i], *w = &y->values[i];
		int order = is_null(v) || is_null(w) ? is_null(v) - is_null(w)
		                                     : where_text_cmp(c->collation, v->u.p, significant(v, blanks), w->u.p,
		                                                      significant(w, blanks));
		if (order != 0)
			return order;
	}
	/* What is left to decide lies behind the elements both have, which are equal. */
	struct where_array rest[2] = {*x, *y};
	if (x->n != y->n)
		return x->n < y->n ? -1 : 1;
	rest[0].n = rest[1].n = 0;
	struct where_value p = {.u.array = &rest[0], .is = WHERE_VALUE}, q = {.u.array = &rest[1], .is = WHERE_VALUE};
	return where_array_cmp(array, &p, &q);
}

static int order_of(struct where_call *c, args_t a, int *order)
{
	const struct where_type *elem = a[0].u.array->elem;
	const struct where_type array = {.elem = elem};
	if (!where_comparable(elem))
		return where_fail(c, "could not identify a comparison function for type %s", elem->name);
	if (elem->collatable && c->collation && c->collation->order == WHERE_ORDER_NONE)
		return where_fail(c, "the order of collation %s is not known here", c->collation->name);
	if (elem->collatable && c->collation && c->collation->order == WHERE_ORDER_LIBC)
		*order = collated_cmp(c, &array, a);
	else
		*order = where_array_cmp(&array, &a[0], &a[1]);
	return 0;
}

#define COMPARISON(name, test)                                                               \
	static int name(struct where_call *c, args_t a, struct where_value *out)             \
	{                                                                                    \
		int order = 0;                                                                 \
		if (order_of(c, a, &order) != 0)                                             \
			return -1;                                                           \
		*out = (test);                                                               \
		return 0;                                                                    \
	}

COMPARISON(array_lt, where_bool(order < 0))
COMPARISON(array_le, where_bool(order <= 0))
COMPARISON(array_gt, where_bool(order > 0))
COMPARISON(array_ge, where_bool(order >= 0))
COMPARISON(btarraycmp, where_int((order > 0) - (order < 0)))
COMPARISON(array_larger, order > 0 ? a[0] : a[1])
COMPARISON(array_smaller, order < 0 ? a[0] : a[1])

/* ---- inclusion ---------------------------------------------------------------------------------- */

/* Some elements, to look others up in: as they are, or in a hash table. */
struct set {
	const struct where_type *elem;
	array_equality *equal;
	const struct where_array *a;
	uint32_t *slots; /* index of an element plus one; NULL: no table */
	uint32_t mask;
};

static struct set set_of(struct where_call *c, const struct where_array *a, uint32_t lookups)
{
	struct set s = {a->elem, array_equality_of(a->elem), a, NULL, 0};
	if ((uint64_t)a->n * lookups <= PAIRS_MAX)
		return s;
	uint32_t cap = 16;
	while (cap < a->n * 2)
		cap *= 2;
	s.mask = cap - 1;
	s.slots = arena_alloc(c->mem, cap * sizeof *s.slots);
	memset(s.slots, 0, cap * sizeof *s.slots);
	for (uint32_t i = 0; i < a->n; i++) {
		if (is_null(&a->values[i]))
			continue;
		uint32_t at = (uint32_t)where_hash(a->elem, &a->values[i]) & s.mask;
		while (s.slots[at] != 0 && !s.equal(s.elem, &a->values[s.slots[at] - 1], &a->values[i]))
			at = (at + 1) & s.mask;
		if (s.slots[at] == 0)
			s.slots[at] = i + 1;
	}
	return s;
}

static bool set_has(const struct set *s, const struct where_value *v)
{
	const struct where_value *values = s->a->values;
	if (s->slots == NULL) {
		for (uint32_t i = 0; i < s->a->n; i++)
			if (!is_null(&values[i]) && s->equal(s->elem, &values[i], v))
				return true;
		return false;
	}
	uint32_t at = (uint32_t)where_hash(s->elem, v) & s->mask;
	for (; s->slots[at] != 0; at = (at + 1) & s->mask)
		if (s->equal(s->elem, &values[s->slots[at] - 1], v))
			return true;
	return false;
}

static int contains(struct where_call *c, const struct where_array *all, const struct where_array *some,
                    struct where_value *out)
{
	bool found = true;
	if (equality_check(c, all->elem) != 0)
		return -1;
	for (uint32_t i = 0; i < some->n && found; i++)
		found = !is_null(&some->values[i]);
	if (found && some->n > 0) {
		struct set s = set_of(c, all, some->n);
		for (uint32_t i = 0; i < some->n && found; i++)
			found = set_has(&s, &some->values[i]);
	}
	*out = where_bool(found);
	return 0;
}

static int arraycontains(struct where_call *c, args_t a, struct where_value *out)
{
	return contains(c, a[0].u.array, a[1].u.array, out);
}

static int arraycontained(struct where_call *c, args_t a, struct where_value *out)
{
	return contains(c, a[1].u.array, a[0].u.array, out);
}

static int arrayoverlap(struct where_call *c, args_t a, struct where_value *out)
{
	const struct where_array *x = a[0].u.array, *y = a[1].u.array;
	bool found = false;
	if (equality_check(c, x->elem) != 0)
		return -1;
	if (x->n > 0 && y->n > 0) {
		struct set s = set_of(c, y, x->n);
		for (uint32_t i = 0; i < x->n && !found; i++)
			found = !is_null(&x->values[i]) && set_has(&s, &x->values[i]);
	}
	*out = where_bool(found);
	return 0;
}

/* ---- shape -------------------------------------------------------------------------------------- */

static int array_ndims(struct where_call *c, args_t a, struct where_value *out)
{
	(void)c;
	*out = a[0].u.array->ndims > 0 ? where_int(a[0].u.array->ndims) : where_null();
	return 0;
}

static bool has_dim(args_t a)
{
	return a[1].u.i >= 1 && a[1].u.i <= a[0].u.array->ndims;
}

static int array_length(struct where_call *c, args_t a, struct where_value *out)
{
	(void)c;
	*out = has_dim(a) ? where_int(a[0].u.array->dims[a[1].u.i - 1]) : where_null();
	return 0;
}

static int array_lower(struct where_call *c, args_t a, struct where_value *out)
{
	(void)c;
	*out = has_dim(a) ? where_int(a[0].u.array->lower[a[1].u.i - 1]) : where_null();
	return 0;
}

static int array_upper(struct where_call *c, args_t a, struct where_value *out)
{
	(void)c;
	const struct where_array *x = a[0].u.array;
	*out = has_dim(a) ? where_int((int64_t)x->lower[a[1].u.i - 1] + x->dims[a[1].u.i - 1] - 1) : where_null();
	return 0;
}

static int array_cardinality(struct where_call *c, args_t a, struct where_value *out)
{
	(void)c;
	*out = where_int(a[0].u.array->n);
	return 0;
}

static int array_dims(struct where_call *c, args_t a, struct where_value *out)
{
	const struct where_array *x = a[0].u.array;
	char text[WHERE_ARRAY_DIMS_MAX * 32];
	int n = 0;
	for (int i = 0; i < x->ndims; i++)
		n += snprintf(text + n, sizeof text - (size_t)n, "[%d:%d]", x->lower[i], x->lower[i] + x->dims[i] - 1);
	*out = n > 0 ? where_bytes(arena_strndup(c->mem, text, (size_t)n), (size_t)n) : where_null();
	return 0;
}

/* ---- putting together --------------------------------------------------------------------------- */

/* Whether dimensions `d`.. of x are those of y from `e` on. */
static bool same_below(const struct where_array *x, int d, const struct where_array *y, int e)
{
	for (; d < x->ndims; d++, e++)
		if (x->dims[d] != y->dims[e] || x->lower[d] != y->lower[e])
			return false;
	return true;
}

static int array_cat(struct where_call *c, args_t a, struct where_value *out)
{
	if (is_null(&a[0]) || is_null(&a[1])) {
		*out = is_null(&a[0]) ? a[1] : a[0];
		return 0;
	}
	const struct where_array *x = a[0].u.array, *y = a[1].u.array;
	if (x->ndims == 0 || y->ndims == 0) {
		*out = x->ndims == 0 && y->ndims > 0 ? a[1] : a[0];
		return 0;
	}
	int more = x->ndims - y->ndims;
	bool fits = more == 0   ? same_below(x, 1, y, 1)
	            : more == 1 ? same_below(y, 0, x, 1)
	                        : more == -1 && same_below(x, 0, y, 1);
	if (!fits)
		return where_fail(c, "cannot concatenate incompatible arrays");
	const struct where_array *outer = more >= 0 ? x : y;
	int64_t first = more == 0 ? (int64_t)x->dims[0] + y->dims[0] : (int64_t)outer->dims[0] + 1;
	if (memory_check(c, (uint64_t)x->n + y->n) != 0)
		return -1;
	if (first + outer->lower[0] > INT32_MAX)
		return where_fail(c, "array lower bound is too large");
	int32_t dims[WHERE_ARRAY_DIMS_MAX];
	memcpy(dims, outer->dims, sizeof dims);
	dims[0] = (int32_t)first;
	struct where_value *values = values_alloc(c, (size_t)x->n + y->n);
	values_copy(values, x->values, x->n);
	values_copy(values + x->n, y->values, y->n);
	*out = array_value(c->mem, x->elem, outer->ndims, dims, outer->lower, values, x->n + y->n);
	return 0;
}

/* `array` with an element more; its lower bound stays. */
static int with_element(struct where_call *c, const struct where_value *array, const struct where_value *v, bool front,
                        struct where_value *out)
{
	const struct where_array *x = is_null(array) ? NULL : array->u.array;
	uint32_t n = x ? x->n : 0;
	int32_t lower = n > 0 ? x->lower[0] : 1;
	if (x && x->ndims > 1)
		return where_fail(c, "argument must be empty or one-dimensional array");
	if (front ? n > 0 && lower == INT32_MIN : (int64_t)lower + n >= INT32_MAX)
		return where_fail(c, "integer out of range");
	if (memory_check(c, (uint64_t)n + 1) != 0)
		return -1;
	struct where_value *values = values_alloc(c, (size_t)n + 1);
	if (n > 0)
		values_copy(values + front, x->values, n);
	values[front ? 0 : n] = is_null(v) ? where_null() : *v;
	int32_t dim = (int32_t)n + 1;
	*out = array_value(c->mem, c->result->elem, 1, &dim, &lower, values, n + 1);
	return 0;
}

static int array_append(struct where_call *c, args_t a, struct where_value *out)
{
	return with_element(c, &a[0], &a[1], false, out);
}

static int array_prepend(struct where_call *c, args_t a, struct where_value *out)
{
	return with_element(c, &a[1], &a[0], true, out);
}

/* ---- searching ---------------------------------------------------------------------------------- */

/* A value to look for; NULL is found among NULLs. */
struct wanted { const struct where_value *v; const struct where_type *elem; array_equality *equal; };

static int wanted_init(struct where_call *c, const struct where_array *a, const struct where_value *v, struct wanted *w)
{
	*w = (struct wanted){v, a->elem, array_equality_of(a->elem)};
	return equality_check(c, a->elem);
}

static bool is_wanted(const struct wanted *w, const struct where_value *v)
{
	if (is_null(w->v) || is_null(v))
		return is_null(w->v) && is_null(v);
	return w->equal(w->elem, v, w->v);
}

static bool has_null(const struct where_array *a)
{
	for (uint32_t i = 0; i < a->n; i++)
		if (is_null(&a->values[i]))
			return true;
	return false;
}

static int search_check(struct where_call *c, const struct where_array *a)
{
	if (a->ndims > 1)
		return where_fail(c, "searching for elements in multidimensional arrays is not supported");
	return 0;
}

static int position_from(struct where_call *c, args_t a, int64_t from, struct where_value *out)
{
	const struct where_array *x = a[0].u.array;
	struct wanted w;
	*out = where_null();
	if (search_check(c, x) != 0)
		return -1;
	if (x->n == 0 || (is_null(&a[1]) && !has_null(x)))
		return 0;
	if (wanted_init(c, x, &a[1], &w) != 0)
		return -1;
	for (uint32_t i = 0; i < x->n; i++) {
		int64_t position = (int64_t)x->lower[0] + i;
		if (position < from || !is_wanted(&w, &x->values[i]))
			continue;
		*out = where_int(position);
		break;
	}
	return 0;
}

static int array_position(struct where_call *c, args_t a, struct where_value *out)
{
	*out = where_null();
	return is_null(&a[0]) ? 0 : position_from(c, a, INT32_MIN, out);
}

static int array_position_start(struct where_call *c, args_t a, struct where_value *out)
{
	*out = where_null();
	if (is_null(&a[0]))
		return 0;
	if (search_check(c, a[0].u.array) != 0)
		return -1;
	if (a[0].u.array->n == 0)
		return 0;
	if (is_null(&a[1]) && !has_null(a[0].u.array))
		return 0;
	if (is_null(&a[2]))
		return where_fail(c, "initial position must not be null");
	return position_from(c, a, a[2].u.i, out);
}

static int array_positions(struct where_call *c, args_t a, struct where_value *out)
{
	*out = where_null();
	if (is_null(&a[0]))
		return 0;
	const struct where_array *x = a[0].u.array;
	struct wanted w = {.v = &a[1]};
	if (search_check(c, x) != 0 || memory_check(c, x->n) != 0 || (x->n > 0 && wanted_init(c, x, &a[1], &w) != 0))
		return -1;
	struct where_value *found = values_alloc(c, x->n);
	uint32_t n = 0;
	for (uint32_t i = 0; i < x->n; i++)
		if (is_wanted(&w, &x->values[i]))
			found[n++] = where_int((int64_t)x->lower[0] + i);
	*out = array_of(c->mem, c->result->elem, found, n);
	return 0;
}

static int array_remove(struct where_call *c, args_t a, struct where_value *out)
{
	*out = a[0];
	if (is_null(&a[0]) || a[0].u.array->n == 0)
		return 0;
	const struct where_array *x = a[0].u.array;
	struct wanted w;
	if (x->ndims > 1)
		return where_fail(c, "removing elements from multidimensional arrays is not supported");
	if (wanted_init(c, x, &a[1], &w) != 0 || memory_check(c, x->n) != 0)
		return -1;
	struct where_value *kept = values_alloc(c, x->n);
	uint32_t n = 0;
	for (uint32_t i = 0; i < x->n; i++)
		if (!is_wanted(&w, &x->values[i]))
			kept[n++] = x->values[i];
	int32_t dim = (int32_t)n;
	*out = array_value(c->mem, x->elem, 1, &dim, x->lower, kept, n);
	return 0;
}

static int array_replace(struct where_call *c, args_t a, struct where_value *out)
{
	*out = a[0];
	if (is_null(&a[0]) || a[0].u.array->n == 0)
		return 0;
	const struct where_array *x = a[0].u.array;
	struct wanted w;
	if (wanted_init(c, x, &a[1], &w) != 0 || memory_check(c, x->n) != 0)
		return -1;
	struct where_value *values = values_alloc(c, x->n);
	for (uint32_t i = 0; i < x->n; i++)
		values[i] = is_wanted(&w, &x->values[i]) ? a[2] : x->values[i];
	*out = array_value(c->mem, x->elem, x->ndims, x->dims, x->lower, values, x->n);
	return 0;
}

static int trim_array(struct where_call *c, args_t a, struct where_value *out)
{
	const struct where_array *x = a[0].u.array;
	int64_t length = x->ndims > 0 ? x->dims[0] : 0, trim = a[1].u.i;
	int32_t dims[WHERE_ARRAY_DIMS_MAX], lower[WHERE_ARRAY_DIMS_MAX];
	if (trim < 0 || trim > length)
		return where_fail(c, "number of elements to trim must be between 0 and %d", (int)length);
	*out = a[0];
	if (length == 0)
		return 0;
	for (int i = 0; i < x->ndims; i++) {
		dims[i] = x->dims[i];
		lower[i] = 1;
	}
	dims[0] = (int32_t)(length - trim);
	uint32_t n = x->n / (uint32_t)length * (uint32_t)dims[0];
	*out = array_value(c->mem, x->elem, x->ndims, dims, lower, x->values, n);
	return 0;
}

/* ---- text --------------------------------------------------------------------------------------- */

/* Puts the text into the arena; frees the buffer. */
static int text_result(struct where_call *c, struct buf *text, struct where_value *out)
{
	int rc = 0;
	if (text->failed)
		rc = where_fail(c, "a text is larger than %u MB", WHERE_EVAL_BYTES_MAX >> 20);
	else
		*out = where_bytes(arena_strndup(c->mem, text->len ? text->data : "", text->len), text->len);
	buf_clear(text);
	return rc;
}

static int to_text(struct where_call *c, args_t a, const struct where_value *null_text, struct where_value *out)
{
	const struct where_array *x = a[0].u.array;
	struct buf text = BUF_INIT(WHERE_EVAL_BYTES_MAX);
	bool first = true;
	for (uint32_t i = 0; i < x->n && !text.failed; i++) {
		const struct where_value *v = &x->values[i];
		if (is_null(v) && null_text == NULL)
			continue;
		if (!first)
			buf_put(&text, a[1].u.p, a[1].len);
		first = false;
		if (is_null(v)) {
			buf_put(&text, null_text->u.p, null_text->len);
		} else if (where_out(c, x->elem, v, &text) != 0) {
			buf_clear(&text);
			return -1;
		}
	}
	return text_result(c, &text, out);
}

static int array_to_text(struct where_call *c, args_t a, struct where_value *out)
{
	return to_text(c, a, NULL, out);
}

static int array_to_text_null(struct where_call *c, args_t a, struct where_value *out)
{
	*out = where_null();
	if (is_null(&a[0]) || is_null(&a[1]))
		return 0;
	return to_text(c, a, is_null(&a[2]) ? NULL : &a[2], out);
}

static size_t char_bytes(const char *p, size_t left)
{
	unsigned char b = (unsigned char)*p;
	size_t n = b < 0xC0 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
	return n < left ? n : left;
}

/* The end of the piece at `p`, and how long what separates it from the next is. */
static const char *piece_end(const char *p, const char *end, const struct where_value *separator, size_t *skip)
{
	*skip = 0;
	if (is_null(separator))
		return p + char_bytes(p, (size_t)(end - p));
	const char *found = separator->len > 0 ? where_find(p, (size_t)(end - p), separator->u.p, separator->len) : NULL;
	if (found != NULL)
		*skip = separator->len;
	return found ? found : end;
}

/* The pieces of the text into `values`, or only their number if that is NULL. */
static uint32_t split(const struct where_value *text, const struct where_value *separator,
                      const struct where_value *null_text, struct where_value *values)
{
	const char *p = text->u.p, *end = p + text->len;
	uint32_t n = 0;
	for (;;) {
		size_t skip, length;
		const char *stop = piece_end(p, end, separator, &skip);
		length = (size_t)(stop - p);
		bool null = null_text && !is_null(null_text) && null_text->len == length &&
		            (length == 0 || memcmp(p, null_text->u.p, length) == 0);
		if (values != NULL)
			values[n] = null ? where_null() : where_bytes(p, length);
		n++;
		p = stop + skip;
		if (is_null(separator) ? p == end : skip == 0)
			return n;
	}
}

static int split_text(struct where_call *c, args_t a, const struct where_value *null_text, struct where_value *out)
{
	*out = where_null();
	if (is_null(&a[0]))
		return 0;
	uint32_t n = a[0].len > 0 ? split(&a[0], &a[1], null_text, NULL) : 0;
	if (memory_check(c, n) != 0)
		return -1;
	struct where_value *values = values_alloc(c, n);
	if (n > 0)
		split(&a[0], &a[1], null_text, values);
	*out = array_of(c->mem, c->result->elem, values, n);
	return 0;
}

static int text_to_array(struct where_call *c, args_t a, struct where_value *out)
{
	return split_text(c, a, NULL, out);
}

static int text_to_array_null(struct where_call *c, args_t a, struct where_value *out)
{
	return split_text(c, a, &a[2], out);
}

const struct where_impl where_impl_array[] = {
	{"array_eq", array_eq, NULL, NULL},
	{"array_ne", array_ne, NULL, NULL},
	{"array_lt", array_lt, NULL, NULL},
	{"array_le", array_le, NULL, NULL},
	{"array_gt", array_gt, NULL, NULL},
	{"array_ge", array_ge, NULL, NULL},
	{"btarraycmp", btarraycmp, NULL, NULL},
	{"array_larger", array_larger, NULL, NULL},
	{"array_smaller", array_smaller, NULL, NULL},
	{"arraycontains", arraycontains, NULL, NULL},
	{"arraycontained", arraycontained, NULL, NULL},
	{"arrayoverlap", arrayoverlap, NULL, NULL},
	{"array_ndims", array_ndims, NULL, NULL},
	{"array_length", array_length, NULL, NULL},
	{"array_lower", array_lower, NULL, NULL},
	{"array_upper", array_upper, NULL, NULL},
	{"array_cardinality", array_cardinality, NULL, NULL},
	{"array_dims", array_dims, NULL, NULL},
	{"array_cat", array_cat, NULL, NULL},
	{"array_append", array_append, NULL, NULL},
	{"array_prepend", array_prepend, NULL, NULL},
	{"array_position", array_position, NULL, NULL},
	{"array_position_start", array_position_start, NULL, NULL},
	{"array_positions", array_positions, NULL, NULL},
	{"array_remove", array_remove, NULL, NULL},
	{"array_replace", array_replace, NULL, NULL},
	{"trim_array", trim_array, NULL, NULL},
	{"array_to_text", array_to_text, NULL, NULL},
	{"array_to_text_null", array_to_text_null, NULL, NULL},
	{"text_to_array", text_to_array, NULL, NULL},
	{"text_to_array_null", text_to_array_null, NULL, NULL},
	{NULL, NULL, NULL, NULL},
};
