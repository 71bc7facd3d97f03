/*
 * eval.c - the value of a pool's node for the row at hand, remembered until the next row.
 *
 * What is evaluated, in which order, and what is left out once the result is known follows Postgres's
 * executor (the manual's 4.2.14 and 9.1; execExprInterp.c decides details), because it decides which
 * errors are met; but for truths that are combined (eval_logic()).
 */
#include <string.h>

#include "base/mem.h"
#include "where/pool_private.h"

#define NODE_STEPS 4
#define SET_MIN 5 /* elements below which comparing one by one is as fast */

/* ---- failures and calls ----------------------------------------------------------------------------- */

/* An error value keeps its own reason, so that it can be told again when it is asked for again. */
static struct where_value failed(struct where_pool *p, int column)
{
	const char *why = arena_strndup(p->arena, p->call.reason, strlen(p->call.reason));
	return (struct where_value){.u.p = why, .len = (uint32_t)(column + 1), .is = WHERE_ERROR};
}

static struct where_value too_much(struct where_pool *p)
{
	where_fail(&p->call, "evaluation needs more than %u MB", WHERE_EVAL_BYTES_MAX >> 20);
	return failed(p, -1);
}

void pool_call(struct where_pool *p, const struct sig *g, void *prepared)
{
	struct where_call *c = &p->call;
	c->mem = p->arena;
	c->collation = g->collation;
	c->result = g->result;
	c->arg_types = g->arg_types;
	c->nargs = g->nargs;
	c->typmod = g->typmod;
	c->printed = false;
	c->prepared = prepared;
}

/* How much a function reads of an array or a number; texts have their length. */
static uint64_t weight(const struct where_type *t, const struct where_value *v)
{
	if (t->base)
		t = t->base;
	if (v->is != WHERE_VALUE)
		return 1;
	if (!where_type_is_array(t))
		return v->len + 1u;
	const struct where_array *a = v->u.array;
	uint64_t sum = (uint64_t)a->n * WHERE_CALL_STEPS;
	for (uint32_t i = 0; i < a->n; i++)
		sum += a->values[i].len;
	return sum;
}

/* Before a call: for what it reads. */
static int charge_args(struct where_pool *p, const struct sig *g, const struct where_value *args)
{
	uint64_t steps = WHERE_CALL_STEPS;
	for (uint32_t i = 0; i < g->nargs; i++)
		steps += g->weighs ? weight(g->arg_types[i], &args[i]) : args[i].is == WHERE_VALUE ? args[i].len : 0;
	return where_spend(&p->call, steps);
}

static struct where_value invoke(struct where_pool *p, const struct sig *g, const struct where_impl *impl,
                                 const struct where_value *args, void *prepared)
{
	struct where_value out = {.is = WHERE_NULL};
	pool_call(p, g, prepared);
	size_t used = p->arena->used, worked = p->arena->work;
	if (charge_args(p, g, args) != 0 || impl->fn(&p->call, args, &out) != 0 ||
	    where_spend(&p->call, p->arena->used - used + p->arena->work - worked) != 0)
		return failed(p, -1);
	return p->arena->used > p->limit ? too_much(p) : out;
}

/* The node's operator over two values, NULLs as the operator is strict or not. */
static struct where_value operate(struct where_pool *p, const struct sig *g, const struct where_value *a,
                                  const struct where_value *b)
{
	if (g->strict && (a->is == WHERE_NULL || b->is == WHERE_NULL))
		return where_null();
	struct where_value args[2] = {*a, *b};
	return invoke(p, g, g->impl, args, NULL);
}

static bool is_true(const struct where_value *v) { return v->is == WHERE_VALUE && v->u.i != 0; }
static bool is_false(const struct where_value *v) { return v->is == WHERE_VALUE && v->u.i == 0; }

static const struct where_value *arg(struct where_pool *p, const struct slot *s, uint32_t i)
{
	return pool_eval(p, slot_args(s)[i]);
}

static struct where_value eval_call(struct where_pool *p, const struct slot *s)
{
	struct where_value few[POOL_FEW_ARGS], *args = few;
	bool null = false;
	if (s->nargs > POOL_FEW_ARGS)
		args = arena_alloc(p->arena, s->nargs * sizeof *args);
	for (uint32_t i = 0; i < s->nargs; i++) { /* all of them, before a NULL decides */
		const struct where_value *v = arg(p, s, i);
		if (v->is == WHERE_ERROR)
			return *v;
		null |= v->is == WHERE_NULL;
		args[i] = *v;
	}
	if (null && s->sig->strict && !s->sig->inlined)
		return where_null();
	return invoke(p, s->sig, s->sig->impl, args, s->extra);
}

/* ---- columns ---------------------------------------------------------------------------------------- */

static int fetch(struct where_pool *p, const struct slot *s, struct where_text *out)
{
	if (p->fetch != NULL && p->fetch(p->fetch_ctx, s->column, out))
		return 0;
	return where_fail(&p->call, "the column's value is not in the change");
}

static struct where_value eval_column(struct where_pool *p, const struct slot *s)
{
	struct where_text text;
	struct where_value out = {.is = WHERE_NULL};
	if (fetch(p, s, &text) != 0)
		return failed(p, s->column);
	if (text.null)
		return out;
	pool_call(p, &(struct sig){.result = s->type, .typmod = -1}, NULL);
	p->call.printed = true;
	if (where_spend(&p->call, text.len) != 0 || where_in(&p->call, s->type, text.p, text.len, &out) != 0)
		return failed(p, s->column);
	return out;
}

/* Whether a value is NULL; columns aren't decoded for that. */
static struct where_value null_test(struct where_pool *p, uint32_t id)
{
	const struct slot *s = &p->slots[id];
	struct where_text text;
	if (s->kind == WHERE_COLUMN && s->stamp != p->stamp)
		return fetch(p, s, &text) != 0 ? failed(p, s->column) : where_bool(text.null);
	const struct where_value *v = pool_eval(p, id);
	return v->is == WHERE_ERROR ? *v : where_bool(v->is == WHERE_NULL);
}

static struct where_value eval_null_test(struct where_pool *p, const struct slot *s)
{
	struct where_value null = null_test(p, slot_args(s)[0]);
	if (null.is == WHERE_VALUE && s->kind == WHERE_IS_NOT_NULL)
		null.u.i = !null.u.i;
	return null;
}

/* ---- logic ------------------------------------------------------------------------------------------ */

/* What several truths come to while none of them decides: the first failure, else a NULL if there was one. */
static void undecided(struct where_value *so_far, const struct where_value *v)
{
	if (so_far->is != WHERE_ERROR && v->is != WHERE_VALUE)
		*so_far = *v;
}

/*
 * A failure is one more that isn't known, as NULL is: what decides does so wherever it stands. Which of the arms
 * Postgres evaluates is the planner's choice, so the rows of a snapshot could agree with no order of ours.
 */
static struct where_value eval_logic(struct where_pool *p, const struct slot *s)
{
	bool or = s->kind == WHERE_OR;
	struct where_value out = where_bool(!or);
	for (uint32_t i = 0; i < s->nargs; i++) {
		const struct where_value *v = arg(p, s, i);
		if (v->is == WHERE_VALUE && (v->u.i != 0) == or)
			return *v;
		undecided(&out, v);
	}
	return out;
}

static struct where_value eval_truth(struct where_pool *p, const struct slot *s)
{
	const struct where_value *v = arg(p, s, 0);
	if (v->is == WHERE_ERROR)
		return *v;
	switch (s->kind) {
	case WHERE_NOT:
		return v->is == WHERE_NULL ? *v : where_bool(v->u.i == 0);
	case WHERE_IS_TRUE:
		return where_bool(is_true(v));
	case WHERE_IS_NOT_TRUE:
		return where_bool(!is_true(v));
	case WHERE_IS_FALSE:
		return where_bool(is_false(v));
	case WHERE_IS_NOT_FALSE:
		return where_bool(!is_false(v));
	case WHERE_IS_UNKNOWN:
		return where_bool(v->is == WHERE_NULL);
	default:
		return where_bool(v->is != WHERE_NULL);
	}
}

static struct where_value eval_distinct(struct where_pool *p, const struct slot *s)
{
	struct where_value a = *arg(p, s, 0);
	if (a.is == WHERE_ERROR)
		return a;
	struct where_value b = *arg(p, s, 1);
	if (b.is == WHERE_ERROR)
		return b;
	bool want = s->kind == WHERE_DISTINCT;
	if (a.is == WHERE_NULL || b.is == WHERE_NULL)
		return where_bool((a.is != b.is) == want);
	struct where_value equal = operate(p, s->sig, &a, &b);
	return equal.is == WHERE_VALUE ? where_bool((equal.u.i == 0) == want) : equal;
}

static struct where_value eval_nullif(struct where_pool *p, const struct slot *s)
{
	struct where_value a = *arg(p, s, 0);
	if (a.is == WHERE_ERROR)
		return a;
	struct where_value b = *arg(p, s, 1);
	if (b.is == WHERE_ERROR)
		return b;
	if (a.is == WHERE_NULL || b.is == WHERE_NULL)
		return a;
	struct where_value equal = operate(p, s->sig, &a, &b);
	if (equal.is == WHERE_ERROR)
		return equal;
	return is_true(&equal) ? where_null() : a;
}

static struct where_value eval_case(struct where_pool *p, const struct slot *s)
{
	uint32_t i = 0;
	for (; i + 1 < s->nargs; i += 2) {
		const struct where_value *when = arg(p, s, i);
		if (when->is == WHERE_ERROR)
			return *when;
		if (is_true(when))
			return *arg(p, s, i + 1);
	}
	return *arg(p, s, i);
}

static struct where_value eval_coalesce(struct where_pool *p, const struct slot *s)
{
	for (uint32_t i = 0; i < s->nargs; i++) {
		const struct where_value *v = arg(p, s, i);
		if (v->is != WHERE_NULL)
			return *v;
	}
	return where_null();
}

/* Negative, 0, positive, by the type's default order or the collation's. */
static int order(struct where_pool *p, const struct slot *s, const struct where_value *a, const struct where_value *b,
                 struct where_value *error)
{
	const struct sig *g = s->sig;
	if (g->impl == NULL)
		return where_cmp(s->type, a, b);
	struct where_value less = operate(p, g, a, b);
	struct where_value more = less.is == WHERE_VALUE && less.u.i == 0 ? operate(p, g, b, a) : where_bool(false);
	if (less.is == WHERE_ERROR || more.is == WHERE_ERROR)
		*error = less.is == WHERE_ERROR ? less : more;
	return is_true(&less) ? -1 : is_true(&more);
}

static struct where_value eval_extreme(struct where_pool *p, const struct slot *s)
{
	struct where_value best = where_null(), error = where_null();
	for (uint32_t i = 0; i < s->nargs; i++) {
		const struct where_value *v = arg(p, s, i);
		if (v->is == WHERE_ERROR)
			return *v;
		if (v->is == WHERE_NULL)
			continue;
		int c = best.is == WHERE_NULL ? 0 : order(p, s, v, &best, &error);
		if (error.is == WHERE_ERROR)
			return error;
		if (best.is == WHERE_NULL || (s->kind == WHERE_GREATEST ? c > 0 : c < 0))
			best = *v;
	}
	return best;
}

/* Pairs from the left: the first that differ decide, a NULL before them leaves it open. */
static struct where_value eval_row_compare(struct where_pool *p, const struct slot *s)
{
	const struct sig *g = s->sig;
	uint32_t n = s->nargs / 2;
	int c = 0;
	for (uint32_t i = 0; i < n && c == 0; i++) {
		struct where_value args[2] = {*arg(p, s, i), {.is = WHERE_NULL}};
		if (args[0].is == WHERE_ERROR)
			return args[0];
		args[1] = *arg(p, s, n + i);
		if (args[1].is == WHERE_ERROR)
			return args[1];
		if (args[0].is == WHERE_NULL || args[1].is == WHERE_NULL)
			return where_null();
		const struct where_type *types[2] = {g->arg_types[i], g->arg_types[n + i]};
		struct sig pair = {.nargs = 2, .weighs = g->weighs, .typmod = -1, .collation = g->collation, .result = s->type, .arg_types = types};
		struct where_value less = invoke(p, &pair, g->row_impls[i * 2], args, NULL);
		struct where_value more = less;
		if (less.is == WHERE_VALUE && less.u.i == 0)
			more = invoke(p, &pair, g->row_impls[i * 2 + 1], args, NULL);
		if (more.is != WHERE_VALUE)
			return more;
		c = less.u.i != 0 ? -1 : more.u.i != 0;
	}
	switch (g->row_op) {
	case '<':
		return where_bool(c < 0);
	case 'l':
		return where_bool(c <= 0);
	case '>':
		return where_bool(c > 0);
	default:
		return where_bool(c >= 0);
	}
}

/* ---- ANY and ALL ------------------------------------------------------------------------------------ */

struct set *pool_set(const struct where_type *elem, const struct where_array *a)
{
	if (a->n < SET_MIN || a->n > UINT32_MAX / 8)
		return NULL;
	uint32_t size = 16;
	while (size < a->n * 2)
		size *= 2;
	struct set *set = mem_zalloc(sizeof *set + size * sizeof *set->at);
	set->mask = size - 1;
	for (uint32_t i = 0; i < a->n; i++) {
		if (a->values[i].is != WHERE_VALUE) {
			set->has_null = true;
			continue;
		}
		uint32_t at = (uint32_t)where_hash(elem, &a->values[i]) & set->mask;
		while (set->at[at] != 0 && !where_equal(elem, &a->values[set->at[at] - 1], &a->values[i]))
			at = (at + 1) & set->mask;
		if (set->at[at] == 0) /* what is there a thousand times must not be a chain of a thousand */
			set->at[at] = i + 1;
	}
	return set;
}

static bool set_has(const struct set *set, const struct where_type *elem, const struct where_array *a,
                    const struct where_value *v)
{
	uint32_t at = (uint32_t)where_hash(elem, v) & set->mask;
	for (; set->at[at] != 0; at = (at + 1) & set->mask)
		if (where_equal(elem, &a->values[set->at[at] - 1], v))
			return true;
	return false;
}

/* An OR, or an AND, of what the operator says of each element; failures too count as there. */
static struct where_value eval_any(struct where_pool *p, const struct slot *s)
{
	bool any = s->kind == WHERE_ANY;
	struct where_value x = *arg(p, s, 0);
	if (x.is == WHERE_ERROR)
		return x;
	const struct where_value *of = arg(p, s, 1);
	if (of->is != WHERE_VALUE)
		return *of;
	const struct where_array *a = of->u.array;
	if (a->n == 0)
		return where_bool(!any);
	if (x.is == WHERE_NULL && s->sig->strict)
		return where_null();
	if (s->extra != NULL) {
		const struct set *set = s->extra;
		if (where_spend(&p->call, WHERE_CALL_STEPS + weight(s->sig->arg_types[0], &x)) != 0)
			return failed(p, -1);
		if (set_has(set, s->sig->arg_types[1], a, &x))
			return where_bool(any);
		return set->has_null ? where_null() : where_bool(!any);
	}
	struct where_value out = where_bool(!any);
	for (uint32_t i = 0; i < a->n; i++) {
		struct where_value v = operate(p, s->sig, &x, &a->values[i]);
		if (v.is == WHERE_VALUE && (v.u.i != 0) == any)
			return v;
		undecided(&out, &v);
	}
	return out;
}

/* ---- arrays and rows -------------------------------------------------------------------------------- */

static struct where_value array_value(struct where_pool *p, const struct where_array *a)
{
	if (where_spend(&p->call, (uint64_t)a->n * WHERE_CALL_STEPS) != 0)
		return failed(p, -1);
	struct where_value v = {.u.array = arena_dup(p->arena, a, sizeof *a), .is = WHERE_VALUE};
	return p->arena->used > p->limit ? too_much(p) : v;
}

static struct where_value mismatch(struct where_pool *p)
{
	where_fail(&p->call, "multidimensional arrays must have array expressions with matching dimensions");
	return failed(p, -1);
}

/* ARRAY[[1,2],[3,4]]: the parts must agree in their dimensions; only if all are empty or NULL, so is the whole. */
static struct where_value eval_nested(struct where_pool *p, const struct slot *s)
{
	struct where_array out = {.elem = s->type->elem};
	const struct where_array *first = NULL;
	const struct where_array **parts = arena_alloc(p->arena, (s->nargs + 1) * sizeof *parts);
	bool empty = false, uneven = false;
	for (uint32_t i = 0; i < s->nargs; i++) {
		const struct where_value *v = arg(p, s, i);
		if (v->is == WHERE_ERROR)
			return *v;
		parts[i] = v->is == WHERE_VALUE && v->u.array->ndims > 0 ? v->u.array : NULL;
		if (parts[i] == NULL) {
			empty = true;
			continue;
		}
		if (first == NULL)
			first = parts[i];
		uneven |= parts[i]->ndims != first->ndims ||
		          memcmp(parts[i]->dims, first->dims, first->ndims * sizeof *first->dims) != 0 ||
		          memcmp(parts[i]->lower, first->lower, first->ndims * sizeof *first->lower) != 0;
	}
	if (first == NULL)
		return array_value(p, &out);
	if (first->ndims >= WHERE_ARRAY_DIMS_MAX) {
		where_fail(&p->call, "number of array dimensions (%d) exceeds the maximum allowed (%d)", first->ndims + 1,
		           WHERE_ARRAY_DIMS_MAX);
		return failed(p, -1);
	}
	if (empty || uneven)
		return mismatch(p);
	out.ndims = (uint8_t)(first->ndims + 1);
	out.dims[0] = (int32_t)s->nargs;
	out.lower[0] = 1;
	memcpy(out.dims + 1, first->dims, first->ndims * sizeof *first->dims);
	memcpy(out.lower + 1, first->lower, first->ndims * sizeof *first->lower);
	if (__builtin_mul_overflow(first->n, s->nargs, &out.n) || out.n > WHERE_EVAL_BYTES_MAX / sizeof(struct where_value))
		return too_much(p);
	struct where_value *values = arena_alloc(p->arena, out.n * sizeof *values);
	for (uint32_t i = 0; i < s->nargs; i++)
		memcpy(values + i * first->n, parts[i]->values, first->n * sizeof *values);
	out.values = values;
	return array_value(p, &out);
}

static struct where_value eval_array(struct where_pool *p, const struct slot *s)
{
	if (s->flags & SLOT_NESTED)
		return eval_nested(p, s);
	struct where_array out = {.elem = s->type->elem, .n = s->nargs};
	struct where_value *values = arena_alloc(p->arena, (s->nargs + 1) * sizeof *values);
	for (uint32_t i = 0; i < s->nargs; i++) {
		values[i] = *arg(p, s, i);
		if (values[i].is == WHERE_ERROR)
			return values[i];
	}
	if (s->nargs > 0) {
		out.ndims = 1;
		out.dims[0] = (int32_t)s->nargs;
		out.lower[0] = 1;
	}
	out.values = values;
	return array_value(p, &out);
}

static struct where_value eval_row(struct where_pool *p, const struct slot *s)
{
	struct where_row row = {.n = s->nargs, .types = s->sig->arg_types};
	struct where_value *values = arena_alloc(p->arena, (s->nargs + 1) * sizeof *values);
	for (uint32_t i = 0; i < s->nargs; i++) {
		values[i] = *arg(p, s, i);
		if (values[i].is == WHERE_ERROR)
			return values[i];
	}
	row.values = values;
	return (struct where_value){.u.row = arena_dup(p->arena, &row, sizeof row), .is = WHERE_VALUE};
}

static struct where_value eval_array_cast(struct where_pool *p, const struct slot *s)
{
	const struct where_value *from = arg(p, s, 0);
	if (from->is != WHERE_VALUE)
		return *from;
	struct where_array out = *from->u.array;
	const struct where_value *old = out.values, *outer = p->element;
	struct where_value *values = arena_alloc(p->arena, (out.n + 1) * sizeof *values), error = where_null();
	out.elem = s->type->elem;
	for (uint32_t i = 0; i < out.n && error.is != WHERE_ERROR; i++) {
		p->element = &old[i];
		values[i] = *arg(p, s, 1);
		if (values[i].is == WHERE_ERROR)
			error = values[i];
	}
	p->element = outer;
	if (error.is == WHERE_ERROR)
		return error;
	out.values = values;
	return array_value(p, &out);
}

/* ---- subscripts ------------------------------------------------------------------------------------- */

/* args[from..] as numbers; `given` says which are there. WHERE_VALUE, or what else the result is. */
static struct where_value subscripts(struct where_pool *p, const struct slot *s, int64_t *out, bool *given,
                                     uint32_t max)
{
	struct where_value bad = where_bool(true);
	for (uint32_t i = 0; i < max; i++) {
		uint32_t id = slot_args(s)[i + 1];
		given[i] = id != 0;
		if (id == 0)
			continue;
		const struct where_value *v = pool_eval(p, id);
		if (v->is == WHERE_ERROR)
			return *v;
		if (v->is == WHERE_NULL)
			bad = *v;
		else
			out[i] = v->u.i;
	}
	return bad;
}

static struct where_value eval_subscript(struct where_pool *p, const struct slot *s)
{
	int64_t at[WHERE_ARRAY_DIMS_MAX];
	bool given[WHERE_ARRAY_DIMS_MAX];
	uint32_t n = s->nargs - 1, flat = 0;
	const struct where_value *of = arg(p, s, 0);
	if (of->is != WHERE_VALUE)
		return *of;
	struct where_value ok = subscripts(p, s, at, given, n);
	if (ok.is != WHERE_VALUE)
		return ok;
	const struct where_array *a = of->u.array;
	if (a->ndims != n)
		return where_null();
	for (uint32_t i = 0; i < n; i++) {
		int64_t from = a->lower[i];
		if (at[i] < from || at[i] >= from + a->dims[i])
			return where_null();
		flat = flat * (uint32_t)a->dims[i] + (uint32_t)(at[i] - from);
	}
	return a->values[flat];
}

static void copy_slice(const struct where_array *a, const struct where_array *out, const int64_t *from,
                       struct where_value *values)
{
	int32_t at[WHERE_ARRAY_DIMS_MAX] = {0};
	for (uint32_t i = 0; i < out->n; i++) {
		uint32_t flat = 0;
		for (int d = 0; d < a->ndims; d++)
			flat = flat * (uint32_t)a->dims[d] + (uint32_t)(from[d] + at[d] - a->lower[d]);
		values[i] = a->values[flat];
		for (int d = a->ndims - 1; d >= 0 && ++at[d] == out->dims[d]; d--)
			at[d] = 0;
	}
}

static struct where_value eval_slice(struct where_pool *p, const struct slot *s)
{
	int64_t bounds[WHERE_ARRAY_DIMS_MAX * 2], from[WHERE_ARRAY_DIMS_MAX];
	bool given[WHERE_ARRAY_DIMS_MAX * 2];
	uint32_t n = (s->nargs - 1) / 2;
	const struct where_value *of = arg(p, s, 0);
	if (of->is != WHERE_VALUE)
		return *of;
	struct where_value ok = subscripts(p, s, bounds, given, n * 2);
	if (ok.is != WHERE_VALUE)
		return ok;
	const struct where_array *a = of->u.array;
	struct where_array out = {.elem = a->elem}, none = out;
	if (a->ndims == 0 || a->ndims < n)
		return array_value(p, &none);
	out.ndims = a->ndims;
	out.n = 1;
	for (uint32_t d = 0; d < a->ndims; d++) {
		int64_t low = a->lower[d], high = low + a->dims[d] - 1;
		from[d] = d < n && given[d * 2] && bounds[d * 2] > low ? bounds[d * 2] : low;
		int64_t to = d < n && given[d * 2 + 1] && bounds[d * 2 + 1] < high ? bounds[d * 2 + 1] : high;
		if (from[d] > to)
			return array_value(p, &none);
		out.dims[d] = (int32_t)(to - from[d] + 1);
		out.lower[d] = 1;
		out.n *= (uint32_t)out.dims[d];
	}
	struct where_value *values = arena_alloc(p->arena, out.n * sizeof *values);
	copy_slice(a, &out, from, values);
	out.values = values;
	return array_value(p, &out);
}

/* ---- casts ------------------------------------------------------------------------------------------ */

static struct where_value eval_via_text(struct where_pool *p, const struct slot *s)
{
	const struct where_value *from = arg(p, s, 0);
	if (from->is != WHERE_VALUE)
		return *from;
	struct where_value out = {.is = WHERE_NULL};
	const struct where_type *t = s->sig->arg_types[0];
	buf_reset(&p->text);
	pool_call(p, s->sig, NULL);
	if (where_out(&p->call, t, from, &p->text) != 0)
		return failed(p, -1);
	if (p->text.failed)
		return too_much(p);
	if (where_spend(&p->call, 2 * (uint64_t)p->text.len) != 0)
		return failed(p, -1);
	const char *text = arena_strndup(p->arena, p->text.data ? p->text.data : "", p->text.len);
	if (where_in(&p->call, s->type, text, p->text.len, &out) != 0)
		return failed(p, -1);
	return p->arena->used > p->limit ? too_much(p) : out;
}

/* Relabelings that are still there change between signed numbers and oids. */
static struct where_value eval_relabel(struct where_pool *p, const struct slot *s)
{
	struct where_value v = *arg(p, s, 0);
	if (v.is == WHERE_VALUE)
		v.u.i = s->type->oid == OID_INT4 ? (int64_t)(int32_t)v.u.i : (int64_t)(uint32_t)v.u.i;
	return v;
}

/* ---- any node --------------------------------------------------------------------------------------- */

static struct where_value compute(struct where_pool *p, const struct slot *s)
{
	switch ((enum where_kind)s->kind) {
	case WHERE_CALL:
		return eval_call(p, s);
	case WHERE_COLUMN:
		return eval_column(p, s);
	case WHERE_CONST:
		return s->memo;
	case WHERE_ELEMENT:
		return *p->element;
	case WHERE_RELABEL:
		return eval_relabel(p, s);
	case WHERE_VIA_TEXT:
		return eval_via_text(p, s);
	case WHERE_ARRAY_CAST:
		return eval_array_cast(p, s);
	case WHERE_AND:
	case WHERE_OR:
		return eval_logic(p, s);
	case WHERE_IS_NULL:
	case WHERE_IS_NOT_NULL:
		return eval_null_test(p, s);
	case WHERE_NOT: case WHERE_IS_TRUE: case WHERE_IS_NOT_TRUE: case WHERE_IS_FALSE: case WHERE_IS_NOT_FALSE:
	case WHERE_IS_UNKNOWN: case WHERE_IS_NOT_UNKNOWN:
		return eval_truth(p, s);
	case WHERE_DISTINCT:
	case WHERE_NOT_DISTINCT:
		return eval_distinct(p, s);
	case WHERE_NULLIF:
		return eval_nullif(p, s);
	case WHERE_ANY:
	case WHERE_ALL:
		return eval_any(p, s);
	case WHERE_ARRAY:
		return eval_array(p, s);
	case WHERE_ROW:
		return eval_row(p, s);
	case WHERE_ROW_COMPARE:
		return eval_row_compare(p, s);
	case WHERE_CASE:
		return eval_case(p, s);
	case WHERE_COALESCE:
		return eval_coalesce(p, s);
	case WHERE_GREATEST:
	case WHERE_LEAST:
		return eval_extreme(p, s);
	case WHERE_SUBSCRIPT:
		return eval_subscript(p, s);
	case WHERE_SLICE:
		return eval_slice(p, s);
	case WHERE_SUBQUERY:
		where_fail(&p->call, "the values of a subquery aren't known");
		return failed(p, -1);
	case WHERE_IN:
		break; /* fold.c makes something else of it */
	}
	where_fail(&p->call, "unknown node");
	return failed(p, -1);
}

/* The depth of the recursion is that of the tree, which fold.c bounds. */
const struct where_value *pool_eval(struct where_pool *p, uint32_t id)
{
	struct slot *s = &p->slots[id];
	if (s->stamp == p->stamp || s->kind == WHERE_CONST)
		return &s->memo;
	p->call.work += NODE_STEPS;
	s->memo = compute(p, s);
	if (!(s->flags & SLOT_OPEN) && !p->call.too_costly) /* with more to spend it may yet have a value */
		s->stamp = p->stamp;
	return &s->memo;
}
